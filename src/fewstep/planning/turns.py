"""What the turns of a training method take: the method itself, rehearsed on networks of a few blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Method, Turn
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.planning.generate import SPATIAL
from fewstep.planning.rehearsal import META, Cost, backward, meta, rehearsing
from fewstep.planning.sizes import network
from fewstep.training.data import LatentData
from fewstep.training.recipe import Chunkwise, Recipe, RecipeError, Stage, Streaming
from fewstep.training.shards import ShardData

CYCLES = 12
"""Cycles that are looked at: a multiple of the outcomes of every draw of up to four, so that each comes as often."""

Clip = tuple[int, int, int, int]
"""Frames, channels, rows and columns of latents."""

FORWARD = "without gradient"
"""Marks the parts of the work that nothing is kept of, as rollouts are but for their last steps."""


@runtime_checkable
class Judging(Protocol):
    """The config of a method whose discriminator reads a backbone."""

    discriminator: DiscriminatorConfig


@dataclass(frozen=True)
class Cast:
    """The networks of a recipe, as shapes."""

    student: DiTConfig
    teacher: DiTConfig
    fake_score: DiTConfig

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of blocks, each once."""
        return tuple(dict.fromkeys(cfg.num_layers for cfg in (self.student, self.teacher, self.fake_score)))

    def cut(self, blocks: Mapping[int, int]) -> Cast:
        """With `blocks[depth]` blocks in each network of `depth`."""
        cut = {
            name: replace(cfg, num_layers=blocks[cfg.num_layers])
            for name, cfg in (("student", self.student), ("teacher", self.teacher), ("fake_score", self.fake_score))
        }
        return Cast(**cut)


class MetaNetworks:
    """`ScoreNetworks` without data."""

    def __init__(self, cast: Cast, *, dtype: torch.dtype, checkpointing: bool):
        self.cast, self.dtype, self.checkpointing = cast, dtype, checkpointing

    def student(self) -> VideoDiT:
        return self._learning(self.cast.student)

    def teacher(self) -> VideoDiT:
        return network(self.cast.teacher, self.dtype)

    def fake_score(self) -> VideoDiT:
        return self._learning(self.cast.fake_score)

    def _learning(self, cfg: DiTConfig) -> VideoDiT:
        net = network(cfg)
        net.gradient_checkpointing = self.checkpointing
        return net


class EveryOutcome(Rng):
    """Draws that go through all their outcomes in turn, one a cycle, and noise without data."""

    def __init__(self) -> None:
        super().__init__(0)
        self.device, self.cycle = META, 0

    def integer(self, low: int, high: int) -> int:
        return low + self.cycle % (high - low)

    def normal_like(self, x: Tensor) -> Tensor:
        return torch.empty_like(x)

    def uniform(self, *shape: int) -> Tensor:
        return meta(*shape)


@dataclass(frozen=True)
class TurnCost:
    """One kind of turn, such as a generator's at n = 2."""

    player: str
    times: float
    """How often it comes in a cycle, on average."""
    flops: float
    peaks: Mapping[str, float]
    """Bytes at most while each part of the work went on."""
    kept: Mapping[str, float] = field(default_factory=dict)
    """Bytes of them that grow with the number of blocks."""

    @property
    def worst(self) -> str:
        """The part of the work that needs most."""
        return max(self.peaks, key=lambda part: self.peaks[part])

    @property
    def rolls_out(self) -> bool:
        """Whether the player itself makes clips in this turn, so that their past is kept for its backward pass."""
        return f"{self.player} {FORWARD}" in self.peaks


@dataclass(frozen=True)
class Rehearsed:
    """All kinds of turns of a cycle, and what every player learns with."""

    turns: Mapping[Any, TurnCost]
    players: Mapping[str, int]
    """Numbers that each player learns."""
    averaged: frozenset[str]
    """Players whose weights have a running average."""
    uses_teacher: bool


def rehearse_turns(
    stage: Stage,
    cast: Cast,
    clip: Clip,
    *,
    dtype: torch.dtype,
    checkpointing: bool,
    only: Collection[Any] | None = None,
) -> Rehearsed:
    """A cycle of a stage's method on networks of `cast` and clips, or those kinds of turns of it that `only` names.

    Raises RecipeError for methods of other networks.
    """
    method, rng = build(stage, cast, dtype=dtype, checkpointing=checkpointing)
    counted: Counter[Any] = Counter()
    losses: dict[Any, Turn] = {}
    for cycle in range(CYCLES):
        rng.cycle = cycle
        for turn in method.turns(cycle * stage.steps // CYCLES):  # over the whole stage: a head start is part of it
            counted[_kind(turn)] += 1
            losses[_kind(turn)] = turn
    batch = example(stage, cast.student, clip)
    costs = {}
    for kind, turn in losses.items():
        if only is not None and kind not in only:
            continue
        cost, peaks = _rehearse(method, turn, batch, dtype)
        costs[kind] = TurnCost(turn.player, counted[kind] / CYCLES, cost.flops, peaks)
    numbers = {name: sum(p.numel() for p in player.module.parameters()) for name, player in method.players.items()}
    averaged = frozenset(name for name, player in method.players.items() if player.optim.ema is not None)
    return Rehearsed(costs, numbers, averaged, "teacher" in _networks(method))


def at_full_depth(stage: Stage, cast: Cast, clip: Clip, *, dtype: torch.dtype, checkpointing: bool) -> Rehearsed:
    """`rehearse_turns` of networks of any depth, from those of a few blocks: all costs grow by the block."""
    few = {depth: min(depth, taps(stage)) for depth in cast.depths}
    options: dict[str, Any] = {"dtype": dtype, "checkpointing": checkpointing}
    start = rehearse_turns(stage, cast.cut(few), clip, **options)
    turns, players = dict(start.turns), dict(start.players)
    learning = {cast.student.num_layers, cast.fake_score.num_layers}
    for depth in cast.depths:
        taught = [kind for kind, turn in turns.items() if any("teacher" in part for part in turn.peaks)]
        concerned = list(turns) if depth in learning else taught
        if depth == few[depth] or not concerned:
            continue
        deeper = cast.cut({**few, depth: few[depth] + 1})
        more = rehearse_turns(stage, deeper, clip, only=concerned, **options)
        for kind in concerned:
            turns[kind] = _deeper(turns[kind], start.turns[kind], more.turns[kind], depth, depth - few[depth])
        for name in players:
            players[name] += (depth - few[depth]) * (more.players[name] - start.players[name])
    return replace(start, turns=turns, players=players)


def _deeper(turn: TurnCost, old: TurnCost, new: TurnCost, depth: int, layers: int) -> TurnCost:
    """A turn with `layers` more blocks of `depth` altogether, by how `new` differs from `old`, which has one less."""
    growth = {part: new.peaks[part] - peak for part, peak in old.peaks.items()}
    return replace(
        turn,
        flops=turn.flops + layers * (new.flops - old.flops),
        peaks={part: peak + layers * growth[part] for part, peak in turn.peaks.items()},
        kept={part: turn.kept.get(part, 0) + depth * grown for part, grown in growth.items()},
    )


def build(stage: Stage, cast: Cast, *, dtype: torch.dtype, checkpointing: bool) -> tuple[Method, EveryOutcome]:
    """The stage's method without data; a discriminator taps the last blocks there are."""
    config: Any = stage.method
    if isinstance(stage.method, Judging):
        depth, taps = cast.fake_score.num_layers, len(stage.method.discriminator.layers)
        heads = replace(stage.method.discriminator, layers=tuple(range(depth - taps, depth)))
        config = replace(config, discriminator=heads)
    rng = EveryOutcome()
    try:
        with META:
            return config.build(MetaNetworks(cast, dtype=dtype, checkpointing=checkpointing), rng), rng
    except AttributeError as error:
        raise RecipeError(
            f"plans are made for methods that train a video transformer, stage {stage.name!r} has "
            f"{type(stage.method).__name__} ({error}): it trains a small network, on any machine"
        ) from error


def taps(stage: Stage) -> int:
    """Blocks that a network must have at least for its discriminator to read."""
    return len(stage.method.discriminator.layers) if isinstance(stage.method, Judging) else 2


def example(stage: Stage, cfg: DiTConfig, clip: Clip) -> Batch:
    """A batch with all that a method may look at, without data."""
    text = meta(stage.batch, cfg.text_len, cfg.text_dim)
    states = len(stage.method.levels) + 1 if isinstance(stage.method, Streaming) else 1
    return Batch(
        text=text, null_text=text, latents=meta(stage.batch, *clip), trajectory=meta(stage.batch, states, *clip)
    )


def latent_shape(recipe: Recipe, stage: Stage) -> Clip:
    """Of a stage's clips: the method's, or the recipe's, cut as the data cuts them."""
    if isinstance(stage.method, Chunkwise):
        return stage.method.latent_shape
    cut = stage.data.frames if isinstance(stage.data, LatentData | ShardData) else None
    size, channels = recipe.clip, PRESETS[recipe.preset].in_channels
    return cut or size.latent_frames, channels, size.height // SPATIAL, size.width // SPATIAL


def _rehearse(method: Method, turn: Turn, batch: Batch, dtype: torch.dtype) -> tuple[Cost, dict[str, float]]:
    """One turn as the trainer takes it, its gradients there from the batch before."""
    for name, player in method.players.items():
        for parameter in player.module.parameters():
            parameter.requires_grad_(name == turn.player)
            parameter.grad = torch.empty_like(parameter) if name == turn.player else None
    products = None if dtype is torch.float32 else dtype
    with ExitStack() as stack:
        tally = stack.enter_context(rehearsing(products))
        for name, module in _networks(method).items():
            for block in module.blocks if isinstance(module, VideoDiT) else [module]:
                hook = block.register_forward_pre_hook(lambda *_, name=name: tally.enter(_doing(name)))
                stack.callback(hook.remove)
        loss = turn.loss(batch)
        tally.begin("backward")
        backward(loss.total)
        del loss
    return Cost(tally.flops, tally.peak), dict(tally.peaks)


def _doing(name: str) -> str:
    return name if torch.is_grad_enabled() else f"{name} {FORWARD}"


def _networks(method: Method) -> dict[str, nn.Module]:
    found = {name: player.module for name, player in method.players.items()}
    teacher = getattr(vars(method).get("matching", method), "teacher", None)
    return found if teacher is None else {**found, "teacher": teacher}


def _kind(turn: Turn) -> Any:
    """What tells a turn from others: its player, its loss, and what the loss is asked."""
    loss: Callable[..., Any] | partial[Any] = turn.loss
    if isinstance(loss, partial):
        return turn.player, loss.func.__name__, tuple(sorted(loss.keywords.items()))
    return turn.player, getattr(loss, "__name__", ""), ()
