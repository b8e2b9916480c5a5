"""What a training log says of how steadily a run went: one signal without its trend, and the logit gap (ASD Figure 14).

Neighbouring cycles of a log depend on each other, so intervals resample blocks of cycles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import COUNT, UNKNOWN, block_length, block_resamples, interval

WARM_UP = 0.2
"""Share of a run, at its start, that says nothing of how steady it is."""
LAST = 0.5
"""Share of a run, at its end, on which the logit gap is judged."""
PINNED = 0.02
"""A discriminator whose accuracy is this near to 0 or 1 plays no game."""
LEAST = 8
"""Cycles below which nothing is said."""


@dataclass(frozen=True)
class Series:
    """One signal of one run."""

    cycles: np.ndarray
    """Ascending `[n]`."""
    values: np.ndarray
    """`[n]`; cycles in which the signal was not logged are left out."""

    @classmethod
    def of(cls, log: Iterable[Mapping[str, Any]], signal: str) -> Series:
        """A signal such as "generator/dmd" of the lines of a run's log.

        Raises ValueError when it occurs in fewer than eight cycles.
        """
        pairs = [(line["cycle"], line[signal]) for line in log if line.get(signal) is not None]
        if len(pairs) < LEAST:
            raise ValueError(f"'{signal}' is needed in {LEAST} cycles or more, got {len(pairs)}: train for longer")
        cycles, values = np.array(pairs, np.float64).T
        return cls(cycles, values)

    def after(self, share: float) -> Series:
        """What follows the first `share` of the run's cycles."""
        kept = self.cycles > share * self.cycles[-1]
        return Series(self.cycles[kept], self.values[kept])

    @property
    def line(self) -> tuple[float, float]:
        """Slope per cycle, and height at cycle 0, of the least-squares line."""
        slope, height = np.polyfit(self.cycles, self.values, 1)
        return float(slope), float(height)

    @property
    def residuals(self) -> np.ndarray:
        """Values minus the line: what is not trend."""
        slope, height = self.line
        return self.values - (slope * self.cycles + height)


@dataclass(frozen=True)
class LogitGap:
    """Discriminator's logit of (n + 1)-step minus n-step samples over the last part of a run."""

    mean: float
    deviation: float
    """Standard deviation over cycles."""
    slope: Estimate
    """Per cycle, with the interval of a block bootstrap of the residuals."""
    accuracy: float
    """Share of pairs that the discriminator ordered rightly; NaN where it was not logged."""

    @property
    def faults(self) -> list[str]:
        """Why the game is out of balance; none where both players hold each other."""
        found = []
        if not abs(self.mean) < self.deviation:
            found.append(f"the mean gap {self.mean:.3g} is not within one standard deviation, {self.deviation:.3g}")
        if not self.slope.low <= 0 <= self.slope.high:
            found.append(f"the gap has a trend of {self.slope.value:.3g} per cycle")
        if min(self.accuracy, 1 - self.accuracy) < PINNED:
            found.append(f"the discriminator's accuracy rests at {self.accuracy:.2f}")
        return found


def logit_gap(
    gap: Series, accuracy: Series | None = None, *, last: float = LAST, count: int = COUNT, seed: int = 0
) -> LogitGap:
    """ASD Figure 14 for one n: `Series.of(log, "discriminator/gap_n1")`, and "discriminator/accuracy"."""
    late = gap.after(1 - last)
    if len(late.values) < LEAST:
        raise ValueError(f"the gap is needed in {LEAST} cycles of the run's end or more, got {len(late.values)}")
    rng = np.random.default_rng(seed)
    slope, residuals = late.line[0], late.residuals
    centred = late.cycles - late.cycles.mean()
    drawn = block_resamples(residuals, count, block_length(len(residuals)), rng) @ centred / (centred**2).sum()
    trend = interval(np.concatenate([[slope], slope + drawn]), len(late.values))
    right = UNKNOWN if accuracy is None else float(accuracy.after(1 - last).values.mean())
    return LogitGap(float(late.values.mean()), float(late.values.std(ddof=1)), trend, right)
