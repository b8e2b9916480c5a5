"""ASD's Tables 3 and 4, as items: distances between step counts, and long clips."""

from __future__ import annotations

from fewstep.reproduce import drawings
from fewstep.reproduce.asd.arms import ASD, DISTANCE, DMD1, DMD2, MARGIN, TOTALS, arm_of, published
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import distance_gap, set_distance_of
from fewstep.reproduce.paper import Claim, Figure, Item, Row, Table

NEXT, TEACHER = (732.0, 1136.0, 441.0), (1836.0, 1646.0, 1454.0, 1448.0)
"""FVD of n = 1, 2, 3 steps to n + 1, and of n = 1, 2, 3, 4 to the teacher, as printed."""
DRIFT = 0.5
"""Points of drift that count."""
LONG = {
    "DMD for 2, 2": arm_of("dmd2", DMD2, "DMD for 2, 2, 4 × length", "2", ",x4", length=4),
    "ASD, 2*": arm_of("asd", ASD, "ASD, 2*, 4 × length", "2*", ",x4", length=4),
    "DMD for 1, 1": arm_of("dmd1", DMD1, "DMD for 1, 1, 4 × length", "1", ",x4", length=4),
    "ASD, 1*": arm_of("asd", ASD, "ASD, 1*, 4 × length", "1*", ",x4", length=4),
}


def table3() -> Item:
    """Fréchet distances between step counts of one student."""
    free = {n: arm_of("asd", ASD, f"ASD, {n}, noise of its own", f"{n}", f",noise{n}", noise=n) for n in (1, 2, 3, 4)}
    far = arm_of("teacher", "shapes-teacher", "teacher, 50, noise of its own", "50", ",noise5", noise=5)
    rows = []
    for n, distance in enumerate(TEACHER, start=1):
        values, printed = {"teacher": set_distance_of(free[n], far)}, {"teacher": distance}
        if n < len(TEACHER):
            values["next"], printed["next"] = set_distance_of(free[n], free[n + 1]), NEXT[n - 1]
        rows.append(Row(label=f"step {n}", published=printed, values=values))
    rows.append(Row(label="floor: ground truth of other prompts", values={"teacher": set_distance_of(None, None)}))
    claims = tuple(
        Claim(
            says=f"{n} step{'s are' if n > 1 else ' is'} nearer to {n + 1} than to the teacher",
            source="Table 3, App. D",
            statistic=distance_gap(free[n], free[n + 1], far),
            needs=(free[n], free[n + 1], far),
            margin=DISTANCE,
            unit="Fréchet distance",
            published=TEACHER[n - 1] - near,
        )
        for n, near in enumerate(NEXT, start=1)
    )
    return Item(
        key="table3",
        title="Table 3: distances between adjacent step counts, and to the teacher",
        about="Fréchet distances of the features of a small network that was trained on ShapeWorld's attributes, at "
        "equal numbers of clips, the same prompts and independent noise. They are biased upwards by the number of "
        "clips; the floor is what ground truth of other prompts has, at the same number.",
        arms=(*free.values(), far),
        tables=(Table(measures={"next": "n → n + 1", "teacher": "n → teacher"}, rows=tuple(rows)),),
        claims=claims,
    )


def table4() -> Item:
    """Clips of four times the trained length."""
    printed = ((82.50, 82.93, 80.76), (82.63, 83.29, 79.98), (80.66, 81.01, 79.23), (82.00, 82.48, 80.11))
    rows = tuple(
        Row(label=name, published=published(*triple), arm=arm)
        for (name, arm), triple in zip(LONG.items(), printed, strict=True)
    )
    dmd2, asd2, dmd1, asd1 = LONG.values()
    claims = []
    for steps, ours, theirs, total, quality in (("2", asd2, dmd2, 0.13, 0.36), ("1", asd1, dmd1, 1.34, 1.47)):
        for measure, value in (("total", total), ("quality", quality)):
            said = f"On long clips at {steps}, {TOTALS[measure]} is higher with ASD"
            claims.append(compare(said, "Table 4, App. E", ours, theirs, measure, MARGIN[measure], value))
        said = f"On long clips at {steps}, quality drifts less with ASD"
        claims.append(compare(said, "App. E", ours, theirs, "clip.drift", DRIFT, less=True))
    said = "On long clips at 2, Semantic is lower with ASD"
    claims.append(compare(said, "Table 4", asd2, dmd2, "semantic", MARGIN["semantic"], 0.78, less=True))
    return Item(
        key="table4",
        title="Table 4: clips of four times the length that students were trained for",
        about="The paper makes 20 s with 5 s students. Here a chunk sees the newest latent frames, as many as a "
        "training clip has, at positions within that window: positions that no student has seen would drown "
        "everything else. Drift is the deviation of imaging quality over segments of 2 s; it is left open "
        "where fewer than 5 % of the clips move.",
        arms=tuple(LONG.values()),
        tables=(Table(measures={**TOTALS, "clip.drift": "drift", "dynamic_degree": "dynamic degree"}, rows=rows),),
        claims=tuple(claims),
        figures=(
            Figure(
                name="asd-table4",
                title="Imaging quality along long clips",
                draw=drawings.along_time(tuple(LONG.values())),
            ),
        ),
    )
