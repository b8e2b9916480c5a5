"""A recipe from start to finish: stages in order, each resumed where it stopped, watched, logged and exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewstep.diffusion.rng import Rng
from fewstep.files import write_text
from fewstep.hardware import pick_device, pick_dtype
from fewstep.training.agreement import require_agreement
from fewstep.training.checkpoint import load_newest, load_state, save_checkpoint, save_state, saved_steps
from fewstep.training.data import Source
from fewstep.training.export import export_model
from fewstep.training.log import LOG, Display, RunLog, make_display
from fewstep.training.materials import Materials
from fewstep.training.monitor import CLIPS, Monitor, MotionWatch
from fewstep.training.networks import RecipeNetworks
from fewstep.training.recipe import Recipe, RecipeError, Stage, describe, require_same
from fewstep.training.trainer import Cycle, Trainer

KEPT, STOPPED = "kept.pt", "stopped.json"
"""In the folder of a stage that watches motion: the weights of its last look that was well, and why it ended early."""


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
    Raises RecipeError when the folder belongs to another recipe or the parts of a stage do not agree, OutputError when
    it cannot be written.
    """
    out, models, runs = Path(out_dir), dict[str, Path](), list[StageRun]()
    for stage in recipe.stages:
        model = out / "model" if stage is recipe.stages[-1] else out / stage.name / "model"
        runs.append(StageRun(recipe, stage, out / stage.name, model, dict(models), Path(cache or out.parent / "cache")))
        models[stage.name] = model
        if not runs[-1].is_done:
            require_agreement(recipe, stage)  # of every stage before the first, which may take days
    _claim(out, recipe, resume)
    display = display or make_display(recipe.runtime.log_seconds)
    try:
        for run in runs:
            run.complete(display, on_cycle)
    finally:
        display.close()
    return out / "model"


@dataclass(frozen=True)
class Prepared:
    """A stage that is ready to train."""

    trainer: Trainer
    materials: Materials
    source: Source
    most_motion: float
    """Of the samples so far, for a stage that watches it."""


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

    @property
    def is_done(self) -> bool:
        """Whether the stage was trained to its end and its model is there."""
        saved = saved_steps(self.folder / "checkpoints")
        trained = bool(saved and saved[-1] >= self.stage.steps) or (self.folder / STOPPED).is_file()
        return trained and self.model.is_dir()

    def complete(self, display: Display, on_cycle: Callable[[str, Cycle], None] | None = None) -> None:
        """Train to the stage's last cycle and export its model, or do nothing when that has been done."""
        if self.is_done:
            display.say(f"{self.stage.name}: done before, its model is in {self.model}")
            return
        (self.folder / STOPPED).unlink(missing_ok=True)
        prepared = self.prepare(display)
        trainer = prepared.trainer
        with _many_shapes(self.recipe.runtime.compile), closing(RunLog(self.folder, trainer.step)) as log:
            self._train(prepared, display, log, on_cycle)
        with trainer.generator.averaged():
            step = self._before_the_fall(trainer) if (self.folder / STOPPED).is_file() else trainer.step
            parts = (trainer.generator.module, step, prepared.materials, prepared.source)
            export_model(self.model, self.recipe, self.stage, *parts)

    def prepare(self, display: Display) -> Prepared:
        """The stage's trainer as its newest checkpoint left it, and where its batches come from."""
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
        return Prepared(trainer, materials, source, state.get("most_motion", 0.0) if state else 0.0)

    def _train(
        self,
        prepared: Prepared,
        display: Display,
        log: RunLog,
        on_cycle: Callable[[str, Cycle], None] | None,
    ) -> None:
        trainer, runtime, last = prepared.trainer, self.recipe.runtime, self.stage.steps
        keep = self.stage.keep_motion
        monitor = self._monitor(prepared) if runtime.sample_every or keep else None
        watch = MotionWatch(keep, monitor.reference, prepared.most_motion) if monitor is not None and keep else None
        if watch is not None and monitor is not None and trainer.step == 0:
            watch.fell(monitor.look(0, prepared.materials))  # the most is at least what the stage begins with
            save_state(self.folder / KEPT, {"step": 0, "weights": trainer.generator.result()})
        display.begin(f"{self.recipe.name} {self.stage.name}", trainer.step, last)
        while trainer.step < last:
            cycle = trainer.cycle()
            more: dict[str, Any] = {**trainer.counters(), "seconds": round(cycle.seconds, 4)}
            decides = watch is not None and (cycle.step % self.stage.look_every == 0 or cycle.step == last)
            if monitor is not None and (decides or self._samples_at(cycle.step)):
                with trainer.generator.averaged():
                    cycle.signals |= monitor.look(cycle.step, prepared.materials)
                warning = monitor.alarm(cycle.signals)
                if warning is not None:
                    more["alarm"] = warning
                    display.say(f"{self.stage.name}, cycle {cycle.step}: {warning}")
            log.write(cycle.step, cycle.signals, **more)
            if watch is not None and decides:
                if watch.fell(cycle.signals):
                    return self._stop(cycle, watch, display)
                save_state(self.folder / KEPT, {"step": cycle.step, "weights": trainer.generator.result()})
            if cycle.step % runtime.checkpoint_every == 0 or cycle.step == last:
                state = trainer.state_dict() | ({} if watch is None else {"most_motion": watch.most})
                save_checkpoint(self.folder / "checkpoints", state, cycle.step, runtime.keep)
            display.advance(cycle.step, _note(cycle.signals))
            if on_cycle is not None:
                on_cycle(self.stage.name, cycle)

    def _samples_at(self, step: int) -> bool:
        every = self.recipe.runtime.sample_every
        return bool(every) and (step % every == 0 or step == self.stage.steps)

    def _stop(self, cycle: Cycle, watch: MotionWatch, display: Display) -> None:
        """End the stage here, and write down why."""
        kept = load_state(self.folder / KEPT)["step"]
        facts = {"cycle": cycle.step, "kept_cycle": kept, "motion": watch.now, "most_motion": watch.most}
        write_text(self.folder / STOPPED, json.dumps(facts, indent=1) + "\n")
        display.say(
            f"{self.stage.name}: stopped at cycle {cycle.step}, where clips keep less than "
            f"{watch.share:.0%} of their motion; the result is that of cycle {kept}"
        )

    def _before_the_fall(self, trainer: Trainer) -> int:
        """Give the generator the weights of the last look that was well; returns its cycle."""
        kept = load_state(self.folder / KEPT)
        trainer.generator.module.load_state_dict(kept["weights"])
        return kept["step"]

    def _monitor(self, prepared: Prepared) -> Monitor:
        generator, watch = prepared.trainer.generator.module, prepared.source.reference(CLIPS)
        return Monitor(self.folder / "samples", generator, self.stage.method, self.recipe.clip, watch)


def _claim(out: Path, recipe: Recipe, resume: bool) -> None:
    """Write the recipe into a new folder, or check that one in which something was learned belongs to it."""
    path, now = out / "recipe.json", json.loads(json.dumps(describe(recipe)))
    if path.is_file() and _has_begun(out):
        if not resume:
            raise RecipeError(f"{out} already holds a run; resume it, or choose another folder to start anew")
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecipeError(f"{path} must hold the recipe of the run in {out}, but is no JSON: {error}") from error
        require_same(before, now, out)
    write_text(path, json.dumps(now, indent=2, ensure_ascii=False) + "\n")


def _has_begun(out: Path) -> bool:
    """Whether any stage, of whatever recipe, left a logged cycle, a checkpoint or a model."""
    logged = any(log.stat().st_size for log in out.glob(f"*/{LOG}"))
    saved = any(saved_steps(folder) for folder in out.glob("*/checkpoints"))
    return logged or saved or any(out.glob("model")) or any(out.glob("*/model"))


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
