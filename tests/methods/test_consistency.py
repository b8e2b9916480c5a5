from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from fewstep.diffusion.ode import ode_grid
from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Method, OptimConfig
from fewstep.methods.consistency import ConsistencyConfig
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.training.optim import Learner

SHAPE = (5, 16, 4, 4)
LAYOUT = ChunkLayout(2, first=1)
TINY = PRESETS["tiny"]


class Constant(nn.Module):
    """A velocity that is one number, times the prompt's; remembers what it was asked."""

    def __init__(self, value):
        super().__init__()
        self.value, self.seen = nn.Parameter(torch.tensor(value)), []

    def forward_forced(self, clean, x, sigma, text, *, layout, context):
        self.seen.append((clean, x, sigma, text, layout))
        return self.value * text[:, :1, :1, None, None] * torch.ones_like(x)


class Cast:
    def __init__(self, student, average, teacher):
        self.students, self.taught_by = iter((student, average)), teacher

    def student(self):
        return next(self.students)

    def teacher(self):
        return self.taught_by


def build(student=0.0, average=0.0, teacher=0.0, **settings):
    nets = [Constant(value) for value in (student, average, teacher)]
    cfg = ConsistencyConfig(latent_shape=SHAPE, layout=LAYOUT, **settings)
    return cfg.build(Cast(*nets), Rng(0)), *nets


def batch(size=64):
    clips = torch.randn(size, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Batch(text=torch.ones(size, 1, 1), null_text=torch.zeros(size, 1, 1), latents=clips)


def test_the_loss_of_constant_velocities_is_worked_out_by_hand():
    """x0 = x - s a; further x' = x + (s' - s) g t; target = x' - s' b. At a = b = g t they agree; else by the rest."""
    method, student, *_ = build(student=3.0, average=1.0, teacher=2.0, guidance=2.5, grid=4, shift=1.0)
    loss = method.loss(batch()).total.item()
    (_, _, high, _, _) = student.seen[0]
    low = high - 0.25
    guided = 2.5 * 2.0  # the unconditional velocity is 0
    expected = (-high * 3.0 - ((low - high) * guided - low * 1.0)).square().mean().item()
    assert loss == pytest.approx(expected, rel=1e-4)
    agreed, *_ = build(student=5.0, average=5.0, teacher=2.0, guidance=2.5)
    assert agreed.loss(batch()).total.item() < 1e-8
    assert isinstance(agreed, Method)


def test_chunks_are_at_neighbouring_levels_of_the_grid_and_never_at_its_last_step():
    method, student, average, teacher = build(guidance=1.0)
    clips = batch(256)
    method.loss(clips)
    (clean, x, high, _, layout), (_, further, low, _, _) = student.seen[0], average.seen[0]
    grid = ode_grid(48, 5.0)
    assert layout == LAYOUT
    assert torch.equal(clean, clips.latents)
    assert high.max().item() == 1
    assert low.min().item() == pytest.approx(grid[47])
    pairs = {(round(h, 5), round(n, 5)) for h, n in zip(high.flatten().tolist(), low.flatten().tolist(), strict=True)}
    assert pairs <= {(round(h, 5), round(n, 5)) for h, n in pairwise(grid[:-1])}
    assert (high[:, 1] == high[:, 2]).all()
    assert (high[:, 0] != high[:, 1]).any()
    assert torch.equal(further, x), "a teacher that stands still leads nowhere"
    assert len(teacher.seen) == 1


def test_both_branches_of_guidance_have_the_clean_past():
    for batched, calls in ((True, [128]), (False, [64, 64])):
        method, _, _, teacher = build(teacher=1.0, guidance=3.0, batch_guidance=batched)
        clips = batch()
        method.loss(clips)
        assert [len(seen[0]) for seen in teacher.seen] == calls
        assert all(torch.equal(past, clips.latents) for seen in teacher.seen for past in seen[0].split(64))


def test_only_the_student_has_gradient():
    method, student, average, teacher = build(student=1.0, average=2.0, teacher=3.0)
    method.loss(batch()).total.backward()
    assert student.value.grad.abs() > 0
    assert average.value.grad is teacher.value.grad is None


def test_a_given_first_frame_costs_nothing():
    method, student, *_ = build(student=1.0, first_frame="given", guidance=1.0)
    clips = batch()
    loss = method.loss(clips).total.item()
    _, x, high, _, _ = student.seen[0]
    assert torch.equal(x[:, 0], clips.latents[:, 0])
    assert loss == pytest.approx(high[:, 1:].square().mean().item(), rel=1e-4)


def test_the_answer_one_step_further_on_is_the_running_average_of_the_student():
    method, student, average, _ = build(student=1.0, average=1.0, optim=OptimConfig(lr=0.5, ema=0.75))
    learner = Learner(method.players["generator"])
    student.value.grad = torch.tensor(1.0)
    learner.step(0.0)
    moved = student.value.item()
    assert moved < 0.9
    assert average.value.item() == pytest.approx(0.75 + 0.25 * moved)
    assert torch.equal(learner.result()["value"], average.value)


@pytest.mark.parametrize("optim", [OptimConfig(lr=1e-3), OptimConfig(lr=1e-3, ema=0.9, ema_start=5)])
def test_without_a_running_average_from_the_start_it_is_refused(optim):
    with pytest.raises(ValueError, match="a running average from the first update"):
        ConsistencyConfig(optim=optim)
    with pytest.raises(ValueError, match="grid of 2 steps"):
        ConsistencyConfig(grid=1)


def test_the_real_networks_come_to_agree():
    torch.manual_seed(0)
    student = VideoDiT(TINY)
    nn.init.normal_(student.head.head.weight, std=0.1)
    average, teacher = VideoDiT(TINY), VideoDiT(TINY)
    average.load_state_dict(student.state_dict())
    cfg = ConsistencyConfig(latent_shape=SHAPE, layout=LAYOUT, grid=8, guidance=1.0)
    method = replace(cfg, optim=OptimConfig(lr=3e-3, ema=0.9)).build(Cast(student, average, teacher), Rng(0))
    learner, losses = Learner(method.players["generator"]), []
    clips = Batch(text=torch.randn(2, 5, TINY.text_dim), latents=torch.randn(2, *SHAPE))
    for _ in range(40):
        loss = method.loss(clips).total
        loss.backward()
        learner.step(0.0)
        learner.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])
