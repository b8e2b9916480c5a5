"""Bootstrap intervals over prompts and training seeds, paired wherever the prompts are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COUNT = 2000
"""Resamples."""
COVERAGE = 0.95
ABSENT = "–"
"""What was not measured, in a table."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the percentile interval of its resamples. NaN where nothing was measured."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def short(self) -> str:
        """`81.3 ±1.2`."""
        return f"{self.mean:.1f} ±{self.half_width:.1f}" if np.isfinite(self.mean) else ABSENT

    def __str__(self) -> str:
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}]" if np.isfinite(self.mean) else ABSENT


def resampled_means(seeds: Sequence[np.ndarray], count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Column means of `seeds[s][clip, measure]`: of the data in row 0, then of `count` resamples `[count + 1, d]`.

    Each resample draws prompts and training seeds with replacement, the prompts once for all seeds, because all seeds
    are measured on the same ones. The draws depend on the numbers of prompts and seeds only, so rows of two models are
    pairs. NaN values are left out of the means.
    """
    clips = {len(values) for values in seeds}
    if len(clips) != 1 or 0 in clips:
        raise ValueError(f"training seeds need the same prompts, one or more, got {sorted(clips)} clips: measure anew")
    (n,), s = clips, len(seeds)
    prompts = np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), size=count)
    draws = np.random.default_rng([seed, n, s]).multinomial(s, np.full(s, 1 / s), size=count)
    weights = np.concatenate([np.ones((1, n)), prompts])
    shares = np.concatenate([np.ones((1, s)), draws]) / s
    means = np.stack([_weighted_means(weights, np.asarray(values, np.float64)) for values in seeds], axis=1)
    known = np.isfinite(means)
    share = shares[:, :, None] * known
    with np.errstate(invalid="ignore"):
        return (share * np.where(known, means, 0)).sum(1) / share.sum(1)


def interval(resamples: np.ndarray) -> Interval:
    """The estimate and interval of one quantity: its value on the data, then on the resamples `[count + 1]`."""
    drawn = resamples[1:][np.isfinite(resamples[1:])]
    if not np.isfinite(resamples[0]) or not len(drawn):
        return Interval(float("nan"), float("nan"), float("nan"))
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(float(resamples[0]), float(low), float(high))


def _weighted_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`[b, d]` means of `values [n, d]` under each row of `weights [b, n]`, over the values that are there."""
    known = np.isfinite(values)
    total = weights @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights @ np.where(known, values, 0) / total
