"""From a paper to its report: runs or reuses everything it needs, and measures what is not measured yet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fewstep.evaluation.measure import Prompts, world_of
from fewstep.evaluation.provenance import fingerprint
from fewstep.evaluation.results import Cell, Protocol, ResultsError, load_cells
from fewstep.evaluation.scores import summarise
from fewstep.evaluation.shapebench import frozen_normalisation
from fewstep.hardware import Precision
from fewstep.metrics.extractors import open_extractor
from fewstep.models.fingerprint import module_fingerprint
from fewstep.pipeline import Pipeline
from fewstep.reproduce.evidence import Evidence, Lines, Samples
from fewstep.reproduce.jobs import CELL_DISK, Job, is_there, measuring_seconds, training_command, training_jobs
from fewstep.reproduce.logs import read_logs
from fewstep.reproduce.measuring import CONTROLS, Measured, measure_arm, measure_control, measures_of
from fewstep.reproduce.paper import Arm, Model, Paper, Training
from fewstep.reproduce.store import Store
from fewstep.revision import git_commit

CONTROL_TITLES = {
    "truth": "ground truth",
    "vae": "ground truth through the autoencoder",
    "frozen": "ground truth, its first frame held",
    "noise": "noise",
    "shuffled": "ground truth, judged by another caption",
}
BASE = "shapes-base"
"""Whose autoencoder the control goes through: that of every embedded model."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a report is made."""

    runs: Path = Path("runs/embedded")
    shapebench: Path = Path("results/shapes")
    """Results of `fewstep shapebench`, whose number of prompts is the default."""
    out: Path = Path("results/reproduce")
    seeds: tuple[int, ...] = (0, 1, 2)
    clips: int | None = None
    """Prompts; by default as many as the results in `shapebench` have, else 256."""
    split: str = "test"
    train: bool = True
    """Train what is missing; else it is said to be missing."""
    extractor: str = "shapes"
    batch: int = 16
    device: str | None = None
    dtype: Precision = "auto"


@dataclass(frozen=True)
class Watcher:
    """Who hears of progress."""

    begin: Callable[[str, int], None] = lambda title, clips: None
    advance: Callable[[int], None] = lambda clips: None
    say: Callable[[str], None] = lambda line: None


def adopt_clips(settings: Settings) -> int:
    """The number of prompts: as asked, else as measured before, so that results are shared, else 256."""
    if settings.clips is not None:
        return settings.clips
    try:
        return load_cells(settings.shapebench)[0].protocol.clips
    except ResultsError:
        return 256


def plan(paper: Paper, settings: Settings) -> list[Job]:
    """Every run and every arm for every seed. What is measured already is only known when its model is loaded."""
    store, clips = Store(settings.out), adopt_clips(settings)
    jobs = training_jobs(paper, settings.runs, settings.seeds)
    for arm in paper.arms():
        for seed in _seeds(arm.model, settings.seeds):
            there = store.path(arm.key, seed, arm.plan).is_file()
            cost = (0.0, 0.0) if there else (measuring_seconds(arm, clips), CELL_DISK)
            command = ("fewstep", "reproduce", paper.key, "--no-train")
            jobs.append(Job(arm, seed, command, there, *cost))
    return jobs


def train_missing(jobs: Sequence[Job], watcher: Watcher) -> dict[Training, str]:
    """Run what is not there, each in a process of its own; why runs failed, by training."""
    failed: dict[Training, str] = {}
    for job in jobs:
        training = job.subject
        if job.there or not isinstance(training, Training):
            continue
        needed = training.start.source if training.start else None
        if isinstance(needed, Training) and needed in failed:
            failed[training] = f"not run: {needed.key}, which it starts from, failed"
            continue
        watcher.say(job.line)
        done = subprocess.run([sys.executable, "-m", *job.command], check=False)
        if done.returncode:
            failed[training] = f"not run: `{job.line}` ended with status {done.returncode}"
    return failed


class Measuring:
    """Measures arms and controls, or takes what is there."""

    def __init__(self, settings: Settings, watcher: Watcher):
        self.settings, self.watcher = settings, watcher
        self.store, self.extractor = Store(settings.out), open_extractor(settings.extractor)
        self.measures = measures_of(self.extractor)
        self.clips, self.commit = adopt_clips(settings), git_commit()
        self.samples: dict[Arm, Samples] = {}
        self._prompts: Prompts | None = None

    def prompts(self, pipeline: Pipeline) -> Prompts:
        """The same for all models, which must make clips of one format."""
        if self._prompts is None:
            self._prompts = Prompts.sample(world_of(pipeline), self.settings.split, self.clips)
        elif world_of(pipeline) != self._prompts.world:
            raise ValueError(f"models of one report must make clips of one format, '{pipeline.passport.name}' differs")
        return self._prompts

    def arms_of(self, model: Model, arms: Sequence[Arm]) -> None:
        """Everything of the arms of one model."""
        found: dict[Arm, list[Cell]] = {arm: [] for arm in arms}
        for seed in _seeds(model, self.settings.seeds):
            if is_there(model, self.settings.runs, seed):
                pipeline = self._load(model.where(self.settings.runs, seed), arms)
                free = {arm: self._arm(pipeline, arm, seed) for arm in arms}
                for arm, there in free.items():
                    cell = there or self._arm(pipeline, arm, seed, wait=True)  # what another process was at comes last
                    assert cell is not None
                    found[arm].append(cell)
        for arm, cells in found.items():
            if cells:
                self.samples[arm] = Samples(arm, tuple(cells), tuple(map(self.store.arrays, cells)))

    def controls(self) -> dict[str, Samples]:
        """Ground truth, and what is done to it."""
        found = {}
        pipeline = self._load("shapes-teacher", ())
        prompts, name = self.prompts(pipeline), module_fingerprint(pipeline.vae)
        options: dict[str, Any] = {"extractor": self.extractor, "advance": self.watcher.advance}
        identity = {"kind": "control", "training_seed": 0, "fingerprint": name, "model": "", "trained_by": ""}
        for control in CONTROLS:
            arm = Arm(key=control, title=CONTROL_TITLES[control], model=Model(BASE), plan="-")
            make = partial(measure_control, control, prompts, pipeline.vae, pipeline.passport.fps, **options)
            cell = self._cell(arm, make, self._protocol(prompts, 0), wait=True, **identity)
            assert cell is not None
            found[control] = Samples(arm, (cell,), (self.store.arrays(cell),))
        return found

    def _arm(self, pipeline: Pipeline, arm: Arm, seed: int, *, wait: bool = False) -> Cell | None:
        """From disk, or measured; None where another process measures it, unless that is to be waited for."""
        prompts, passport = self.prompts(pipeline), pipeline.passport
        options: dict[str, Any] = {"batch": self.settings.batch, "extractor": self.extractor}
        return self._cell(
            arm,
            lambda: measure_arm(pipeline, arm, prompts, advance=self.watcher.advance, **options),
            self._protocol(prompts, arm.noise),
            wait=wait,
            kind=passport.kind,
            model=passport.name,
            training_seed=seed,
            fingerprint=fingerprint(pipeline),
            trained_by=passport.trained_by or "",
        )

    def _cell(
        self, arm: Arm, make: Callable[[], Measured], protocol: Protocol, *, wait: bool, **identity: Any
    ) -> Cell | None:
        """The same for anything that is measured."""
        seed, name = identity["training_seed"], identity["fingerprint"]
        with self.store.claim(arm, seed, wait=wait) as free:
            found = self.store.find(arm, seed, name, protocol, self.measures)
            if found is not None or not free:
                return found
            self.watcher.begin(f"{arm.title}, seed {seed}", self.clips)
            return self._keep(make(), protocol, row=arm.key, plan=arm.plan, **identity)

    def _keep(self, made: Measured, protocol: Protocol, **identity: Any) -> Cell:
        cell = Cell(
            **identity,
            commit=self.commit,
            protocol=protocol,
            evaluations=made.evaluations,
            commits=made.commits,
            timing=made.timing,
            summary=summarise(made.rows),
            clips=made.rows,
        )
        self.store.save(cell, made)
        return cell

    def _load(self, where: str, arms: Sequence[Arm]) -> Pipeline:
        # a student that was trained from text alone may still be asked to go on from a picture, as the paper does
        changes = {"begins_with": "either"} if any(arm.from_picture for arm in arms) else None
        return Pipeline.load(where, device=self.settings.device, dtype=self.settings.dtype, passport=changes)

    def _protocol(self, prompts: Prompts, noise: int) -> Protocol:
        settings = self.settings
        return Protocol(
            split=settings.split,
            clips=self.clips,
            seed=noise,
            prompts=prompts.hash,
            batch=settings.batch,
            scorer=frozen_normalisation().version,
            noise="clip",
        )


def gather(
    paper: Paper, jobs: Sequence[Job], failed: dict[Training, str], settings: Settings, watcher: Watcher
) -> Evidence:
    """Measure every arm whose model is there, and read the logs; what is absent says why."""
    measuring = Measuring(settings, watcher)
    by_model: dict[Model, list[Arm]] = {}
    for arm in paper.arms():
        by_model.setdefault(arm.model, []).append(arm)
    for model, arms in by_model.items():
        measuring.arms_of(model, arms)
    logs: dict[Training, dict[int, dict[str, Lines]]] = {}
    for training in paper.trainings():
        found = {seed: read_logs(training.folder(settings.runs, seed)) for seed in settings.seeds}
        if kept := {seed: stages for seed, stages in found.items() if stages}:
            logs[training] = kept
    costs = {(job.subject, job.seed): job.seconds for job in jobs}
    absent: dict[Arm | Training, str] = {}
    for training in paper.trainings():
        seconds = sum(costs.get((training, seed), 0.0) for seed in settings.seeds)
        command = " ".join(training_command(training, settings.runs, settings.seeds[0]))
        absent[training] = (
            failed.get(training) or f"not run: needs `{command}`, about {_duration(seconds)} for all seeds"
        )
    for arm in paper.arms():
        if isinstance(arm.model.source, Training):
            absent[arm] = absent[arm.model.source]
    return Evidence(measuring.samples, measuring.controls(), logs, absent)


def _seeds(model: Model, seeds: Sequence[int]) -> Sequence[int]:
    """Bundled models have one seed."""
    return seeds if isinstance(model.source, Training) else (0,)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
