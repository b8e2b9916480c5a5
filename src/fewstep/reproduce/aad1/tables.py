"""AAD-1's tables, as items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewstep.metrics.drift import LEAST_DYNAMIC
from fewstep.metrics.seeds import Seeded, paired
from fewstep.reproduce import drawings
from fewstep.reproduce.aad1.arms import (
    JUDGES,
    MARGIN,
    MEASURES,
    cold,
    dmd4,
    full,
    judged,
    judged_long,
    large,
    long,
    ode,
    two,
    warm,
)
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import PERCENT, Evidence, combination
from fewstep.reproduce.paper import Arm, Claim, Figure, Item, Row, Table

Said = Sequence[tuple[str, str, bool, float | None]]
"""Sentence, measure, whether there is less of it, and the published difference in that direction."""
STAGES: Said = (
    ("Stage III raises subject consistency", "clip.subject_consistency", False, 2.20),
    ("Stage III raises background consistency", "clip.background_consistency", False, 2.95),
    ("Stage III raises imaging quality", "clip.imaging_quality", False, 2.12),
    ("Stage III keeps more of the given subject", "clip.i2v_subject", False, 2.09),
    ("Stage III keeps more of the given background", "clip.i2v_background", False, 2.71),
    ("Stage III pays with dynamic degree", "clip.dynamic_degree", True, 8.84),
)
OTHERS: Said = (
    (
        "One step of stage III has more subject consistency than four of DMD",
        "clip.subject_consistency",
        False,
        2.57,
    ),
    ("and more background consistency", "clip.background_consistency", False, 1.67),
    ("and keeps more of the given subject", "clip.i2v_subject", False, 2.86),
    ("and keeps more of the given background", "clip.i2v_background", False, 6.65),
    ("and moves more", "clip.dynamic_degree", False, 6.53),
)
"""What Table 1 says of stage III beside stage II, and beside DMD of four steps."""


def _printed(*values: float) -> dict[str, float]:
    """A row of Table 1 or 4, its aesthetic quality (the fifth) left out."""
    subject, background, smooth, dynamic, _, imaging, i2v_subject, i2v_background = values
    return dict(
        zip(MEASURES, (subject, background, smooth, dynamic, imaging, i2v_subject, i2v_background), strict=True)
    )


WAN = Row(
    label="Wan2.1 I2V, 100 evaluations",
    note="the embedded teacher makes no clips from pictures",
    published=_printed(93.88, 94.86, 98.14, 51.09, 64.97, 70.12, 96.80, 98.59),
)
FULL = _printed(94.34, 95.08, 98.22, 41.46, 60.07, 71.49, 98.65, 97.83)


def table1() -> Item:
    """Stages II and III beside DMD of four steps."""
    rows = (
        WAN,
        Row(
            label="CausVid, 4",
            published=_printed(83.45, 89.37, 98.61, 33.80, 61.55, 70.60, 92.91, 83.34),
            note="another model, not trained here",
        ),
        Row(
            label="Self Forcing, 4",
            published=_printed(91.77, 93.41, 98.55, 34.93, 60.96, 71.50, 95.79, 91.18),
            arm=dmd4,
            note="trained from text alone, as there",
        ),
        Row(label="stage II, 1", published=_printed(92.14, 92.13, 98.04, 50.30, 58.64, 69.37, 96.56, 95.12), arm=warm),
        Row(label="stage III, 1", published=FULL, arm=full),
    )
    return Item(
        key="table1",
        title="Table 1: one step per chunk, from a picture",
        about="Clips begin with the first picture of a true clip. The columns are our proxies of VBench-I2V's, in "
        "percent (imaging in points); they lie on another scale, so that only differences compare.",
        arms=(dmd4, warm, full),
        tables=(Table(measures=MEASURES, rows=rows),),
        claims=_changes(full, warm, STAGES, "Table 1, §5.1") + _changes(full, dmd4, OTHERS, "Table 1, §5.1"),
        figures=(
            Figure(
                name="aad1-table1",
                title="Stage III less stage II",
                draw=drawings.forest({"stage III less stage II": (full, warm)}, tuple(MEASURES)),
            ),
        ),
    )


def table2() -> Item:
    """The warm-up."""
    imaging = {"clip.imaging_quality": "Imaging", "total": "Total"}
    rows = (
        Row(label="stage I alone", arm=ode),
        Row(label="stages I and II (the paper's “with warm-up”)", published={"clip.imaging_quality": 69.37}, arm=warm),
        Row(label="stages I and III (its “without”)", published={"clip.imaging_quality": 62.81}, arm=cold),
        Row(
            label="all stages",
            published={"clip.imaging_quality": 71.49},
            arm=full,
            note="printed in Table 1",
        ),
    )
    alone = (("Without a discriminator, warm-up raises imaging quality", "clip.imaging_quality", False, None),)
    refined = (("Behind a discriminator, warm-up raises imaging quality", "clip.imaging_quality", False, None),)
    return Item(
        key="table2",
        title="Table 2: with and without the warm-up, in all four cells",
        about="The paper prints two cells and does not say whether its “without” had seen the discriminator; its "
        "“with” is stage II of Table 1, so its difference, 6.56, belongs to neither claim. Both refinements here have "
        "equally many updates.",
        arms=(ode, warm, cold, full),
        tables=(Table(measures=imaging, rows=rows),),
        claims=_changes(warm, ode, alone, "Table 2, §5.2") + _changes(full, cold, refined, "Table 2, §5.2"),
    )


def table3() -> Item:
    """What the discriminator sees, and how many logits it gives."""
    printed = {
        "causal_frame": (None, 1.08),
        "causal_clip": (7.10, 42.07),
        "bidirectional_frame": (4.38, 39.04),
        "bidirectional_clip": (4.02, 39.29),
    }
    both = {"clip.drift": "drift, 4 × length", "clip.dynamic_degree": "dynamic degree"}
    rows = [
        Row(
            label=f"{name.replace('_', ', ')}",
            published={measure: value for measure, value in zip(both, printed[name], strict=True) if value is not None},
            arm=judged_long[name],
            values={"clip.dynamic_degree": combination((1.0, judged[name], "clip.dynamic_degree"))},
        )
        for name in JUDGES
    ]
    return Item(
        key="table3",
        title="Table 3: four discriminators",
        about="What it sees, and how many logits it gives, from the same stage-II student. Drift is of clips of four "
        "times the length, dynamic degree of clips of the trained length. Drift is left open where fewer "
        "than 5 % of the clips move, as the paper prints N/A. Its 100 videos cannot tell its two bidirectional rows "
        "apart.",
        arms=(*judged.values(), *judged_long.values()),
        tables=(Table(measures=both, rows=tuple(rows)),),
        claims=_claims3(),
        figures=(
            Figure(
                name="aad1-table3",
                title="Imaging quality along long clips",
                draw=drawings.along_time(tuple(judged_long.values())),
            ),
        ),
    )


def _claims3() -> tuple[Claim, ...]:
    """Dynamic degree by granularity and drift by visibility, each where the paper finds it to matter and to not."""
    dynamic, drift = "clip.dynamic_degree", "clip.drift"
    frozen = judged["causal_frame"]

    def margin_of_motion(evidence: Evidence) -> Seeded:
        return paired(lambda degree: PERCENT * LEAST_DYNAMIC - degree, evidence.of(frozen).quantity(dynamic))

    def claim(says: str, arms: dict[str, Arm], ours: str, theirs: str, measure: str, value: float, **how: Any) -> Claim:
        return compare(says, "Table 3, §5.2", arms[ours], arms[theirs], measure, MARGIN[measure], value, **how)

    wide, narrow = "bidirectional_clip", "bidirectional_frame"
    said = "Of a causal discriminator, a logit for the whole clip leaves more motion than one per frame"
    alike = "Behind a bidirectional backbone that hardly matters for motion"
    return (
        claim(said, judged, "causal_clip", "causal_frame", dynamic, 40.99),
        Claim(
            says="and one per frame leaves clips that stand still: fewer than 5 % of them move",
            source="Table 3, §5.2",
            statistic=margin_of_motion,
            needs=(frozen,),
            margin=1.0,
            published=3.92,
        ),
        claim(alike, judged, wide, narrow, dynamic, 0.25, kind="same"),
        claim(
            "Of logits for the whole clip, a bidirectional discriminator leaves less drift than a causal one",
            judged_long,
            wide,
            "causal_clip",
            drift,
            3.08,
            less=True,
        ),
        claim(
            "Behind a bidirectional backbone the number of logits hardly matters for drift",
            judged_long,
            wide,
            narrow,
            drift,
            0.36,
            less=True,
            kind="same",
        ),
    )


def table4() -> Item:
    """Other ways of sampling."""
    rows = (
        WAN,
        Row(label="1 evaluation a chunk", published=FULL, arm=full),
        Row(label="2 evaluations", published=_printed(94.03, 95.52, 98.99, 50.04, 59.46, 71.00, 98.06, 98.50), arm=two),
        Row(label="4 × length", published=_printed(84.31, 89.30, 98.93, 60.98, 55.48, 68.61, 97.43, 97.25), arm=long),
        Row(
            label="higher resolution",
            published=_printed(94.52, 95.63, 98.76, 24.39, 61.03, 72.29, 98.30, 98.70),
            arm=large,
            note="720p there, twice the sides here",
        ),
    )
    claims = (
        *_changes(
            two,
            full,
            (
                ("Two steps move more than one", "clip.dynamic_degree", False, 8.58),
                ("and more smoothly", "clip.motion_smoothness", False, 0.77),
            ),
            "Table 4, App. B",
        ),
        *_changes(
            long,
            full,
            (
                ("Long clips lose subject consistency", "clip.subject_consistency", True, 10.03),
                ("Long clips lose imaging quality", "clip.imaging_quality", True, 2.88),
            ),
            "Table 4, App. B",
        ),
        *_changes(large, full, (("Larger clips move less", "clip.dynamic_degree", True, 17.07),), "Table 4, App. B"),
    )
    return Item(
        key="table4",
        title="Table 4: two steps, long clips, large clips",
        about="The long and the large clips are made by the student of Table 1 as it is. At twice the sides the "
        "metrics see the clip as it is; ShapeBench's recogniser sees it at half its size.",
        arms=(full, two, long, large),
        tables=(Table(measures=MEASURES, rows=rows),),
        claims=claims,
        figures=(
            Figure(name="aad1-long", title="Imaging quality along long clips", draw=drawings.along_time((long,))),
        ),
    )


def _changes(ours: Arm, theirs: Arm, said: Said, source: str) -> tuple[Claim, ...]:
    return tuple(
        compare(says, source, ours, theirs, measure, MARGIN[measure], value, less=less)
        for says, measure, less, value in said
    )
