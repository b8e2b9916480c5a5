from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import shifted_levels
from fewstep.methods.base import Batch, Method
from fewstep.methods.causal_ode import CausalODEConfig
from fewstep.models.layout import ChunkLayout

LEVELS = shifted_levels()
SHAPE = (5, 16, 4, 4)
LAYOUT = ChunkLayout(2, first=1)


class Perfect(nn.Module):
    """The velocity that leads to the clean past's own frames, plus an error to learn; remembers its inputs."""

    def __init__(self, error=0.0):
        super().__init__()
        self.error = nn.Parameter(torch.tensor(error))

    def forward_forced(self, clean, x, sigma, text, *, layout, context):
        self.seen = (clean, x, sigma, layout)
        return (x - clean) / sigma[:, :, None, None, None].clamp(min=1e-9) + self.error


class One:
    def __init__(self, net):
        self.net = net

    def student(self):
        return self.net


def straight_path(size=32):
    """Trajectories of a teacher whose ODE is a line from noise to the end."""
    generator = torch.Generator().manual_seed(0)
    noise, end = (torch.randn(size, *SHAPE, generator=generator) for _ in range(2))
    return noise, end, torch.stack([(1 - s) * end + s * noise for s in (*LEVELS, 0.0)], dim=1)


def build(net, **settings):
    return CausalODEConfig(latent_shape=SHAPE, layout=LAYOUT, **settings).build(One(net), Rng(0))


def asked(path, **settings):
    return Batch(text=torch.zeros(len(path), 1, 1), trajectory=path, **settings)


def test_a_student_that_follows_the_ode_has_no_loss():
    _, _, path = straight_path()
    method = build(Perfect())
    assert method.loss(asked(path)).total.item() < 1e-8
    assert isinstance(method, Method)


def test_the_past_is_the_clean_end_and_every_chunk_is_at_a_recorded_level_above_0():
    noise, end, path = straight_path()
    net = Perfect(error=2.0)
    loss = build(net).loss(asked(path))
    clean, x, sigma, layout = net.seen
    assert layout == LAYOUT
    assert torch.equal(clean, end)
    assert sorted(set(sigma.flatten().tolist()), reverse=True) == pytest.approx(LEVELS)
    assert (sigma[:, 1] == sigma[:, 2]).all()
    assert (sigma[:, 0] != sigma[:, 1]).any()
    s = sigma[:, :, None, None, None]
    torch.testing.assert_close(x, (1 - s) * end + s * noise)
    assert loss.total.item() == pytest.approx((2.0 * sigma).square().mean().item(), rel=1e-3)


def test_a_given_first_frame_costs_nothing():
    _, end, path = straight_path()
    net = Perfect(error=1.0)
    loss = build(net, first_frame="given").loss(asked(path))
    _, x, sigma, _ = net.seen
    assert (sigma[:, 0] == 0).all()
    assert torch.equal(x[:, 0], end[:, 0])
    assert loss.total.item() == pytest.approx(sigma[:, 1:].square().mean().item(), rel=1e-3)


def test_trajectories_of_other_levels_are_refused():
    _, _, path = straight_path()
    with pytest.raises(ValueError, match=r"got \(4, 5, 16, 4, 4\); record them again"):
        build(Perfect()).loss(asked(path[:, :4]))


def test_the_real_network_learns_a_fixed_batch(tiny_net):
    _, _, path = straight_path(2)
    batch = Batch(text=torch.randn(2, 5, 32), trajectory=path)
    method = build(tiny_net)
    optimizer = torch.optim.AdamW(tiny_net.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = method.loss(batch).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
