"""The training loop: for each turn, only its player learns. It knows nothing of what the losses mean."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewstep.diffusion.rng import Rng
from fewstep.files import write_text
from fewstep.hardware import pick_device, pick_dtype
from fewstep.methods.base import Batch, Method, Turn
from fewstep.training.checkpoint import load_newest, save_checkpoint, saved_steps
from fewstep.training.export import export_model
from fewstep.training.log import Display, RunLog, make_display
from fewstep.training.materials import Materials
from fewstep.training.monitor import CLIPS, Monitor
from fewstep.training.networks import RecipeNetworks
from fewstep.training.optim import Learner
from fewstep.training.precision import computing
from fewstep.training.recipe import Recipe, RecipeError, Stage, describe, require_same


class NonFiniteError(ValueError):
    """A loss or gradient norm stopped being a finite number; nothing was written to the weights."""


@dataclass
class Cycle:
    """What one pass over a method's turns measured; means over the turns of each player."""

    step: int
    signals: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Trainer:
    """A method, its learners, and where they are. `state_dict` holds all that a bit-exact resume needs."""

    def __init__(
        self,
        method: Method,
        rng: Rng,
        read: Callable[[int], Batch],
        *,
        steps: int,
        accumulate: int = 1,
        dtype: torch.dtype = torch.float32,
    ):
        self.method, self.rng, self.read = method, rng, read
        self.steps, self.accumulate, self.dtype = steps, accumulate, dtype
        self.learners = {name: Learner(player) for name, player in method.players.items()}
        self.step = 0
        self.position = 0

    def cycle(self) -> Cycle:
        """Every turn of one cycle, in order."""
        started = time.perf_counter()
        measured: list[tuple[str, dict[str, Tensor]]] = []
        for turn in self.method.turns(self.step):
            measured.append((turn.player, self._update(turn)))
        self.step += 1
        return Cycle(self.step, _means(measured), time.perf_counter() - started)

    def _update(self, turn: Turn) -> dict[str, Tensor]:
        """One optimiser update: accumulate, check, clip, step."""
        learner = self.learners[turn.player]
        for other in self.learners.values():
            other.require_grad(other is learner)
        learner.zero_grad()
        parts = self._accumulate(turn)
        norm = learner.clip()
        self._require_finite(turn.player, {**parts, "grad_norm": norm})
        factor = learner.step(self.step / self.steps)
        learner.zero_grad()
        return {**parts, "grad_norm": norm, "lr": torch.tensor(factor * learner.optim.lr)}

    def _accumulate(self, turn: Turn) -> dict[str, Tensor]:
        """Gradients of the mean loss over `accumulate` batches; returns the mean of each signal."""
        sums: dict[str, Tensor] = {}
        for _ in range(self.accumulate):
            batch = self.read(self.position).to(self.rng.device)
            self.position += 1
            with computing(self.dtype, self.rng.device):
                loss = turn.loss(batch)
            (loss.total / self.accumulate).backward()
            for name, value in {**loss.parts, "loss": loss.total}.items():
                share = torch.as_tensor(value).detach().float() / self.accumulate
                sums[name] = sums[name] + share if name in sums else share
        return sums

    def _require_finite(self, player: str, signals: Mapping[str, Tensor]) -> None:
        """Stop before the optimiser step when a loss or norm is not finite: reduced on the device, read once."""
        checked = torch.stack([signals["loss"].reshape(()), signals["grad_norm"].float().to(signals["loss"].device)])
        if bool(torch.isfinite(checked).all()):
            return
        shown = ", ".join(f"{name} {float(value):.4g}" for name, value in signals.items() if value.numel() == 1)
        raise NonFiniteError(
            f"losses and gradients must be finite, but {player}'s turn in cycle {self.step} gave {shown}; "
            "the weights were not changed: lower its learning rate or look at the data, then resume"
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "position": self.position,
            "rng": self.rng.state_dict(),
            "learners": {name: learner.state_dict() for name, learner in self.learners.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, learner in self.learners.items():
            learner.load_state_dict(state["learners"][name])
        self.rng.load_state_dict(state["rng"])
        self.step, self.position = state["step"], state["position"]

    def counters(self) -> dict[str, int]:
        """Batches read, and updates of each player, since the stage began."""
        updates = {f"{name}_updates": learner.updates for name, learner in self.learners.items()}
        return {"batches": self.position, **updates}

    def result(self) -> dict[str, Tensor]:
        """Weights of the method's generator, averaged where an average is kept."""
        return self.learners[self.method.generator].result()


def _means(measured: list[tuple[str, dict[str, Tensor]]]) -> dict[str, float]:
    """`player/signal` -> mean over that player's turns; a signal that some turns lack is averaged over the others."""
    named = [(f"{player}/{name}", value) for player, signals in measured for name, value in signals.items()]
    on_device = torch.stack([value.detach().float().reshape(()).to(named[0][1].device) for _, value in named])
    values: dict[str, list[float]] = {}
    for (name, _), value in zip(named, on_device.tolist(), strict=True):
        values.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in values.items()}


def run_recipe(
    recipe: Recipe,
    out_dir: Path | str,
    *,
    resume: bool = True,
    cache: Path | str | None = None,
    display: Display | None = None,
    on_cycle: Callable[[str, Cycle], None] | None = None,
) -> Path:
    """Train every stage of a recipe in `out_dir`, from where an earlier run stopped; returns the model folder.

    `cache` holds what is computed once and may be shared between runs. `on_cycle(stage, cycle)` observes every cycle.
    Raises RecipeError when the folder belongs to another recipe, OutputError when it cannot be written.
    """
    out = Path(out_dir)
    _claim(out, recipe, resume)
    display = display or make_display(recipe.runtime.log_seconds)
    models: dict[str, Path] = {}
    try:
        for stage in recipe.stages:
            model = out / "model" if stage is recipe.stages[-1] else out / stage.name / "model"
            run = StageRun(recipe, stage, out / stage.name, model, dict(models), Path(cache or out.parent / "cache"))
            run.complete(display, on_cycle)
            models[stage.name] = model
    finally:
        display.close()
    return out / "model"


@dataclass(frozen=True)
class StageRun:
    """One stage of a recipe and the folders that it reads and writes."""

    recipe: Recipe
    stage: Stage
    folder: Path
    """Log, samples and checkpoints."""
    model: Path
    """Where the result goes."""
    earlier: Mapping[str, Path]
    """Model folders of the stages before."""
    cache: Path

    def complete(self, display: Display, on_cycle: Callable[[str, Cycle], None] | None = None) -> None:
        """Train to the stage's last cycle and export its model, or do nothing when that has been done."""
        saved = saved_steps(self.folder / "checkpoints")
        if saved and saved[-1] >= self.stage.steps and self.model.is_dir():
            display.say(f"{self.stage.name}: done before, its model is in {self.model}")
            return
        trainer, materials, watch = self.prepare(display)
        with _many_shapes(self.recipe.runtime.compile), closing(RunLog(self.folder, trainer.step)) as log:
            self._train(trainer, materials, watch, display, log, on_cycle)
        export_model(self.model, self.recipe, self.stage, trainer.method, trainer.learners, trainer.step, materials)

    def prepare(self, display: Display) -> tuple[Trainer, Materials, Monitor | None]:
        """The stage's trainer as its newest checkpoint left it, and what its batches are made from."""
        runtime, stage = self.recipe.runtime, self.stage
        device = pick_device(None if runtime.device == "auto" else runtime.device)
        dtype = pick_dtype(runtime.precision, device)
        networks = RecipeNetworks(self.recipe, stage, device=device, dtype=dtype, earlier=self.earlier)
        materials = Materials(networks, self.cache, display)
        source = stage.data.open(materials)
        rng = Rng(networks.seed(stage.name), device=device)
        with networks.seeded(f"{stage.name} method"):
            method = stage.method.build(networks, rng)
        options = {"steps": stage.steps, "accumulate": stage.accumulate, "dtype": dtype}
        trainer = Trainer(method, rng, lambda position: source.batch(position, stage.batch), **options)
        state = load_newest(self.folder / "checkpoints", display.say)
        if state is not None:
            trainer.load_state_dict(state)
        monitor = None
        if runtime.sample_every:
            generator = method.players[method.generator].module
            watch = source.reference(CLIPS)
            monitor = Monitor(self.folder / "samples", generator, stage.method, self.recipe.clip, watch)
        return trainer, materials, monitor

    def _train(
        self,
        trainer: Trainer,
        materials: Materials,
        monitor: Monitor | None,
        display: Display,
        log: RunLog,
        on_cycle: Callable[[str, Cycle], None] | None,
    ) -> None:
        runtime, last = self.recipe.runtime, self.stage.steps
        display.begin(f"{self.recipe.name} {self.stage.name}", trainer.step, last)
        while trainer.step < last:
            cycle = trainer.cycle()
            more: dict[str, Any] = {}
            if monitor is not None and (cycle.step % runtime.sample_every == 0 or cycle.step == last):
                with trainer.learners[trainer.method.generator].averaged():
                    cycle.signals |= monitor.look(cycle.step, materials)
                warning = monitor.alarm(cycle.signals)
                if warning is not None:
                    more["alarm"] = warning
                    display.say(f"{self.stage.name}, cycle {cycle.step}: {warning}")
            log.write(cycle.step, cycle.signals, **more, **trainer.counters(), seconds=round(cycle.seconds, 4))
            if cycle.step % runtime.checkpoint_every == 0 or cycle.step == last:
                save_checkpoint(self.folder / "checkpoints", trainer.state_dict(), cycle.step, runtime.keep)
            display.advance(cycle.step, _note(cycle.signals))
            if on_cycle is not None:
                on_cycle(self.stage.name, cycle)


def _claim(out: Path, recipe: Recipe, resume: bool) -> None:
    """Write the recipe into a new folder, or check that an old one belongs to it."""
    path, now = out / "recipe.json", json.loads(json.dumps(describe(recipe)))
    if path.is_file():
        if not resume:
            raise RecipeError(f"{out} already holds a run; resume it, or choose another folder to start anew")
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecipeError(f"{path} must hold the recipe of the run in {out}, but is no JSON: {error}") from error
        require_same(before, now, out)
    write_text(path, json.dumps(now, indent=2, ensure_ascii=False) + "\n")


def _many_shapes(compiled: bool) -> AbstractContextManager[object]:
    """Rollouts run the same block with caches of many lengths, with and without gradient: each is compiled once."""
    if not compiled:
        return nullcontext()
    import torch._dynamo

    return torch._dynamo.config.patch(recompile_limit=256, accumulated_recompile_limit=1024)


def _note(signals: Mapping[str, float]) -> str:
    """The losses, for the progress line."""
    losses = {name.removesuffix("/loss"): value for name, value in signals.items() if name.endswith("/loss")}
    return "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
