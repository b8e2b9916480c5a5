from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import shifted_levels
from fewstep.methods.base import Batch, Method
from fewstep.methods.ode_init import ODEInitConfig
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS

LEVELS = shifted_levels()
SHAPE = (4, 16, 4, 4)
TINY = PRESETS["tiny"]


class Perfect(nn.Module):
    """The velocity that leads to a known endpoint, plus an error to learn; remembers its inputs."""

    def __init__(self, endpoint, error=0.0):
        super().__init__()
        self.endpoint, self.error = endpoint, nn.Parameter(torch.tensor(error))

    def forward(self, x, sigma, text, *, layout, context):
        self.seen = (x, sigma, layout, context)
        spread = sigma[:, :, None, None, None]
        return (x - self.endpoint) / spread.clamp(min=1e-9) + self.error


class One:
    def __init__(self, net):
        self.net = net

    def student(self):
        return self.net


def straight_path(size=8):
    """Trajectories of a point-mass teacher: lines from noise to the endpoint, sampled at the levels and at 0."""
    generator = torch.Generator().manual_seed(0)
    noise, endpoint = (torch.randn(size, *SHAPE, generator=generator) for _ in range(2))
    return endpoint, torch.stack([(1 - s) * endpoint + s * noise for s in (*LEVELS, 0.0)], dim=1)


def build(net, **settings):
    return ODEInitConfig(latent_shape=SHAPE, layout=ChunkLayout(chunk=2), **settings).build(One(net), Rng(0))


def test_a_student_that_follows_the_ode_has_no_loss():
    endpoint, path = straight_path()
    method = build(Perfect(endpoint))
    loss = method.loss(Batch(text=torch.zeros(8, 1, 1), trajectory=path))
    assert loss.total.item() < 1e-8
    assert isinstance(method, Method)


def test_a_velocity_error_costs_sigma_times_itself_squared_on_noisy_frames():
    endpoint, path = straight_path()
    net = Perfect(endpoint, error=2.0)
    loss = build(net).loss(Batch(text=torch.zeros(8, 1, 1), trajectory=path))
    noisy = net.seen[1][net.seen[1] > 0]
    assert loss.total.item() == pytest.approx((2.0 * noisy).square().mean().item(), rel=1e-3)


def test_inputs_are_the_recorded_states_at_levels_shared_within_a_chunk():
    endpoint, path = straight_path(size=64)
    net = Perfect(endpoint)
    build(net).loss(Batch(text=torch.zeros(64, 1, 1), trajectory=path))
    x, sigma, layout, _ = net.seen
    assert layout.sizes(4) == (2, 2)
    assert (sigma[:, 0] == sigma[:, 1]).all()
    assert (sigma[:, 2] == sigma[:, 3]).all()
    assert (sigma[:, 0] != sigma[:, 2]).any(), "chunks are at levels of their own"
    expected = (1 - sigma[..., None, None, None]) * endpoint + sigma[..., None, None, None] * path[:, 0]
    assert torch.allclose(x, expected, atol=1e-6)


@pytest.mark.parametrize(("include_clean", "lowest"), [(True, 0.0), (False, LEVELS[-1])])
def test_clean_context_is_drawn_only_when_asked_for(include_clean, lowest):
    endpoint, path = straight_path(size=64)
    net = Perfect(endpoint)
    build(net, include_clean=include_clean).loss(Batch(text=torch.zeros(64, 1, 1), trajectory=path))
    assert net.seen[1].min().item() == pytest.approx(lowest)


def test_trajectories_of_other_levels_or_shapes_are_refused():
    endpoint, path = straight_path()
    with pytest.raises(ValueError, match=r"got \(4, 4, 16, 4, 4\).*record them again"):
        build(Perfect(endpoint)).loss(Batch(text=torch.zeros(8, 1, 1), trajectory=path[:, :4]))


def test_the_real_network_learns_a_fixed_batch():
    torch.manual_seed(0)
    net = VideoDiT(TINY)
    _, path = straight_path(size=2)
    batch = Batch(text=torch.randn(2, 5, TINY.text_dim), trajectory=path)
    method = build(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = method.loss(batch).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_given_first_frame_is_always_clean_and_costs_nothing():
    endpoint, path = straight_path(size=32)
    endpoint, path = (torch.cat((x, x[..., -1:, :, :, :]), dim=-4) for x in (endpoint, path))
    net = Perfect(endpoint, error=1.0)
    cfg = ODEInitConfig(latent_shape=(5, *SHAPE[1:]), layout=ChunkLayout(2, first=1), first_frame="given")
    for include_clean in (True, False):
        method = dataclasses.replace(cfg, include_clean=include_clean).build(One(net), Rng(0))
        loss = method.loss(Batch(text=torch.zeros(32, 1, 1), trajectory=path))
        x, sigma, _, _ = net.seen
        assert (sigma[:, 0] == 0).all()
        assert torch.equal(x[:, 0], endpoint[:, 0])
        assert sigma[:, 1:].max() == 1
        noisy = sigma[:, 1:][sigma[:, 1:] > 0]
        assert loss.total.item() == pytest.approx(noisy.square().mean().item(), rel=1e-3)


def test_one_step_is_trained_at_pure_noise_behind_noise_or_clean_context():
    endpoint, path = straight_path(size=64)
    net = Perfect(endpoint)
    method = build(net, levels=(1.0,))
    method.loss(Batch(text=torch.zeros(64, 1, 1), trajectory=path[:, [0, -1]]))
    assert set(net.seen[1].flatten().tolist()) == {0.0, 1.0}


def test_an_image_that_is_no_chunk_of_its_own_is_refused():
    with pytest.raises(ValueError, match=r"ChunkLayout\(2, first=1\)"):
        ODEInitConfig(latent_shape=SHAPE, layout=ChunkLayout(2), first_frame="given")
