"""Every model at every plan on the same prompts and noise, into a folder that an interrupted run can go on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import torch

from fewstep.evaluation.entries import PLANS, Entry, require_distinct
from fewstep.evaluation.measure import (
    Measurement,
    Prompts,
    beginning_of,
    measure,
    measure_round_trip,
    measure_truth,
    world_of,
)
from fewstep.evaluation.provenance import fingerprint
from fewstep.evaluation.results import (
    CONTROLS,
    Cell,
    Protocol,
    file_name,
    load_cell,
    require_same_protocol,
    save_cell,
)
from fewstep.evaluation.scores import summarise
from fewstep.evaluation.shapebench import frozen_normalisation
from fewstep.files import require_writable
from fewstep.hardware import Precision
from fewstep.models.fingerprint import module_fingerprint
from fewstep.pipeline import Pipeline
from fewstep.revision import git_commit
from fewstep.sheets import contact_sheet
from fewstep.video import write_image

SHOWN = 8
"""Clips on a contact sheet."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    plans: tuple[str, ...] = PLANS
    split: str = "test"
    clips: int = 256
    seed: int = 0
    batch: int = 32
    teacher_steps: int = 50
    timed: int = 5
    device: str | torch.device | None = None
    dtype: Precision = "auto"


class Watcher(Interface):
    """Who hears of progress."""

    def begin(self, cell: str, clips: int) -> None: ...

    def advance(self, clips: int) -> None: ...

    def end(self, cell: Cell, kept: bool) -> None: ...


@dataclass
class Evaluation:
    """One run of `evaluate`: what all cells share, and where they go."""

    out: Path
    settings: Settings
    prompts: Prompts
    protocol: Protocol
    watcher: Watcher
    commit: str | None = field(default_factory=git_commit)

    def cell(self, make: Callable[[], Measurement], name: str, **identity: Any) -> Cell:
        """A cell from disk when the same model was measured before, else measured now, saved and pictured."""
        path = self.out / file_name(identity["row"], identity["training_seed"], identity["plan"])
        self.watcher.begin(name, self.settings.clips)
        if path.is_file():
            cell = load_cell(path)
            require_same_protocol(cell.protocol, self.protocol, self.out)
            if cell.fingerprint == identity["fingerprint"]:
                self.watcher.advance(self.settings.clips)
                self.watcher.end(cell, kept=True)
                return cell
        made = make()
        cell = Cell(
            **identity,
            commit=self.commit,
            protocol=self.protocol,
            evaluations=made.evaluations,
            commits=made.commits,
            timing=made.timing,
            summary=summarise(made.clips),
            clips=made.clips,
        )
        sheet = contact_sheet(made.shown, list(self.prompts.captions[: len(made.shown)]), columns=2, enlarge=2)
        write_image(self.out / "sheets" / path.with_suffix(".png").name, sheet)
        save_cell(cell, self.out)
        self.watcher.end(cell, kept=False)
        return cell

    def controls(self, pipeline: Pipeline) -> list[Cell]:
        """Ground truth, and its round trip through the models' autoencoder."""
        same: dict[str, Any] = {"kind": "control", "model": "", "plan": "-", "training_seed": 0, "trained_by": ""}
        options: dict[str, Any] = {"shown": SHOWN, "advance": self.watcher.advance}
        return [
            self.cell(
                partial(measure_truth, self.prompts, **options),
                "ground truth",
                row="truth",
                fingerprint=self.protocol.prompts,
                **same,
            ),
            self.cell(
                partial(measure_round_trip, pipeline.vae, self.prompts, **options),
                "VAE round trip",
                row="vae",
                fingerprint=module_fingerprint(pipeline.vae),
                **same,
            ),
        ]

    def model(self, entry: Entry, pipeline: Pipeline) -> list[Cell]:
        """The cells of one model."""
        name, settings, passport = fingerprint(pipeline), self.settings, entry.passport
        make = partial(measure, pipeline, seed=settings.seed, batch=settings.batch, timed=settings.timed, shown=SHOWN)
        return [
            self.cell(
                partial(make, plan, self.prompts, advance=self.watcher.advance),
                f"{entry.row}, {plan} steps",
                row=entry.row,
                kind=passport.kind,
                model=passport.name,
                plan=plan,
                training_seed=entry.training_seed,
                fingerprint=name,
                trained_by=passport.trained_by or "",
            )
            for plan in entry.plans(settings.plans, settings.teacher_steps)
        ]


def evaluate(entries: Sequence[Entry], out: Path, settings: Settings, watcher: Watcher) -> list[Cell]:
    """Measure controls and models; cells that are there for the same weights and protocol are kept.

    Raises ValueError for two models of one row and training seed, for a folder of another protocol, and for models
    whose clips differ in format or in what they begin with.
    """
    _check(entries, settings)
    require_writable(out / "sheets" / "_.png")
    cells: list[Cell] = []
    run: Evaluation | None = None
    for entry in entries:
        pipeline = Pipeline.load(entry.folder, device=settings.device, dtype=settings.dtype)
        world = world_of(pipeline)
        if run is None:
            prompts = Prompts.sample(world, settings.split, settings.clips)
            run = Evaluation(out, settings, prompts, _protocol(settings, prompts, pipeline), watcher)
            cells += run.controls(pipeline)
        elif world != run.prompts.world:
            raise ValueError(
                f"models of one table must make clips of one format, '{entry.passport.name}' makes {world}, the "
                f"first {run.prompts.world}: measure it into another folder"
            )
        elif beginning_of(pipeline) != run.protocol.begins_with:
            raise ValueError(
                f"clips of one table must begin alike, those of '{entry.passport.name}' with the "
                f"{beginning_of(pipeline)}, the first model's with the {run.protocol.begins_with}: measure it into "
                "another folder"
            )
        cells += run.model(entry, pipeline)
    return cells


def count_cells(entries: Sequence[Entry], settings: Settings) -> int:
    """Cells of a run, controls included."""
    return len(CONTROLS) + sum(len(entry.plans(settings.plans, settings.teacher_steps)) for entry in entries)


def _check(entries: Sequence[Entry], settings: Settings) -> None:
    require_distinct(entries)
    for name in ("batch", "timed", "teacher_steps"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} must be 1 or more, got {getattr(settings, name)}")
    if not 0 <= settings.seed < 2**31:
        raise ValueError(f"seed must be a whole number from 0 to {2**31 - 1}, got {settings.seed}")


def _protocol(settings: Settings, prompts: Prompts, pipeline: Pipeline) -> Protocol:
    return Protocol(
        split=settings.split,
        clips=settings.clips,
        seed=settings.seed,
        prompts=prompts.hash,
        batch=settings.batch,
        scorer=frozen_normalisation().version,
        begins_with=beginning_of(pipeline),
        noise="clip",
    )
