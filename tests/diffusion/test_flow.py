from __future__ import annotations

import pytest
import torch

from fewstep.diffusion.flow import add_noise, euler_step, guide, shift_sigma, v_from_x0, x0_from_v

SHAPE = (2, 3, 4, 2, 2)


def test_add_noise_mixes_by_the_level_of_each_frame():
    x0, eps = torch.full((1, 2, 1, 1, 1), 4.0), torch.full((1, 2, 1, 1, 1), 8.0)
    x = add_noise(x0, eps, torch.tensor([[0.25, 1.0]]))
    assert x.flatten().tolist() == [5.0, 8.0]


def test_the_path_starts_clean_and_ends_in_noise():
    x0, eps = torch.randn(SHAPE), torch.randn(SHAPE)
    assert torch.equal(add_noise(x0, eps, torch.zeros(2, 3)), x0)
    assert torch.equal(add_noise(x0, eps, torch.ones(2, 3)), eps)


def test_x0_and_velocity_are_inverse_in_double_precision():
    x, x0 = torch.randn(SHAPE, dtype=torch.float64), torch.randn(SHAPE, dtype=torch.float64)
    sigma = torch.rand(2, 3, dtype=torch.float64) * 0.98 + 0.02
    assert torch.allclose(x0_from_v(x, v_from_x0(x, x0, sigma), sigma), x0, atol=1e-14, rtol=0)


def test_the_true_velocity_leads_from_any_level_to_x0():
    x0, eps, sigma = torch.randn(SHAPE), torch.randn(SHAPE), torch.rand(2, 3) * 0.9 + 0.1
    x = add_noise(x0, eps, sigma)
    assert torch.allclose(x0_from_v(x, eps - x0, sigma), x0, atol=1e-6)
    assert torch.allclose(v_from_x0(x, x0, sigma), eps - x0, atol=1e-5)


def test_eulers_step_follows_the_true_velocity_along_the_path():
    x0, eps = torch.full((1, 2, 1, 1, 1), 4.0), torch.full((1, 2, 1, 1, 1), 8.0)
    high, low = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.75, 0.0]])
    x = euler_step(add_noise(x0, eps, high), eps - x0, high, low)
    assert x.flatten().tolist() == [7.0, 4.0]
    assert torch.equal(x, add_noise(x0, eps, low))


def test_low_precision_inputs_are_mixed_in_fp32_and_cast_back():
    x0, eps, sigma = torch.randn(SHAPE).bfloat16(), torch.randn(SHAPE).bfloat16(), torch.full((2, 3), 0.3333)
    x = add_noise(x0, eps, sigma)
    assert x.dtype == torch.bfloat16
    assert torch.equal(x, add_noise(x0.float(), eps.float(), sigma).bfloat16())


@pytest.mark.parametrize(
    ("shift", "warped"),
    [
        (5.0, (1000.0, 937.5, 833.333, 625.0)),
        (8.0, (1000.0, 960.0, 888.9, 727.3)),
        (3.0, (1000.0, 900.0, 750.0, 500.0)),
    ],
)
def test_shift_warps_the_published_step_list(shift, warped):
    for raw, expected in zip((1000, 750, 500, 250), warped, strict=True):
        assert 1000 * shift_sigma(raw / 1000, shift) == pytest.approx(expected, abs=0.05)


def test_shift_one_is_the_identity_and_the_ends_never_move():
    u = torch.linspace(0, 1, 11)
    assert torch.allclose(shift_sigma(u, 1.0), u)
    assert shift_sigma(torch.tensor([0.0, 1.0]), 7.0).tolist() == [0.0, 1.0]


def test_guidance_four_is_weight_three_counted_from_the_conditional_branch():
    cond, uncond = torch.randn(SHAPE), torch.randn(SHAPE)
    assert torch.allclose(guide(cond, uncond, 4.0), cond + 3.0 * (cond - uncond), atol=1e-5)
    assert torch.allclose(guide(cond, uncond, 1.0), cond, atol=1e-6)
