"""From a claim's resamples to its verdict: one-sided tests, equivalence within a margin, Holm over the whole report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import COVERAGE, interval
from fewstep.metrics.significance import Z95, holm

LEVEL = 1 - COVERAGE
LEAST_SEEDS = 3
"""Training seeds below which nothing is said of a method, only of the weights at hand."""
Outcome = Literal["held", "did not hold", "cannot be told"]
Kind = Literal["more", "same"]


@dataclass(frozen=True)
class Tested:
    """A claim's statistic, and the chances of what would speak for it and against it."""

    kind: Kind
    margin: float
    estimate: Estimate
    p_for: float
    """One-sided chance of the data if the claim were false."""
    p_against: float
    """The same if the claim were true by as much as counts."""
    seeds: int


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    outcome: Outcome
    why: str
    estimate: Estimate | None = None
    p: float | None = None
    """Of what decided it, or came nearest to that, after Holm's correction."""
    seeds: int = 0


def run_test(found: np.ndarray | Estimate, kind: Kind, margin: float, *, seeds: int, samples: int = 0) -> Tested:
    """Test that a statistic is above 0 ("more"), or that it lies within the margin about 0 ("same").

    `found` is the statistic on the data and then on its bootstrap resamples, or an estimate whose interval stands for
    a normal law. A claim of more is refuted when the statistic is surely below the margin, so that what there may be
    does not count; a claim of sameness when it is surely outside (two one-sided tests each).
    """
    if not margin > 0:
        raise ValueError(f"a margin must be above 0, got {margin}: fix the least difference that counts")
    estimate = found if isinstance(found, Estimate) else interval(found, samples)

    def below(limit: float) -> float:
        """Chance of the data if the true value were `limit` or more."""
        return _share(found, limit, -1.0)

    def above(limit: float) -> float:
        """Chance of the data if the true value were `limit` or less."""
        return _share(found, limit, 1.0)

    if kind == "more":
        return Tested(kind, margin, estimate, above(0.0), below(margin), seeds)
    inside, outside = max(below(margin), above(-margin)), min(above(margin), below(-margin))
    return Tested(kind, margin, estimate, inside, outside, seeds)


def judge(tested: Sequence[Tested]) -> list[Verdict]:
    """The verdicts of a report's claims, corrected for their number in either direction (Holm)."""
    held, refuted = holm([each.p_for for each in tested]), holm([each.p_against for each in tested])
    return [_decide(*each) for each in zip(tested, held, refuted, strict=True)]


def _share(found: np.ndarray | Estimate, limit: float, sign: float) -> float:
    """Chance of resamples on the other side of a limit: below it for `sign` 1, above it for -1."""
    if isinstance(found, Estimate):
        spread = found.half_width / Z95
        if not math.isfinite(spread) or spread == 0:
            return math.nan if not math.isfinite(found.value) else float(sign * (found.value - limit) <= 0)
        return math.erfc(sign * (found.value - limit) / spread / math.sqrt(2)) / 2
    sample = found[1:][np.isfinite(found[1:])]
    if not np.isfinite(found[0]) or not len(sample):
        return math.nan
    return (1 + int((sign * (sample - limit) <= 0).sum())) / (1 + len(sample))


def _decide(tested: Tested, p_for: float, p_against: float) -> Verdict:
    estimate, margin = tested.estimate, tested.margin
    if not np.isfinite(estimate.value):
        return Verdict("cannot be told", "the measure says nothing of these clips", seeds=tested.seeds)
    outcome: Outcome
    if p_for <= LEVEL:
        outcome, p = "held", p_for
        small = tested.kind == "more" and estimate.value < margin
        why = f"it is there, though below the {margin:g} that counts" if small else _held(tested)
    elif p_against <= LEVEL:
        outcome, p, why = "did not hold", p_against, _refuted(tested)
    else:
        side = "for" if tested.p_for < tested.p_against else "against"
        why = f"both are possible, it leans {side}: more prompts or training seeds would tell"
        return Verdict("cannot be told", why, estimate, min(p_for, p_against), tested.seeds)
    if tested.seeds < LEAST_SEEDS:
        count = "1 training seed" if tested.seeds == 1 else f"{tested.seeds} training seeds"
        why = f"of these weights it {outcome}, but {count} cannot speak for the method"
        return Verdict("cannot be told", why, estimate, p, tested.seeds)
    return Verdict(outcome, why, estimate, p, tested.seeds)


def _held(tested: Tested) -> str:
    return "surely above 0" if tested.kind == "more" else f"surely within ±{tested.margin:g}"


def _refuted(tested: Tested) -> str:
    if tested.kind == "same":
        return f"surely outside ±{tested.margin:g}"
    return "surely below 0" if tested.estimate.high < 0 else f"surely less than the {tested.margin:g} that counts"
