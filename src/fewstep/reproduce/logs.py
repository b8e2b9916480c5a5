"""What the papers say of training, from the logs of our runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np

from fewstep.metrics.dynamics import LAST, WARM_UP, Series, logit_gap
from fewstep.metrics.intervals import COUNT, block_length, block_resamples
from fewstep.metrics.seeds import Missing, Seeded, paired, seeded
from fewstep.reproduce.evidence import Evidence, Lines
from fewstep.reproduce.paper import Quantity, Training

DMD = "generator/dmd"
"""The logged DMD loss: mean(g^2) / 2, as in Self Forcing's code."""
ACCURACY = "discriminator/accuracy"


def read_logs(folder: Path) -> dict[str, Lines]:
    """Lines of each stage of a run, in the recipe's order; a line that is still being written is left out.

    Times of files would not do for the order: a copied run has those of the copying.
    """
    recipe = folder / "recipe.json"
    order = [stage["name"] for stage in json.loads(recipe.read_text("utf-8"))["stages"]] if recipe.is_file() else []
    stages: dict[str, Lines] = {}
    for name in order or sorted(path.parent.name for path in folder.glob("*/log.jsonl")):
        path = folder / name / "log.jsonl"
        if path.is_file():
            whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
            stages[name] = [json.loads(line) for line in whole.splitlines() if line]
    return stages


def series_of(evidence: Evidence, training: Training, signal: str) -> dict[int, Series]:
    """A signal of the last stage of each training seed. Raises Missing."""
    found = {}
    for seed, lines in evidence.log(training).items():
        try:
            found[seed] = Series.of(lines, signal)
        except ValueError as error:
            raise Missing(f"the log of {training.key}, seed {seed}: {error}") from error
    return found


def steadier(ours: Training, baseline: Training) -> Quantity:
    """log of the variance of the baseline's DMD loss over ours, trend and warm-up taken away (ASD Figure 13)."""

    def variance(series: Series) -> np.ndarray:
        residuals = series.after(WARM_UP).residuals
        return np.concatenate([[residuals.var(ddof=2)], _blocks(residuals).var(1, ddof=1)])

    def statistic(evidence: Evidence) -> Seeded:
        sides = (_of_loss(evidence, training, variance) for training in (ours, baseline))
        return paired(lambda mine, theirs: np.log(theirs / mine), *sides)

    return statistic


def lower_loss(ours: Training, baseline: Training) -> Quantity:
    """How much lower our DMD loss is after the warm-up, in percent of the baseline's."""

    def mean(series: Series) -> np.ndarray:
        values = series.after(WARM_UP).values
        return np.concatenate([[values], _blocks(values)]).mean(1)

    def statistic(evidence: Evidence) -> Seeded:
        sides = (_of_loss(evidence, training, mean) for training in (ours, baseline))
        return paired(lambda mine, theirs: 100 * (1 - mine / theirs), *sides)

    return statistic


def balance(training: Training, n: int) -> Quantity:
    """1 - |mean| / deviation of the logit gap of n steps over the run's end: above 0 within one deviation of 0."""

    def within(gap: Series) -> np.ndarray:
        values = gap.after(1 - LAST).values
        if len(values) < 2:
            raise Missing(f"the log of {training.key} has too few cycles of {n} steps: train for longer")
        rows = np.concatenate([[values], _blocks(values)])
        return 1 - np.abs(rows.mean(1)) / rows.std(1, ddof=1)

    def statistic(evidence: Evidence) -> Seeded:
        found = series_of(evidence, training, f"discriminator/gap_n{n}")
        return seeded(tuple(found), [within(gap) for gap in found.values()], _shortest(found))

    return statistic


def imbalance(training: Training, n: int) -> Callable[[Evidence], Mapping[int, list[str]]]:
    """Why the game of n steps is out of balance, by training seed: `logit_gap`'s faults, trend and accuracy too."""

    def faults(evidence: Evidence) -> Mapping[int, list[str]]:
        gaps = series_of(evidence, training, f"discriminator/gap_n{n}")
        right = series_of(evidence, training, ACCURACY)
        try:
            found = {seed: logit_gap(gap, right[seed]).faults for seed, gap in gaps.items()}
        except ValueError as error:
            raise Missing(f"the log of {training.key}: {error}") from error
        return {seed: lines for seed, lines in found.items() if lines}

    return faults


def extra_time(ours: Training, baseline: Training) -> Quantity:
    """Seconds per cycle of ours over the baseline's, in percent above it; medians, for a busy machine has outliers."""

    def statistic(evidence: Evidence) -> Seeded:
        sides = []
        for training in (ours, baseline):
            logs = evidence.log(training)
            times = [np.array([line["seconds"] for line in lines]) for lines in logs.values()]
            drawn = [np.median(np.concatenate([[each], _blocks(each)]), axis=1) for each in times]
            sides.append(seeded(tuple(logs), drawn, min(map(len, times))))
        return paired(lambda mine, theirs: 100 * (mine / theirs - 1), *sides)

    return statistic


def seconds_per_cycle(stages: dict[str, Lines]) -> dict[str, float]:
    """Median of each stage."""
    return {name: median(line["seconds"] for line in lines) for name, lines in stages.items() if lines}


def _of_loss(evidence: Evidence, training: Training, find: Callable[[Series], np.ndarray]) -> Seeded:
    """Something of every seed's DMD loss, on the log and on resamples of its blocks."""
    found = series_of(evidence, training, DMD)
    return seeded(tuple(found), [find(series) for series in found.values()], _shortest(found))


def _shortest(found: Mapping[int, Series]) -> int:
    return min(len(series.values) for series in found.values())


def _blocks(values: np.ndarray) -> np.ndarray:
    return block_resamples(values, COUNT, block_length(len(values)), np.random.default_rng(len(values)))
