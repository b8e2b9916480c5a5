"""Exact statements about counts: an interval of a share, a test of wins against losses, and many tests at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
"""Normal quantile of 97.5 %."""


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float]:
    """Interval of a share by the score test (Wilson 1927); ties may count as half a success. NaN without trials."""
    if not trials:
        return math.nan, math.nan
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided probability of a split at least this uneven when both are equally likely; ties are left out."""
    n, fewer = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities adjusted for their number so that one may be below a level by chance only as often as it says.

    Holm (1979): the smallest is multiplied by their count, the next by one less, and none falls below its
    predecessor. NaN stays NaN and is not counted.
    """
    known = sorted((p, i) for i, p in enumerate(probabilities) if not math.isnan(p))
    adjusted, highest = list(probabilities), 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted
