from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.diffusion.flow import add_noise
from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Method
from fewstep.methods.causal_teacher import CausalTeacherConfig
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.regression import bell_weight

SHAPE = (4, 16, 4, 4)
LAYOUT = ChunkLayout(2)


class Recorder(nn.Module):
    """Predicts nothing, and remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward_forced(self, clean, x, sigma, text, *, layout, context):
        self.seen = (clean, x, sigma, text, layout, context)
        return self.scale * x


class One:
    def __init__(self, net):
        self.net = net

    def student(self):
        return self.net


def batch(size=64, shape=SHAPE):
    clips = torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))
    return Batch(text=torch.ones(size, 2, 3), null_text=torch.zeros(size, 2, 3), latents=clips)


def build(net, **settings):
    return CausalTeacherConfig(latent_shape=SHAPE, layout=LAYOUT, **settings).build(One(net), Rng(0))


def test_chunks_are_noised_to_levels_of_their_own_behind_the_clean_clip():
    net, clips = Recorder(), batch()
    build(net, context=Context(1, 3)).loss(clips)
    clean, x, sigma, _, layout, context = net.seen
    assert torch.equal(clean, clips.latents)
    assert (layout, context) == (LAYOUT, Context(1, 3))
    assert (sigma[:, 0] == sigma[:, 1]).all()
    assert (sigma[:, 2] == sigma[:, 3]).all()
    assert (sigma[:, 0] != sigma[:, 2]).all()
    eps = (x - add_noise(clean, torch.zeros_like(x), sigma)) / sigma[:, :, None, None, None]
    assert eps.std().item() == pytest.approx(1, abs=0.02)


def test_a_network_that_predicts_nothing_pays_the_variance_of_the_velocity_as_levels_weigh():
    net = Recorder()
    plain = build(net, weighting="none").loss(batch(512)).total.item()
    assert plain == pytest.approx(2.0, rel=0.02), "Var(eps - x0) = 2 for clips of unit variance"
    bell = build(net).loss(batch(512)).total.item()
    weight = bell_weight(net.seen[2], 5.0).mean().item()
    assert bell == pytest.approx(2.0 * weight, rel=0.02)
    assert weight == pytest.approx(1.0, abs=0.1)


def test_prompts_are_dropped_for_guidance():
    net = Recorder()
    build(net, text_drop=0.25).loss(batch(2000))
    assert net.seen[3].mean().item() == pytest.approx(0.75, abs=0.03)


def test_longer_clips_are_cut_and_others_refused():
    net = Recorder()
    build(net).loss(batch(2, (6, *SHAPE[1:])))
    assert net.seen[0].shape == (2, *SHAPE)
    with pytest.raises(ValueError, match=r"4 latent frames or more of c h w = \(16, 4, 4\)"):
        build(net).loss(batch(2, (4, 16, 8, 8)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"layout": ChunkLayout(3)}, "whole chunks"), ({"context": Context(2, 3)}, "window of at least 4")],
)
def test_chunks_and_windows_that_no_rollout_could_have_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CausalTeacherConfig(**{"latent_shape": SHAPE, "layout": LAYOUT, **settings})


def test_the_real_network_learns_a_fixed_batch_chunk_by_chunk(tiny_net):
    method = build(tiny_net, weighting="none", text_drop=0.0)
    assert isinstance(method, Method)
    clips = Batch(text=torch.randn(2, 5, 32), latents=torch.randn(2, *SHAPE))
    optimizer = torch.optim.AdamW(tiny_net.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = method.loss(clips).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
