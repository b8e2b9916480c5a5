"""What a report needs to be run, with its cost, and what of that is there already."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fewstep.diffusion.steps import read_plan_name
from fewstep.reproduce.logs import read_logs, seconds_per_cycle
from fewstep.reproduce.paper import Arm, Model, Paper, Training
from fewstep.training.recipe import Recipe, resolve

RATE = 5.5e10
"""FLOP/s of whole training cycles at embedded size on one CPU core: 391 GFLOP in 7.0 s of ASD, 312 in 5.7 s of DMD."""
JUDGING, DECODING, PASS = 0.14, 0.085, 0.0016
"""Seconds on one core to measure a clip of 33 frames at 64 x 64, to decode it, and for one pass of the transformer over
a chunk of it in a batch of 16; measured."""
PASSES_OF_TEACHER = 10.0
"""A teacher's guided step passes over the whole clip, twice: that many passes over a chunk."""
CHUNKS = 3
MODEL_DISK, CELL_DISK = 160e6, 0.6e6
"""Bytes that an embedded run leaves, its checkpoints included, and an arm's results; measured."""
PASSPORT = "fewstep.json"


@dataclass(frozen=True)
class Job:
    """A run, or the measuring of an arm, for one training seed."""

    subject: Training | Arm
    seed: int
    command: tuple[str, ...]
    """To do it by hand; of an arm, the model that is measured."""
    there: bool
    seconds: float = 0.0
    """Of one core, where it is not there."""
    disk: float = 0.0
    """Bytes that it adds."""

    @property
    def title(self) -> str:
        """What is run, in words."""
        what = f"train {self.subject.key}" if isinstance(self.subject, Training) else f"measure {self.subject.title}"
        return f"{what}, seed {self.seed}"

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join(self.command)


def training_command(training: Training, runs: Path, seed: int) -> tuple[str, ...]:
    """`fewstep train …` of one seed."""
    start: tuple[str, ...] = ()
    if training.start is not None:
        start = ("--stages.0.init", training.start.where(runs, seed))
    out = str(training.folder(runs, seed))
    return ("fewstep", "train", training.recipe, "--out", out, "--seed", str(seed), *training.options, *start)


def training_jobs(paper: Paper, runs: Path, seeds: Sequence[int]) -> list[Job]:
    """Every run, those that others start from first. Raises RecipeError for a recipe that is not there."""
    return [
        Job(
            training,
            seed,
            training_command(training, runs, seed),
            there := is_trained(training, runs, seed),
            0.0 if there else training_seconds(training, runs),
            0.0 if there else MODEL_DISK,
        )
        for training in paper.trainings()
        for seed in seeds
    ]


def is_trained(training: Training, runs: Path, seed: int) -> bool:
    """Whether a run's result is there."""
    return (training.folder(runs, seed) / "model" / PASSPORT).is_file()


def is_there(model: Model, runs: Path, seed: int) -> bool:
    """Whether a model is there: a bundled one always is."""
    return isinstance(model.source, str) or (Path(model.where(runs, seed)) / PASSPORT).is_file()


def training_seconds(training: Training, runs: Path) -> float:
    """Of one seed: as long as the same recipe took before, else by its work and the rate of such work here."""
    recipe = resolve(training.recipe)()
    before = [seconds_per_cycle(read_logs(folder)) for folder in sorted(runs.glob(f"{training.recipe}*"))]
    known = [each for each in before if all(stage.name in each for stage in recipe.stages)]
    if known:
        return sum(median(each[stage.name] for each in known) * stage.steps for stage in recipe.stages)
    return _planned_seconds(recipe)


def _planned_seconds(recipe: Recipe) -> float:
    from fewstep.planning.train import plan_recipe

    key = repr([stage.method for stage in recipe.stages])
    if key not in _planned:
        _planned[key] = sum(plan.once + plan.units * plan.flops for plan in plan_recipe(recipe)) / RATE
    return _planned[key]


_planned: dict[str, float] = {}


def measuring_seconds(arm: Arm, clips: int) -> float:
    """On one core; longer and larger clips take as many times more."""
    found = read_plan_name(arm.plan)
    steps, mark = found if found is not None else (1, "")
    times = arm.length * arm.enlarge**2
    if arm.model.source == "shapes-teacher":
        making = steps * PASSES_OF_TEACHER * PASS
    else:
        chunks = CHUNKS * arm.length
        passes = steps * chunks + (4 - steps if mark else 0) + chunks - 1
        making = passes * PASS * arm.enlarge**2
    observing = steps * DECODING if arm.observe else 0.0  # every step's predictions are decoded too
    return clips * (making + (DECODING + observing + JUDGING) * times)
