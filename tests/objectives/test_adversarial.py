from __future__ import annotations

import math

import pytest
import torch

from fewstep.diffusion.noise import UniformNoise
from fewstep.diffusion.rng import Rng
from fewstep.models.discriminator import Discriminator, DiscriminatorConfig
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.adversarial import (
    AdversarialGame,
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


def test_frame_logits_are_averaged_over_the_frames_of_a_clip():
    fake = torch.tensor([0.0, 2.0])
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert logistic_generator(fake).item() == pytest.approx(expected, abs=1e-6)
    real = torch.tensor([1.0, -1.0])
    judged = (2 * math.log(1 + math.exp(1)) - 1 + math.log(2) + math.log(1 + math.exp(2))) / 2
    assert logistic_discriminator(real, fake).item() == pytest.approx(judged, abs=1e-6)


def test_the_relativistic_game_needs_a_real_sample_and_the_logistic_one_does_not(tiny_net):
    text, fake, noise = torch.randn(1, 8, 32), torch.randn(1, 3, 16, 4, 4), UniformNoise(5.0)
    cfg = DiscriminatorConfig(layers=(0,), num_logits=1, num_heads=2, ffn_dim=32)
    judge = Discriminator(cfg, tiny_net, layout=ChunkLayout(1))
    logistic, comparing = (
        AdversarialGame(discriminator=judge, loss=loss, penalty_weight=1.0, penalty_sigma=0.05)
        for loss in ("logistic", "relativistic")
    )
    assert torch.isfinite(logistic.generator_loss(None, fake, text, noise, Rng(0)))
    assert torch.isfinite(comparing.generator_loss(fake, fake, text, noise, Rng(0)))
    with pytest.raises(ValueError, match="compares with real samples, got None"):
        comparing.generator_loss(None, fake, text, noise, Rng(0))
