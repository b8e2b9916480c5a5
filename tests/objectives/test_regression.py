from __future__ import annotations

import pytest
import torch

from fewstep.diffusion.flow import shift_sigma
from fewstep.objectives.regression import bell_weight, flow_matching_loss, ode_regression_loss


def clip(value):
    return torch.full((2, 2, 1, 2, 2), float(value))


def test_flow_matching_is_the_squared_distance_to_eps_minus_x0():
    assert flow_matching_loss(clip(1.0), clip(2.0), clip(5.0)).item() == 4.0
    assert flow_matching_loss(clip(3.0), clip(2.0), clip(5.0)).item() == 0.0


def test_the_squared_weight_turns_velocity_error_into_noise_error():
    x0, eps, v = (torch.randn(2, 2, 1, 2, 2) for _ in range(3))
    sigma = torch.tensor([[0.2, 0.9], [0.5, 0.7]])
    s = sigma[:, :, None, None, None]
    x = (1 - s) * x0 + s * eps
    eps_hat = x + (1 - s) * v
    expected = (eps_hat - eps).square().mean()
    assert flow_matching_loss(v, x0, eps, (1 - sigma).square()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_only_noisy_frames_are_regressed():
    predicted, endpoint = clip(3.0), clip(1.0)
    predicted.requires_grad_()
    loss = ode_regression_loss(predicted, endpoint, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert loss.item() == 4.0
    loss.backward()
    assert predicted.grad[0, 0].abs().min() > 0
    assert predicted.grad[0, 1].abs().max() == predicted.grad[1].abs().max() == 0


def test_a_batch_of_clean_context_costs_nothing():
    assert ode_regression_loss(clip(3.0), clip(1.0), torch.zeros(2, 2)).item() == 0.0


def test_the_bell_has_the_published_values_and_mean_1_over_the_levels_of_its_shift():
    found = bell_weight(torch.tensor([[1.0, 0.5, 0.02]]), shift=5.0).flatten().tolist()
    assert found == pytest.approx([0.0, 2.08, 0.13], abs=0.005)
    for shift in (1.0, 3.0, 5.0):
        levels = shift_sigma(torch.linspace(0, 1, 10_001), shift)
        assert bell_weight(levels[None], shift).mean().item() == pytest.approx(1, abs=2e-3)
