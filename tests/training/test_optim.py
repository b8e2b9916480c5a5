"""Learning rates over time, which matrices Muon takes, and groups by prefix."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fewstep.methods.base import OptimConfig, Player
from fewstep.training.optim import Learner, build_optimizers, hidden_weights, lr_factor


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)) for _ in range(2))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_warmup_is_linear_and_decay_ends_at_a_tenth() -> None:
    optim = OptimConfig(lr=1.0, warmup=3, decay=True)
    assert lr_factor(optim, 0, 0.0) == pytest.approx(0.25)
    assert lr_factor(optim, 3, 0.0) == pytest.approx(1.0)
    assert lr_factor(optim, 99, 0.5) == pytest.approx(0.55)
    assert lr_factor(optim, 99, 1.0) == pytest.approx(0.1)
    assert lr_factor(OptimConfig(lr=1.0), 0, 0.7) == 1.0


def test_muon_takes_the_matrices_inside_blocks_and_nothing_else() -> None:
    net = Net()
    assert hidden_weights(net, (nn.Linear,)) == {"blocks.0.0.weight", "blocks.1.0.weight"}
    adamw, muon = build_optimizers(net, OptimConfig(lr=1e-3, muon_lr=2e-2))
    assert sum(p.numel() for g in muon.param_groups for p in g["params"]) == 128
    held = [id(p) for o in (adamw, muon) for g in o.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())


def test_muon_and_adamw_move_at_their_own_rates_and_scales() -> None:
    net = Net()
    learner = Learner(Player(net, OptimConfig(lr=1e-3, muon_lr=2e-2, lr_scale={"head": 0.0}, weight_decay=0.0)))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net(torch.randn(5, 4)).square().mean().backward()
    learner.step(0.0)
    moved = {name: (p.detach() - before[name]).abs().max().item() for name, p in net.named_parameters()}
    assert moved["head.weight"] == 0.0
    assert moved["embed.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert 0 < moved["blocks.0.0.weight"] < 2e-2


def test_a_prefix_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no parameter starts with it; parameters start with"):
        build_optimizers(Net(), OptimConfig(lr=1e-3, lr_scale={"heads.": 2.0}))


def test_an_average_that_a_method_asks_lives_in_its_module_and_comes_back_there() -> None:
    net, shown = Net(), Net()
    shown.load_state_dict(net.state_dict())
    learner = Learner(Player(net, OptimConfig(lr=1e-2, ema=0.5), average=shown))
    start = shown.head.weight.detach().clone()
    net(torch.randn(5, 4)).square().mean().backward()
    learner.step(0.0)
    assert torch.allclose(shown.head.weight, (start + net.head.weight.detach()) / 2)
    assert learner.result()["head.weight"].data_ptr() == shown.head.weight.data_ptr()

    saved = copy.deepcopy(learner.state_dict())
    other, elsewhere = Net(), Net()
    resumed = Learner(Player(other, OptimConfig(lr=1e-2, ema=0.5), average=elsewhere))
    resumed.load_state_dict(saved)
    assert torch.equal(elsewhere.head.weight, shown.head.weight)
    before = elsewhere.head.weight.detach().clone()
    other(torch.randn(5, 4)).square().mean().backward()
    resumed.step(0.0)
    assert not torch.equal(elsewhere.head.weight, before), "it is still the one that moves"
