from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Method
from fewstep.methods.teacher import TeacherConfig


class Recorder(nn.Module):
    """A linear velocity field that remembers what it was asked, for looking at a loss from inside."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x, sigma, text):
        self.seen = (x, sigma, text)
        return self.scale * x


class OneNetwork:
    def __init__(self, net):
        self.net = net

    def student(self):
        return self.net


def batch(size=64):
    generator = torch.Generator().manual_seed(0)
    return Batch(
        text=torch.ones(size, 2, 3),
        null_text=torch.zeros(size, 2, 3),
        latents=torch.randn(size, 3, 2, 2, 2, generator=generator),
    )


def build(**settings):
    net = Recorder()
    return net, TeacherConfig(**settings).build(OneNetwork(net), Rng(0))


def test_a_network_that_predicts_nothing_pays_the_variance_of_the_velocity():
    _, method = build()
    loss = method.loss(batch())
    assert loss.total.item() == pytest.approx(2.0, rel=0.1), "Var(eps - x0) = 2 for unit-variance clips"
    assert set(loss.parts) == {"flow"}


def test_prompts_are_dropped_at_the_given_rate_whole_clips_at_a_time():
    net, method = build(text_drop=0.25)
    method.loss(batch(2000))
    text = net.seen[2]
    assert text.mean().item() == pytest.approx(0.75, abs=0.03)
    assert set(text.flatten(1).mean(dim=1).tolist()) == {0.0, 1.0}


def test_without_dropping_no_unconditional_prompt_is_needed():
    net, method = build(text_drop=0.0)
    method.loss(Batch(text=torch.ones(2, 2, 3), latents=torch.randn(2, 3, 2, 2, 2)))
    assert net.seen[2].min() == 1


def test_all_frames_of_a_clip_share_a_level_within_the_range():
    net, method = build(t_min=0.3, t_max=0.6)
    method.loss(batch())
    sigma = net.seen[1]
    assert (sigma == sigma[:, :1]).all()
    assert sigma.min() >= 0.3
    assert sigma.max() <= 0.6


def test_the_teacher_is_a_method_of_one_player_that_learns():
    net, method = build()
    assert isinstance(method, Method)
    (turn,) = method.turns(0)
    assert turn.player == method.generator
    turn.loss(batch()).total.backward()
    assert net.scale.grad is not None
