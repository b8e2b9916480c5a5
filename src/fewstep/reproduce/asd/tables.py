"""ASD's Tables 1 and 2, as items: one student against retrained ones, and the two ingredients alone and together."""

from __future__ import annotations

import numpy as np

from fewstep.metrics.seeds import paired
from fewstep.reproduce import drawings
from fewstep.reproduce.asd.arms import MARGIN, TOTALS, asd, dmd1, dmd2, dmd4, published, teacher
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import combination
from fewstep.reproduce.paper import Arm, Claim, Figure, Item, Quantity, Row, Table

TOTAL = MARGIN["total"]
ELSEWHERE = "another model, not trained here"
PRINTED_2X2 = {
    ("×", "×"): {"2": (82.61, 83.84, 77.68), "1": (78.13, 80.33, 69.31)},
    ("ASD", "×"): {"2": (83.28, 84.17, 79.69), "1": (80.65, 81.77, 76.15)},
    ("×", "FFE"): {"2": (83.80, 84.65, 80.40), "1": (83.04, 83.81, 79.95)},
    ("ASD", "FFE"): {"2": (84.32, 85.15, 81.02), "1": (83.89, 84.55, 81.24)},
}
"""By training and inference strategy, then by steps."""


def table1() -> Item:
    """One ASD student against DMD students that are retrained for each number of steps."""
    return Item(
        key="table1",
        title="Table 1: one student against students retrained for each step count",
        about="The embedded teacher stands for Wan2.1, DMD students trained from the same start, prompts and number of "
        "generator updates for Self Forcing. Totals are ShapeBench's; VBench's are printed beside them and lie on "
        "another scale: only differences compare. A starred row costs more than the unstarred one that it is compared "
        "with; the evaluations and seconds say how much.",
        arms=(teacher, dmd4["4"], asd["4"], dmd2, asd["2*"], asd["2"], dmd1, asd["1*"], asd["1"]),
        tables=(Table(measures=TOTALS, rows=_rows1()),),
        claims=_claims1(),
        figures=(
            Figure(
                name="asd-table1",
                title="Total by network evaluations",
                draw=drawings.totals_by_cost(
                    {
                        "ASD": [asd[plan] for plan in ("4", "2*", "2", "1*", "1")],
                        "DMD, retrained": [dmd4["4"], dmd2, dmd1],
                        "teacher": [teacher],
                    }
                ),
            ),
        ),
    )


def _rows1() -> tuple[Row, ...]:
    return (
        Row(label="MAGI-1 4.5B, 64 steps", published=published(79.18, 82.04, 67.74), note=ELSEWHERE),
        Row(label="Wan2.1 1.3B, 50 steps", published=published(84.26, 85.30, 80.09), arm=teacher, note="our teacher"),
        Row(label="SkyReels-V2 1.3B, 30 steps", published=published(82.67, 84.70, 74.53), note=ELSEWHERE),
        Row(label="NOVA 0.6B, 25 steps", published=published(80.12, 80.39, 79.05), note=ELSEWHERE),
        Row(label="LTX-Video 1.9B, 20 steps", published=published(80.00, 82.30, 70.79), note=ELSEWHERE),
        Row(label="Pyramid Flow 2B, 20 steps", published=published(81.72, 84.74, 69.62), note=ELSEWHERE),
        Row(label="CausVid, 4", published=published(81.20, 84.05, 69.80), note=ELSEWHERE),
        Row(label="Self Forcing, 4", published=published(84.31, 85.07, 81.28), arm=dmd4["4"]),
        Row(label="ASD, 4", published=published(84.38, 85.16, 81.25), arm=asd["4"]),
        Row(label="Self Forcing retrained, 2", published=published(83.49, 84.20, 80.62), arm=dmd2),
        Row(label="ASD, 2*", published=published(84.32, 85.15, 81.02), arm=asd["2*"]),
        Row(label="ASD, 2", arm=asd["2"], note="at the cost of the retrained student; printed in Table 2"),
        Row(label="Self Forcing retrained, 1", published=published(80.62, 81.19, 78.35), arm=dmd1),
        Row(label="ASD, 1*", published=published(83.89, 84.55, 81.24), arm=asd["1*"]),
        Row(label="ASD, 1", arm=asd["1"], note="at the cost of the retrained student; printed in Table 2"),
    )


def _claims1() -> tuple[Claim, ...]:
    equal, starred = "equal cost, no enhancement: control of ours on numbers of Table 2", "Table 1, §4.2"
    grows = combination(
        (1.0, asd["1*"], "total"), (-1.0, dmd1, "total"), (-1.0, asd["2*"], "total"), (1.0, dmd2, "total")
    )
    return (
        compare(
            "At 4 steps one ASD student is as good as DMD",
            starred,
            asd["4"],
            dmd4["4"],
            "total",
            TOTAL,
            0.07,
            kind="same",
        ),
        compare("At 2 steps, enhanced, it beats DMD retrained for 2", starred, asd["2*"], dmd2, "total", TOTAL, 0.83),
        compare("At 1 step, enhanced, it beats DMD retrained for 1", starred, asd["1*"], dmd1, "total", TOTAL, 3.27),
        Claim(
            says="The fewer the steps, the more it gains",
            source="Table 1",
            statistic=grows,
            needs=(asd["1*"], dmd1, asd["2*"], dmd2),
            margin=TOTAL,
            published=2.44,
        ),
        compare("At 2 steps it beats DMD retrained for 2 at equal cost", equal, asd["2"], dmd2, "total", TOTAL, -0.21),
        compare("At 1 step it beats DMD retrained for 1 at equal cost", equal, asd["1"], dmd1, "total", TOTAL, 0.03),
    )


def table2() -> Item:
    """ASD and First-Frame Enhancement in a 2 x 2, and the control of the latter at equal cost."""
    return Item(
        key="table2",
        title="Table 2: Adversarial Self-Distillation and First-Frame Enhancement, alone and together",
        about="The same 2 × 2 at 2 steps and at 1. Without ASD is the 4-step DMD student, sampled at fewer steps, as "
        "in the paper (whose first row is therefore not the retrained student of Table 1). An effect is the mean over "
        "both levels of the other factor. First-Frame Enhancement adds steps, so a control of ours spends the same "
        "steps on the second chunk.",
        arms=tuple(side[steps + mark] for side in (asd, dmd4) for steps in ("2", "1") for mark in ("", "*", "+")),
        tables=tuple(_table2(steps) for steps in ("2", "1")),
        claims=_claims2(),
        figures=(
            Figure(
                name="asd-table2",
                title="Total in the four cells and their controls",
                draw=drawings.factorial({"DMD for 4 steps": dmd4, "ASD": asd}, ("2", "1")),
            ),
        ),
    )


def _table2(steps: str) -> Table:
    rows = [
        Row(
            label=f"{training}, {inference}",
            published=published(*both[steps]),
            arm=(asd if training == "ASD" else dmd4)[steps + ("*" if inference == "FFE" else "")],
        )
        for (training, inference), both in PRINTED_2X2.items()
    ]
    rows += [
        Row(label=f"{name}, the same steps on the second chunk", arm=side[steps + "+"], note="control of ours")
        for name, side in (("×", dmd4), ("ASD", asd))
    ]
    return Table(measures=TOTALS, rows=tuple(rows), note=f"{steps}-step generation")


def _claims2() -> tuple[Claim, ...]:
    sides = (asd, dmd4)
    effects = {"ASD": {steps: _of_asd(steps) for steps in "21"}, "FFE": {steps: _of_marks(steps, "") for steps in "21"}}
    printed = {"ASD": {"2": 0.595, "1": 1.685}, "FFE": {"2": 1.115, "1": 4.075}}
    claims = []
    for steps in "21":
        used = tuple(side[steps + mark] for side in sides for mark in ("", "*"))
        for name, effect in effects.items():
            said = f"{name} raises Total at {steps} step{'s' * (steps == '2')}"
            value = printed[name][steps]
            claims.append(_claim(said, "Table 2, §4.3", effect[steps], used, value))
        late = tuple(side[steps + mark] for side in sides for mark in ("+", "*"))
        said = f"At {steps} the extra steps help more in the first chunk than in the second"
        claims.append(_claim(said, "control of ours", _of_marks(steps, "+"), late, None))
    every = tuple(side[steps + mark] for side in sides for steps in "21" for mark in ("", "*"))
    for name, effect in effects.items():
        value = printed[name]["1"] - printed[name]["2"]
        said = f"{name} raises Total more at 1 step than at 2"
        claims.append(_claim(said, "Table 2", _less(effect["1"], effect["2"]), every, value))
    return tuple(claims)


def _of_asd(steps: str) -> Quantity:
    """Mean difference of the two trainings over both ways of sampling."""
    return combination(
        *((0.5, asd[steps + mark], "total") for mark in ("", "*")),
        *((-0.5, dmd4[steps + mark], "total") for mark in ("", "*")),
    )


def _of_marks(steps: str, mark: str) -> Quantity:
    """Mean difference of the enhanced first chunk to another way of sampling, over both trainings."""
    return combination(
        *((0.5, side[f"{steps}*"], "total") for side in (asd, dmd4)),
        *((-0.5, side[steps + mark], "total") for side in (asd, dmd4)),
    )


def _less(one: Quantity, other: Quantity) -> Quantity:
    return lambda evidence: paired(np.subtract, one(evidence), other(evidence))


def _claim(says: str, source: str, statistic: Quantity, needs: tuple[Arm, ...], value: float | None) -> Claim:
    return Claim(says=says, source=source, statistic=statistic, needs=needs, margin=TOTAL, published=value)
