"""A quantity of every training seed: what seeds and clips together say of a method."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import overload

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import COVERAGE, UNKNOWN

TAIL = (1 - COVERAGE) / 2
LEAST_CHANCE = 1e-16
"""Below this a chance is rounding."""
BISECTIONS = 80


class Missing(ValueError):
    """Something that was not run, or not measured."""


@dataclass(frozen=True)
class Seeded:
    """A quantity of every training seed, on its clips and on resamples of them that are the same for all seeds.

    The value is the mean over seeds, and seeds are the unit: what they differ by is their standard error with the t
    law of k - 1 degrees of freedom. Clips are a sample too, drawn below the seeds and shared by them: what they leave
    open is the deviation of the mean over seeds from one bootstrap resample to the next. The two are combined by
    their limits, reach² = (t · seed error)² + (z · clip error)² (Zou & Donner 2008, as for a sum of two estimates), so
    an interval is never narrower than seeds or clips alone would have it; t of two degrees is not diluted by the many
    degrees of the clips, as it would be with Satterthwaite's. What a seed does to single prompts is in both errors: a
    little too much rather than too little. With one seed only the clips speak, and of the weights, not the method.
    """

    seeds: tuple[int, ...]
    """Training seeds, ascending; none of what was not trained here, such as a bundled teacher."""
    drawn: np.ndarray
    """`[seeds, or 1; 1 + resamples]`: on the clips, then on the resamples."""
    samples: int
    """Clips, or cycles of a log, of each seed."""

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(self.drawn[:, 0].mean())

    @property
    def seed_error(self) -> float:
        """Standard error of the mean over seeds, by what they differ; 0 where there is one."""
        return standard_error(self.drawn[:, 0])

    @property
    def clip_error(self) -> float:
        """Standard deviation of the mean over seeds from resample to resample; NaN where nothing else can tell."""
        means = self.drawn[:, 1:].mean(0)
        means = means[np.isfinite(means)]
        if len(means) > 1:
            return float(means.std(ddof=1))
        return UNKNOWN if len(self.drawn) < 2 else 0.0

    def estimate(self) -> Estimate:
        """The value with its 95 % interval."""
        reach = float(half_width(self.seed_error, self.clip_error, len(self.drawn)))
        return Estimate(self.value, self.value - reach, self.value + reach, self.samples)

    def chance_above(self, limit: float) -> float:
        """One-sided chance of a value as high as this one if the true one were `limit`.

        It is the level at which the one-sided interval ends at the limit.
        """
        distance = self.value - limit
        tail = _tail(abs(distance), self.seed_error, self.clip_error, len(self.drawn) - 1)
        return tail if distance > 0 else 1 - tail

    def chance_below(self, limit: float) -> float:
        """The same of a value as low as this one."""
        return 1 - self.chance_above(limit)


def seeded(seeds: Sequence[int], drawn: Sequence[np.ndarray | float], samples: int) -> Seeded:
    """From the values of every seed, each on the data and then on resamples; plain numbers have none."""
    return Seeded(tuple(seeds), np.stack([np.atleast_1d(np.asarray(each, np.float64)) for each in drawn]), samples)


def paired(function: Callable[..., np.ndarray], *terms: Seeded) -> Seeded:
    """A function of quantities, seed by seed and resample by resample. Raises Missing where they share no seed.

    Seeds that one of them lacks are left out; what has no seeds is the same for all.
    """
    common, places = common_seeds(*(term.seeds for term in terms))
    rows = [term.drawn[place] for term, place in zip(terms, places, strict=True)]
    return Seeded(common, function(*rows), min(term.samples for term in terms))


def common_seeds(*sides: tuple[int, ...]) -> tuple[tuple[int, ...], list[list[int]]]:
    """Training seeds that all have, and where each keeps them. Raises Missing where there are none."""
    trained = [set(seeds) for seeds in sides if seeds]
    common = tuple(sorted(set.intersection(*trained))) if trained else ()
    if trained and not common:
        raise Missing("no training seed was measured of both sides: train the same seeds of each")
    rows = max(1, len(common))
    return common, [[seeds.index(seed) for seed in common] if seeds else [0] * rows for seeds in sides]


@overload
def standard_error(values: np.ndarray) -> float: ...
@overload
def standard_error(values: np.ndarray, axis: int) -> np.ndarray: ...
def standard_error(values: np.ndarray, axis: int = 0) -> float | np.ndarray:
    """Of a mean along an axis; 0 for one value, which differs from nothing."""
    count = values.shape[axis]
    found = values.std(axis, ddof=1) / math.sqrt(count) if count > 1 else np.zeros_like(values.mean(axis))
    return found if found.ndim else float(found)


def half_width(seed_error: float | np.ndarray, clip_error: float | np.ndarray, seeds: int) -> float | np.ndarray:
    """Half of a 95 % interval; arrays are taken value by value."""
    t = t_quantile(TAIL, seeds - 1) if seeds > 1 else 0.0
    return np.hypot(t * seed_error, NormalDist().inv_cdf(1 - TAIL) * clip_error)


def t_tail(t: float, degrees: int) -> float:
    """Chance that Student's t of whole degrees of freedom is above `t` >= 0 (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    odd, cosine = degrees % 2, math.cos(angle)
    term = cosine if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for j in range(2 + odd, degrees - 1, 2):
        term *= (j - 1) / j * cosine**2
        total += term
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return max((1 - inside) / 2, LEAST_CHANCE)


def t_quantile(tail: float, degrees: int) -> float:
    """The value that Student's t exceeds with the chance `tail` < 1/2."""
    high = 1.0
    while t_tail(high, degrees) > tail:
        high *= 2
    return _root(lambda t: t_tail(t, degrees) < tail, high)


def _tail(distance: float, seed_error: float, clip_error: float, degrees: int) -> float:
    """The chance whose reach is `distance`: see `Seeded`."""
    if not math.isfinite(distance + clip_error + seed_error):
        return UNKNOWN
    if seed_error == 0:
        return math.erfc(distance / clip_error / math.sqrt(2)) / 2 if clip_error else 0.0 if distance else 0.5

    def beyond(t: float) -> bool:
        z = -NormalDist().inv_cdf(t_tail(t, degrees))
        return math.hypot(t * seed_error, z * clip_error) > distance

    return t_tail(_root(beyond, distance / seed_error), degrees)


def _root(beyond: Callable[[float], bool], high: float) -> float:
    """Where a condition begins to hold between 0 and `high`."""
    low = 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return high
