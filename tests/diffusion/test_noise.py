from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from fewstep.diffusion.noise import DiscreteNoise, UniformNoise
from fewstep.diffusion.rng import Rng


@dataclass(frozen=True)
class Chunks:
    parts: tuple[int, ...]

    def sizes(self, total_frames: int) -> tuple[int, ...]:
        assert sum(self.parts) == total_frames
        return self.parts


def test_uniform_noise_has_the_quantiles_of_self_forcing():
    sigma = UniformNoise(shift=5.0).sample(100_000, 1, Rng(0)).flatten()
    quantiles = torch.quantile(sigma, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]))
    assert torch.allclose(quantiles, torch.tensor([0.208, 0.625, 0.833, 0.9375, 0.980]), atol=0.006)
    assert (sigma == 0.98).float().mean().item() == pytest.approx(0.092, abs=0.004)
    assert sigma.min() == pytest.approx(0.02)


def test_a_clip_has_one_level_unless_chunks_are_drawn_apart():
    law = UniformNoise(shift=5.0, low=0.0, high=1.0)
    shared = law.sample(8, 6, Rng(1))
    apart = replace(law, per_chunk_layout=Chunks((1, 3, 2))).sample(8, 6, Rng(1))
    assert shared.shape == apart.shape == (8, 6)
    assert (shared == shared[:, :1]).all()
    assert (apart[:, 1:4] == apart[:, 1:2]).all()
    assert all(len(row.unique()) == 3 for row in apart)


def test_discrete_noise_draws_every_level_about_equally_often():
    levels = (1.0, 0.9375, 0.625)
    sigma = DiscreteNoise(levels).sample(30_000, 1, Rng(2))
    for level in levels:
        assert (sigma == level).float().mean().item() == pytest.approx(1 / 3, abs=0.02)


def test_frames_of_one_chunk_share_a_level_and_chunks_differ():
    index = DiscreteNoise((1.0, 0.75, 0.5, 0.25), Chunks((1, 3, 2))).draw(64, 6, Rng(3))
    assert index.shape == (64, 6)
    assert (index[:, 1:4] == index[:, 1:2]).all()
    assert (index[:, 4:] == index[:, 4:5]).all()
    assert (index[:, 0] != index[:, 1]).any()
    assert (index[:, 1] != index[:, 4]).any()


def test_equal_seeds_draw_equal_levels():
    law = UniformNoise(shift=3.0)
    assert torch.equal(law.sample(4, 2, Rng(7)), law.sample(4, 2, Rng(7)))
    assert not torch.equal(law.sample(4, 2, Rng(7)), law.sample(4, 2, Rng(8)))


def test_bad_laws_are_refused():
    with pytest.raises(ValueError, match="lowest < highest"):
        UniformNoise(shift=5.0, low=0.9, high=0.1)
    with pytest.raises(ValueError, match="non-empty list of levels"):
        DiscreteNoise(())
