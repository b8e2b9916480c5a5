"""From a claim's numbers to its verdict: one-sided tests, equivalence within a margin, Holm over the whole report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import COVERAGE
from fewstep.metrics.seeds import Seeded
from fewstep.metrics.significance import holm

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
    faults: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """What else speaks against it, by training seed."""


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    outcome: Outcome
    why: str
    estimate: Estimate | None = None
    p: float | None = None
    """Of what decided it, or came nearest to that, after Holm's correction."""
    seeds: int = 0


def run_test(
    found: Seeded | Sequence[Seeded], kind: Kind, margin: float, faults: Mapping[int, Sequence[str]] | None = None
) -> Tested:
    """Test that a quantity is above 0 ("more"), or that it lies within the margin about 0 ("same").

    A claim of more is refuted when the quantity is surely below the margin, so that what there may be does not count;
    a claim of sameness when it is surely outside (two one-sided tests each). Of several quantities the claim says the
    same of each: it needs all of them (the worst chance, an intersection-union test), and one that refutes it is
    enough (the best chance, times their number). The estimate is that of the quantity that is furthest from the claim.
    """
    if not margin > 0:
        raise ValueError(f"a margin must be above 0, got {margin}: fix the least difference that counts")
    every = [found] if isinstance(found, Seeded) else list(found)
    chances = [_chances(each, kind, margin) for each in every]
    worst = min(every, key=lambda each: each.value) if kind == "more" else max(every, key=lambda each: abs(each.value))
    p_for, p_against = max(p for p, _ in chances), min(1.0, len(every) * min(p for _, p in chances))
    seeds = min(len(each.seeds) for each in every)
    return Tested(kind, margin, worst.estimate(), p_for, p_against, seeds, faults or {})


def judge(tested: Sequence[Tested]) -> list[Verdict]:
    """The verdicts of a report's claims, corrected for their number in either direction (Holm)."""
    held, refuted = holm([each.p_for for each in tested]), holm([each.p_against for each in tested])
    return [_decide(*each) for each in zip(tested, held, refuted, strict=True)]


def _chances(found: Seeded, kind: Kind, margin: float) -> tuple[float, float]:
    """Chances for and against."""
    if kind == "more":
        return found.chance_above(0.0), found.chance_below(margin)
    inside = max(found.chance_below(margin), found.chance_above(-margin))
    return inside, min(found.chance_above(margin), found.chance_below(-margin))


def _decide(tested: Tested, p_for: float, p_against: float) -> Verdict:
    outcome: Outcome = "cannot be told"
    estimate, margin, seeds, p = tested.estimate, tested.margin, tested.seeds, min(p_for, p_against)
    if not math.isfinite(estimate.value):
        return Verdict(outcome, "the measure says nothing of these clips", seeds=seeds)
    if not math.isfinite(p):
        return Verdict(outcome, "a single number has no interval: more training seeds would give one", estimate)
    if tested.kind == "more" and estimate.value == estimate.low == estimate.high == 0:
        return Verdict(outcome, "not one clip differs: the measure is at its limit", estimate, None, seeds)
    if p_for <= LEVEL:
        outcome, p = "held", p_for
        small = tested.kind == "more" and estimate.value < margin
        why = f"it is there, though below the {margin:g} that counts" if small else _held(tested)
    elif p_against <= LEVEL:
        outcome, p, why = "did not hold", p_against, _refuted(tested)
    else:
        return Verdict(outcome, _open(tested), estimate, p, seeds)
    if seeds < LEAST_SEEDS:
        count = "1 training seed" if seeds == 1 else f"{seeds} training seeds"
        why = f"of these weights it {outcome}, but {count} cannot speak for the method"
        return Verdict("cannot be told", why, estimate, p, seeds)
    if outcome == "held" and tested.faults:
        outcome, why = _with_faults(tested)
    return Verdict(outcome, why, estimate, p, seeds)


def _held(tested: Tested) -> str:
    return "surely above 0" if tested.kind == "more" else f"surely within ±{tested.margin:g}"


def _refuted(tested: Tested) -> str:
    if tested.kind == "same":
        return f"surely outside ±{tested.margin:g}"
    return "surely below 0" if tested.estimate.high < 0 else f"surely less than the {tested.margin:g} that counts"


def _open(tested: Tested) -> str:
    """Why neither side is sure, and which is nearer."""
    side, p = ("for", tested.p_for) if tested.p_for < tested.p_against else ("against", tested.p_against)
    if p <= LEVEL:
        alone = "it would hold" if side == "for" else "it would be refuted"
        return f"by itself {alone} (p = {p:.2g}), among all claims of the report not: more training seeds would tell"
    return f"both are possible, it leans {side}: more training seeds or prompts would tell"


def _with_faults(tested: Tested) -> tuple[Outcome, str]:
    """A number that would do, beside something else that is amiss: in most seeds it refutes, in few it leaves open."""
    said = "; ".join(f"seed {seed}: {', '.join(lines)}" for seed, lines in tested.faults.items())
    outcome: Outcome = "did not hold" if 2 * len(tested.faults) > tested.seeds else "cannot be told"
    return outcome, f"{_held(tested)}, but {said}"
