"""Random streams: which draws agree on all ranks, and that all of them can be saved."""

from __future__ import annotations

import torch

from fewstep.diffusion.rng import Rng


def integers(rng: Rng, count: int = 50) -> list[int]:
    return [rng.integer(1, 5) for _ in range(count)]


def test_integers_agree_on_all_ranks_whatever_noise_they_draw_and_noise_differs():
    first, second = Rng(7, rank=0), Rng(7, rank=1)
    assert not torch.equal(first.uniform(8), second.uniform(8))
    first.uniform(100)  # a rank with more noise to draw
    assert integers(first) == integers(second)


def test_integers_lie_in_the_half_open_range_and_reach_its_ends():
    assert set(integers(Rng(0), 200)) == {1, 2, 3, 4}


def test_a_saved_rng_goes_on_where_it_was():
    rng = Rng(3)
    integers(rng)
    rng.uniform(5)
    state = rng.state_dict()
    expected = (integers(rng), rng.uniform(5).tolist())
    other = Rng(4, rank=2)
    other.load_state_dict(state)
    assert (integers(other), other.uniform(5).tolist()) == expected


def test_noise_takes_shape_and_dtype_from_its_model_and_its_numbers_from_the_stream():
    x = torch.zeros(2, 3, dtype=torch.bfloat16)
    half, full = Rng(1).normal_like(x), Rng(1).normal_like(x.float())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, full.bfloat16())
