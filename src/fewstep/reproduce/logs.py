"""What the papers say of training, from the logs of our runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.dynamics import LAST, Series, steadiness
from fewstep.metrics.intervals import COUNT, block_length, block_resamples, interval
from fewstep.reproduce.evidence import Evidence, Missing
from fewstep.reproduce.paper import Training

Lines = list[dict[str, Any]]
DMD = "generator/dmd"
"""The logged DMD loss: mean(g^2) / 2, as in Self Forcing's code."""


def read_logs(folder: Path) -> dict[str, Lines]:
    """Lines of each stage of a run, the oldest stage first; a line that is still being written is left out."""
    stages: dict[str, Lines] = {}
    for path in sorted(folder.glob("*/log.jsonl"), key=lambda path: path.stat().st_mtime):
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        stages[path.parent.name] = [json.loads(line) for line in whole.splitlines() if line]
    return stages


def series_of(evidence: Evidence, training: Training, signal: str) -> list[Series]:
    """A signal of the last stage of each training seed. Raises Missing."""
    found = []
    for lines in evidence.log(training):
        try:
            found.append(Series.of(lines, signal))
        except ValueError as error:
            raise Missing(f"the log of {training.key}: {error}") from error
    return found


def steadier(ours: Training, baseline: Training) -> Callable[[Evidence], Estimate]:
    """log of the variance of the baseline's DMD loss over ours (ASD Figure 13)."""

    def statistic(evidence: Evidence) -> Estimate:
        ratio = steadiness(series_of(evidence, ours, DMD), series_of(evidence, baseline, DMD)).ratio
        return Estimate(math.log(ratio.value), math.log(ratio.low), math.log(ratio.high), ratio.samples)

    return statistic


def lower_loss(ours: Training, baseline: Training) -> Callable[[Evidence], np.ndarray]:
    """How much lower our DMD loss is after the warm-up, in percent of the baseline's."""

    def statistic(evidence: Evidence) -> np.ndarray:
        mine, theirs = (_means(series_of(evidence, training, DMD)) for training in (ours, baseline))
        return 100 * (1 - mine / theirs)

    return statistic


def balance(training: Training, n: int) -> Callable[[Evidence], np.ndarray]:
    """1 - |mean| / deviation of the logit gap of n steps over the run's end: above 0 within one deviation of 0."""

    def statistic(evidence: Evidence) -> np.ndarray:
        late = [each.after(1 - LAST).values for each in series_of(evidence, training, f"discriminator/gap_n{n}")]
        if any(len(values) < 2 for values in late):
            raise Missing(f"the log of {training.key} has too few cycles of {n} steps: train for longer")
        drawn = [np.concatenate([[values], _blocks(values)]) for values in late]
        gaps = [1 - np.abs(rows.mean(1)) / rows.std(1, ddof=1) for rows in drawn]
        return _over_seeds(gaps)

    return statistic


def extra_time(ours: Training, baseline: Training) -> Callable[[Evidence], np.ndarray]:
    """Seconds per cycle of ours over the baseline's, in percent above it; medians, for a busy machine has outliers."""

    def statistic(evidence: Evidence) -> np.ndarray:
        sides = []
        for training in (ours, baseline):
            times = [np.array([line["seconds"] for line in lines]) for lines in evidence.log(training)]
            drawn = [np.median(np.concatenate([[each], _blocks(each)]), axis=1) for each in times]
            sides.append(_over_seeds(drawn))
        return 100 * (sides[0] / sides[1] - 1)

    return statistic


def seconds_per_cycle(stages: dict[str, Lines]) -> dict[str, float]:
    """Median of each stage."""
    return {name: median(line["seconds"] for line in lines) for name, lines in stages.items() if lines}


def _means(runs: list[Series]) -> np.ndarray:
    """Mean after the warm-up, over seeds, on the data and on resamples of blocks of cycles and of seeds."""
    late = [series.after(0.2).values for series in runs]
    return _over_seeds([np.concatenate([[values], _blocks(values)]).mean(1) for values in late])


def _blocks(values: np.ndarray) -> np.ndarray:
    return block_resamples(values, COUNT, block_length(len(values)), np.random.default_rng(len(values)))


def _over_seeds(drawn: list[np.ndarray]) -> np.ndarray:
    """Mean over seeds, which are drawn with replacement in the resamples."""
    stacked = np.stack(drawn)
    rng = np.random.default_rng([len(drawn), stacked.shape[1]])
    weights = rng.multinomial(len(drawn), np.full(len(drawn), 1 / len(drawn)), size=stacked.shape[1]) / len(drawn)
    weights[0] = 1 / len(drawn)
    return (weights.T * stacked).sum(0)


def loss_summary(evidence: Evidence, training: Training) -> tuple[Estimate, float]:
    """Mean of the DMD loss with its interval, and the variance of what is no trend, after the warm-up."""
    runs = series_of(evidence, training, DMD)
    variances = [series.after(0.2).residuals.var(ddof=2) for series in runs]
    return interval(_means(runs), sum(len(series.values) for series in runs)), float(np.mean(variances))
