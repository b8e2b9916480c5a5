"""The shape that most claims have: one arm has more of a measure than another, or as much."""

from __future__ import annotations

from typing import Literal

from fewstep.reproduce.evidence import difference
from fewstep.reproduce.paper import Arm, Claim


def compare(
    says: str,
    source: str,
    ours: Arm,
    theirs: Arm,
    measure: str,
    margin: float,
    published: float | None = None,
    *,
    less: bool = False,
    kind: Literal["more", "same"] = "more",
) -> Claim:
    """Ours has more of a measure than theirs, `less` of it, or the same; `published` is told in that direction."""
    return Claim(
        says=says,
        source=source,
        statistic=difference(ours, theirs, measure, sign=-1 if less else 1),
        needs=(ours, theirs),
        kind=kind,
        margin=margin,
        published=published,
    )
