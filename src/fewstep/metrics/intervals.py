"""The project's resampling: bootstrap over prompts, half-samples of sets, blocks of series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fewstep.metrics.base import Estimate

COUNT = 2000
"""Resamples of means."""
HALVES = 100
"""Half-samples of a distance between sets; each costs a distance."""
COVERAGE = 0.95
UNKNOWN = float("nan")


def resampled_means(values: np.ndarray, count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Column means of `values[prompt, measure]`: of the data in row 0, then of `count` resamples `[count + 1, d]`.

    Each resample draws prompts with replacement. The draws depend on the number of prompts only, so those of two
    models, or of two training seeds (`metrics.seeds`), are pairs. NaN values are left out of the means.
    """
    n = len(values)
    if n == 0:
        raise ValueError("a mean needs one prompt or more, got none: measure anew")
    prompts = np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), size=count)
    known, weights = np.isfinite(values), np.concatenate([np.ones((1, n)), prompts])
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights @ np.where(known, values, 0.0) / (weights @ known)


def interval(resamples: np.ndarray, samples: int) -> Estimate:
    """The estimate and percentile interval of one quantity: its value on the data, then on the resamples `[1 + count]`.

    `samples` is how many of whatever was drawn there are.
    """
    drawn = resamples[1:][np.isfinite(resamples[1:])]
    if not np.isfinite(resamples[0]) or not len(drawn):
        return Estimate(UNKNOWN, UNKNOWN, UNKNOWN, samples)
    low, high = np.percentile(drawn, _tails())
    return Estimate(float(resamples[0]), float(low), float(high), samples)


def half_sampled(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    one: np.ndarray,
    other: np.ndarray,
    count: int = HALVES,
    seed: int = 0,
) -> Estimate:
    """A statistic of two sets of rows with the interval of `half_draws`."""
    return interval(half_draws(statistic, one, other, count, seed), min(len(one), len(other)))


def half_draws(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    one: np.ndarray,
    other: np.ndarray,
    count: int = HALVES,
    seed: int = 0,
) -> np.ndarray:
    """A statistic of two sets of rows, and what it could as well have been with other sets as large `[1 + count]`.

    Half of each set is drawn without replacement, again and again: the spread of halves of n around their own mean is
    that of n fresh samples (Politis & Romano 1994, with half the sample and the correction for a finite one). Drawing
    with replacement would repeat rows, which biases distances between sets upwards. A bias of the statistic itself
    stays in the value, about which the draws are centred. They depend on the sets' sizes only, so those of two pairs
    of sets are pairs.
    """
    rng = np.random.default_rng([seed, len(one), len(other)])

    def half(rows: np.ndarray) -> np.ndarray:
        return rows[rng.permutation(len(rows))[: (len(rows) + 1) // 2]]

    value = statistic(one, other)
    drawn = np.array([statistic(half(one), half(other)) for _ in range(count)])
    return np.concatenate([[value], value + drawn - drawn.mean()])


def block_resamples(series: np.ndarray, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """`[count, n]` series of the same length `[n]` made of blocks of `length` neighbours, drawn with replacement.

    Neighbouring values of a training log depend on each other; blocks keep that (circular block bootstrap, Politis &
    Romano 1992).
    """
    n = len(series)
    blocks = -(-n // length)
    starts = rng.integers(n, size=(count, blocks, 1))
    return series[((starts + np.arange(length)) % n).reshape(count, -1)[:, :n]]


def block_length(samples: int) -> int:
    """Values in a block: twice the cube root of the series' length, at least 2."""
    return max(2, round(2 * samples ** (1 / 3)))


def _tails() -> list[float]:
    tail = 100 * (1 - COVERAGE) / 2
    return [tail, 100 - tail]
