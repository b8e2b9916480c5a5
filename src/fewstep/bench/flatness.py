"""Whether a series of measurements stays what it was, or creeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

WARM_UP = 1 / 4
"""Share of a series, at the start, in which the window fills and libraries take the memory that they keep."""
LEAST_STEADY = 9
"""Values after the warm-up without which nothing is said of a trend."""


@dataclass(frozen=True)
class Flatness:
    """Whether a series stayed what it was after the warm-up."""

    change: float
    """Share by which the end differs from the beginning; NaN where the rollout is too short to tell."""
    bound: float

    @property
    def held(self) -> bool | None:
        """None where nothing can be told."""
        return None if math.isnan(self.change) else abs(self.change) <= self.bound

    def __str__(self) -> str:
        if self.held is None:
            return "cannot be told of so short a clip"
        return f"{'flat' if self.held else 'NOT flat'}: {self.change:+.1%}, bound {self.bound:.0%}"


def flatness(series: Sequence[float], later: Callable[[Sequence[float]], float], bound: float) -> Flatness:
    """How far `later` of the last two thirds after the warm-up lies from the median of the third before them."""
    steady = series[math.ceil(WARM_UP * len(series)) :]
    if len(steady) < LEAST_STEADY:
        return Flatness(math.nan, bound)
    third = len(steady) // 3
    return Flatness(later(steady[third:]) / median(steady[:third]) - 1, bound)


def at_the_end(series: Sequence[float]) -> float:
    """Median of the second half."""
    return median(series[len(series) // 2 :])
