"""Both papers in one student: ASD's, of four steps and fewer, refined on real clips. Neither paper has it."""

from __future__ import annotations

from fewstep.metrics.seeds import Seeded, paired
from fewstep.reproduce.aad1.arms import MARGIN, MEASURES
from fewstep.reproduce.aad1.arms import arm_of as from_picture
from fewstep.reproduce.asd.arms import ASD, TOTALS, arm_of, asd
from fewstep.reproduce.asd.arms import MARGIN as MARGIN_OF_TOTALS
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import Evidence, difference
from fewstep.reproduce.paper import Arm, Claim, Item, Model, Quantity, Row, Table, Training

PLANS = ("4", "2", "1")
REFINED = {
    "both": "on real clips at every step count",
    "both_ahead": "on its own n + 1 steps, and at 4 on real clips",
}
RUNS = {
    "both": Training(recipe="aad1.shapes_asd", start=Model(ASD)),
    "both_ahead": Training(recipe="aad1.shapes_asd_ahead", start=Model(ASD)),
}
"""Each from the ASD student of its own seed."""
SOURCE = "neither paper"
NOT_WORSE = MARGIN_OF_TOTALS["total"]
"""Points of Total that may be lost without being worse."""


def both() -> Item:
    """ASD's student and its two refinements, from text and from pictures."""
    text = {
        row: {plan: arm_of(row, run, f"{_title(row)}, {plan}", plan) for plan in PLANS} for row, run in RUNS.items()
    }
    text = {"asd": {plan: asd[plan] for plan in PLANS}, **text}
    picture = {row: from_picture(row, f"{_title(row)}, 1, from a picture", Model(RUNS.get(row, ASD))) for row in text}
    begins = {name: MEASURES[name] for name in ("clip.i2v_subject", "clip.i2v_background", "clip.dynamic_degree")}
    return Item(
        key="both",
        title="Both papers in one student",
        about="In no paper: one student of 4 steps and fewer, from text and from pictures. Stage III of AAD-1 goes on "
        "from ASD's student, with a logit for every step count; half of its clips begin with a picture. ASD's own "
        "is asked to go on from pictures as it is.",
        arms=tuple(arm for row in text for arm in (*text[row].values(), picture[row])),
        tables=(
            Table(
                measures={**TOTALS, "clip.dynamic_degree": "Dynamic", "clip.imaging_quality": "Imaging"},
                rows=tuple(Row(label=arm.title, arm=arm) for row in text.values() for arm in row.values()),
                note="from text",
            ),
            Table(
                measures=begins,
                rows=tuple(Row(label=arm.title, arm=arm) for arm in picture.values()),
                note="from pictures",
            ),
        ),
        claims=tuple(
            claim
            for row in RUNS
            for claim in (
                _not_worse(row, text[row]["1"], text["asd"]["1"]),
                compare(
                    f"Refined {REFINED[row]}, its clips begin with a given picture better than ASD's",
                    SOURCE,
                    picture[row],
                    picture["asd"],
                    "clip.i2v_subject",
                    MARGIN["clip.i2v_subject"],
                ),
            )
        ),
    )


def _title(row: str) -> str:
    return f"ASD refined {REFINED[row]}" if row in REFINED else "ASD"


def _not_worse(row: str, ours: Arm, theirs: Arm) -> Claim:
    return Claim(
        says=f"Refined {REFINED[row]}, it is not worse than ASD's at 1 step (told: {NOT_WORSE:g} points less its loss)",
        source=SOURCE,
        statistic=_spared(difference(ours, theirs, "total")),
        needs=(ours, theirs),
        margin=NOT_WORSE,
    )


def _spared(change: Quantity) -> Quantity:
    """What is left of the points that may be lost."""

    def statistic(evidence: Evidence) -> Seeded:
        return paired(lambda points: points + NOT_WORSE, change(evidence))

    return statistic
