from __future__ import annotations

import math

import pytest
import torch

from fewstep.objectives.adversarial import (
    approximate_penalty,
    logistic_discriminator,
    logistic_generator,
    relativistic,
)


def test_equal_logits_cost_ln_two_with_opposite_gradients():
    ahead, behind = (torch.full((4,), 0.7, requires_grad=True) for _ in range(2))
    loss = relativistic(ahead, behind)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    loss.backward()
    assert torch.allclose(ahead.grad, torch.full((4,), -0.125))
    assert torch.equal(ahead.grad, -behind.grad)


def test_the_players_of_one_pair_share_a_constant():
    gap = torch.tensor([1.5])
    zero = torch.zeros(1)
    assert relativistic(gap, zero).item() == pytest.approx(math.log(1 + math.exp(-1.5)), abs=1e-6)
    difference = relativistic(zero, gap) - relativistic(gap, zero)
    assert difference.item() == pytest.approx(1.5, abs=1e-6)


def test_only_the_gap_counts():
    ahead, behind = torch.randn(8), torch.randn(8)
    assert relativistic(ahead + 3, behind + 3).item() == pytest.approx(relativistic(ahead, behind).item(), abs=1e-6)


def test_logistic_losses_judge_each_sample_alone():
    zero = torch.zeros(3)
    assert logistic_discriminator(zero, zero).item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert logistic_generator(torch.tensor([2.0])).item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)
    assert logistic_discriminator(torch.tensor([9.0]), torch.tensor([-9.0])).item() < 1e-3


def test_the_penalty_is_the_squared_change_without_division():
    assert approximate_penalty(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 4.0])).item() == pytest.approx(2.125)
    same = torch.randn(5)
    assert approximate_penalty(same, same).item() == 0.0
