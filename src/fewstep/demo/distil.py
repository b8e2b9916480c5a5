"""The live part: distil a one-step student from the bundled start in about as many seconds as there are."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from fewstep.methods.base import OptimConfig
from fewstep.methods.dmd import DMDConfig
from fewstep.recipes import self_forcing
from fewstep.training.log import read_log
from fewstep.training.recipe import Recipe, Runtime
from fewstep.training.run import run_recipe

TRIAL = 3
"""Cycles run first, to learn how long one takes here."""
BATCH, RATIO = 8, 2
"""Fewer clips and fewer fake-score updates than the full recipe: a minute is short."""
RATE, SCORE_RATE, AVERAGE = 3e-4, 6e-4, 0.9


@dataclass(frozen=True)
class Distilled:
    """What a live run gave."""

    model: Path
    seconds: float
    updates: int
    """Of the generator."""
    curves: dict[str, list[float]]
    """Logged signals by name, one value per cycle."""


def live_recipe(cycles: int, seed: int) -> Recipe:
    """The one-step DMD recipe of the embedded model, cut down to `cycles` short cycles."""
    recipe = self_forcing.shapes_1step()
    (stage,) = recipe.stages
    assert isinstance(stage.method, DMDConfig)
    method = replace(
        stage.method,
        ratio=RATIO,
        generator_optim=OptimConfig(lr=RATE, ema=AVERAGE, ema_start=TRIAL),
        fake_score_optim=OptimConfig(lr=SCORE_RATE),
    )
    runtime = Runtime(checkpoint_every=max(cycles, 1), keep=1)
    stage = replace(stage, name="live", method=method, batch=BATCH, steps=cycles)
    return replace(recipe, name="one-step student,", stages=(stage,), runtime=runtime, seed=seed)


def distil(folder: Path, seconds: float, seed: int) -> Distilled:
    """Train for about `seconds` in a fresh `folder`: a few cycles to learn the pace, then as many as fit."""
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    model = run_recipe(live_recipe(TRIAL, seed), folder)
    pace = min(line["seconds"] for line in _lines(folder))
    left = int((seconds - (time.perf_counter() - started)) / pace)
    if left > 0:
        model = run_recipe(live_recipe(TRIAL + left, seed), folder)
    lines = _lines(folder)
    names = [name for name, value in lines[-1].items() if isinstance(value, float)]
    curves = {name: [line[name] for line in lines if line.get(name) is not None] for name in names}
    shutil.rmtree(folder / "live" / "checkpoints")
    return Distilled(model, time.perf_counter() - started, len(lines), curves)


def _lines(folder: Path) -> list[dict]:
    return read_log(folder / "live" / "log.jsonl")
