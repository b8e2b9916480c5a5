from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.diffusion.noise import DiscreteNoise, UniformNoise
from fewstep.diffusion.rng import Rng
from fewstep.objectives.dmd import DistributionMatching, dmd_gradient, dmd_loss

SHAPE = (2, 3, 4, 2, 2)
TEXT = torch.zeros(2, 1, 1)


class Ideal(nn.Module):
    """The velocity field of data that is always `mean`, with a parameter to carry gradient; counts its calls."""

    def __init__(self, mean):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(float(mean)))
        self.calls = 0

    def forward(self, x, sigma, text):
        self.calls += 1
        return (x - self.mean - text[:, :1, :1, None, None]) / sigma[:, :, None, None, None]


def matching(teacher, fake, **settings):
    settings = {"guidance": 1.0, "noise": UniformNoise(5.0), **settings}
    return DistributionMatching(teacher=teacher, fake_score=fake, **settings)


def test_the_gradient_of_a_hand_sized_example():
    x0, real, fake = (torch.full((1, 1, 1, 1, 2), v) for v in (1.0, 3.0, 4.0))
    assert dmd_gradient(x0, real, fake).flatten().tolist() == [0.5, 0.5]
    assert dmd_loss(x0, real, fake).item() == pytest.approx(0.125)


def test_the_loss_has_the_dmd_gradient_over_the_number_of_elements():
    x0 = torch.randn(SHAPE, requires_grad=True)
    real, fake = torch.randn(SHAPE), torch.randn(SHAPE)
    dmd_loss(x0, real, fake).backward()
    assert torch.allclose(x0.grad, (dmd_gradient(x0, real, fake) / x0.numel()).float(), atol=1e-9)


def test_each_clip_is_normalised_by_its_own_distance():
    x0, real, fake = torch.zeros(SHAPE), torch.ones(SHAPE), torch.full(SHAPE, 3.0)
    real[1], fake[1] = 10.0, 30.0
    gradient = dmd_gradient(x0, real, fake)
    assert torch.allclose(gradient[0], gradient[1])


def test_a_sample_the_teacher_leaves_alone_gets_no_gradient_instead_of_nan():
    x0 = torch.ones(SHAPE)
    assert dmd_gradient(x0, x0, x0).abs().max() == 0


def test_samples_move_from_the_fake_mean_to_the_real_mean():
    x0 = torch.zeros(SHAPE, requires_grad=True)
    loss = matching(Ideal(2.0), Ideal(0.0)).generator_loss(x0, TEXT, None, Rng(0))
    loss.backward()
    assert (x0.grad < 0).all(), "descent raises x0 towards the teacher's 2"


def test_equal_scores_give_no_gradient():
    x0 = torch.randn(SHAPE, requires_grad=True)
    net = Ideal(1.0)
    loss = matching(net, net).generator_loss(x0, TEXT, None, Rng(0))
    loss.backward()
    assert loss.item() < 1e-10
    assert x0.grad.abs().max() < 1e-6


def test_neither_score_network_receives_gradient_from_the_generator_loss():
    teacher, fake = Ideal(2.0), Ideal(0.0)
    matching(teacher, fake).generator_loss(torch.zeros(SHAPE, requires_grad=True), TEXT, None, Rng(0)).backward()
    assert teacher.mean.grad is None
    assert fake.mean.grad is None


@pytest.mark.parametrize(("guidance", "batched", "calls"), [(1.0, True, 1), (4.0, True, 1), (4.0, False, 2)])
def test_guidance_moves_the_real_score_only(guidance, batched, calls):
    teacher, fake = Ideal(0.0), Ideal(0.0)
    text, null = torch.ones(2, 1, 1), torch.zeros(2, 1, 1)
    x0 = torch.zeros(SHAPE)
    losses = matching(teacher, fake, guidance=guidance, batch_guidance=batched)
    value = losses.generator_loss(x0, text, null, Rng(0)).item()
    expected = 0.5 * ((1 - guidance) / guidance) ** 2
    assert value == pytest.approx(expected, rel=1e-3, abs=1e-8)
    assert teacher.calls == calls
    assert fake.calls == 1


def test_the_fake_score_learns_the_students_mean_and_the_samples_get_no_gradient():
    fake = Ideal(0.0)
    x0 = torch.full(SHAPE, 2.0, requires_grad=True)
    losses = matching(Ideal(0.0), fake, noise=DiscreteNoise((0.5,)))
    loss = losses.fake_score_loss(x0, TEXT, Rng(0))
    assert loss.item() == pytest.approx(16.0, rel=1e-5), "a mean wrong by 2 at sigma 1/2 is a velocity wrong by 4"
    loss.backward()
    assert x0.grad is None
    assert fake.mean.grad < 0


def test_a_fake_score_that_regresses_eps_weighs_a_level_by_one_minus_it_squared():
    flow, eps = (
        matching(Ideal(0.0), Ideal(0.0), noise=DiscreteNoise((0.25,)), fake_score_target=target)
        for target in ("flow", "eps")
    )
    x0 = torch.full(SHAPE, 2.0)
    assert flow.fake_score_loss(x0, TEXT, Rng(0)).item() == pytest.approx(64.0, rel=1e-4), "(2 / 0.25)^2"
    assert eps.fake_score_loss(x0, TEXT, Rng(0)).item() == pytest.approx(64.0 * 0.75**2, rel=1e-4)
