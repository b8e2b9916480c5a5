"""Both papers in one student: what is trained from what, and what counts as worse."""

from __future__ import annotations

import pytest

from fewstep.reproduce.aad1.both import NOT_WORSE, RUNS, both
from fewstep.reproduce.asd.arms import ASD


def test_each_student_goes_on_from_the_asd_student_of_its_own_seed() -> None:
    assert {run.recipe for run in RUNS.values()} == {"aad1.shapes_asd", "aad1.shapes_asd_ahead"}
    assert all(run.start is not None and run.start.source is ASD for run in RUNS.values())
    item = both()
    plans = {arm.key for arm in item.arms}
    rows = ("asd", "both", "both_ahead")
    assert plans == {f"{row}@{plan}" for row in rows for plan in ("4", "2", "1", "1,i2v")}
    assert all(arm.from_picture == arm.key.endswith("i2v") for arm in item.arms)
    assert not any(row.published for table in item.tables for row in table.rows)


def test_not_worse_is_how_much_of_the_margin_is_left(make_evidence) -> None:
    item = both()
    arms = {arm.key: arm for arm in item.arms}
    (claim,) = (claim for claim in item.claims if claim.needs == (arms["both@1"], arms["asd@1"]))
    alike = make_evidence({arms["both@1"]: 0.5, arms["asd@1"]: 0.5}, spread=0.0)
    assert claim.statistic(alike).value == pytest.approx(NOT_WORSE)
    worse = make_evidence({arms["both@1"]: 0.4, arms["asd@1"]: 0.5}, spread=0.0)
    assert claim.statistic(worse).value < 0
