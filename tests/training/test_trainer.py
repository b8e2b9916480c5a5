"""The loop keeps gradients to their player, steps at the stated rate, averages, and stops on non-finite numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn
from fewstep.training.trainer import NonFiniteError, Trainer


class Pair:
    """Two linear players; each loss runs through both modules, so gradients would leak if they could."""

    generator = "first"

    def __init__(self, rng: Rng, optim: OptimConfig, scale: float = 1.0):
        torch.manual_seed(0)
        self.rng, self.scale = rng, scale
        self.players = {"first": Player(nn.Linear(3, 3), optim), "second": Player(nn.Linear(3, 3), optim)}
        self.seen: list[tuple[str, set[str]]] = []

    def turns(self, step: int) -> list[Turn]:
        return [Turn("first", self.loss), Turn("second", self.loss), Turn("second", self.loss)]

    def loss(self, batch: Batch) -> Loss:
        first, second = (self.players[n].module for n in ("first", "second"))
        owners = {n for n in self.players if all(p.requires_grad for p in self.players[n].module.parameters())}
        self.seen.append(owners)
        total = (second(first(batch.latents)) + self.rng.normal_like(batch.latents)).square().mean() * self.scale
        return Loss(total, {"half": total.detach() / 2})


def read(position: int) -> Batch:
    return Batch(latents=torch.randn(4, 3, generator=torch.Generator().manual_seed(position)))


def trainer(optim: OptimConfig | None = None, scale: float = 1.0, **options) -> Trainer:
    rng = Rng(0)
    return Trainer(Pair(rng, optim or OptimConfig(lr=1e-2), scale), rng, read, steps=10, **options)


def test_only_the_players_own_parameters_require_gradients_during_its_turn() -> None:
    run = trainer()
    run.cycle()
    assert run.method.seen == [{"first"}, {"second"}, {"second"}]


def test_each_turn_reads_its_own_batches_and_accumulation_reads_more() -> None:
    run = trainer(accumulate=2)
    run.cycle()
    assert run.position == 6


def test_accumulating_halves_equals_one_whole_batch() -> None:
    whole, halves = trainer(), trainer(accumulate=2)
    for run in (whole, halves):
        for player in run.method.players.values():
            nn.init.eye_(player.module.weight)
        run.rng.normal_like = torch.zeros_like
    rows = [read(p).latents for p in range(3)]
    whole.read = lambda position: Batch(latents=rows[position])
    halves.read = lambda position: Batch(latents=rows[position // 2][2 * (position % 2) :][:2])
    signals = [run.cycle().signals for run in (whole, halves)]
    norms = [[made[f"{name}/grad_norm"] for name in ("first", "second")] for made in signals]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5), "AdamW would not tell a gradient from its double"
    for ours, theirs in zip(whole.generator.result().values(), halves.generator.result().values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_signals_are_means_over_a_players_turns() -> None:
    signals = trainer().cycle().signals
    assert signals["second/half"] == pytest.approx(signals["second/loss"] / 2)
    assert signals["first/lr"] == pytest.approx(1e-2)
    assert signals["first/grad_norm"] > 0


def test_a_rate_that_decays_goes_down_to_the_end_of_the_stage() -> None:
    run = trainer(OptimConfig(lr=1e-2, decay=True))
    rates = [run.cycle().signals["first/lr"] for _ in range(10)]
    expected = [1e-2 * (0.1 + 0.45 * (1 + math.cos(math.pi * step / 10))) for step in range(10)]
    assert rates == pytest.approx(expected, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change() -> None:
    run = trainer(scale=float("inf"))
    before = {name: value.clone() for name, value in run.generator.result().items()}
    with pytest.raises(NonFiniteError, match=r"first.s turn in cycle 0 gave .*loss"):
        run.cycle()
    assert all(torch.equal(before[name], value) for name, value in run.generator.result().items())


def test_average_starts_as_a_copy_and_then_follows_by_its_decay() -> None:
    run = trainer(OptimConfig(lr=1e-2, ema=0.75, ema_start=2))
    run.cycle()
    assert run.learners["first"].average is None
    run.cycle()
    copy = {name: value.clone() for name, value in run.generator.result().items()}
    assert all(torch.equal(v, run.method.players["first"].module.state_dict()[n]) for n, v in copy.items())
    run.cycle()
    for name, value in run.method.players["first"].module.state_dict().items():
        torch.testing.assert_close(run.generator.result()[name], 0.75 * copy[name] + 0.25 * value)


def test_state_round_trips_to_the_bit() -> None:
    optim = OptimConfig(lr=1e-2, ema=0.9, warmup=3, decay=True)
    whole, first, second = trainer(optim), trainer(optim), trainer(optim)
    for _ in range(6):
        whole.cycle()
    for _ in range(3):
        first.cycle()
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.cycle()
    assert second.position == whole.position
    for ours, theirs in zip(second.generator.result().values(), whole.generator.result().values(), strict=True):
        assert torch.equal(ours, theirs)
