from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from fewstep.metrics.base import Estimate
from fewstep.reproduce import aad1, asd, drawings
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import Evidence, Samples
from fewstep.reproduce.measuring import CONTROLS
from fewstep.reproduce.page import write_page
from fewstep.reproduce.paper import Arm, Figure, Item, Model, Paper, Row, Table, Training
from fewstep.reproduce.report import brief, shown, work_out, write_figures, write_json
from fewstep.reproduce.store import Store

RUN, LATER = Training(recipe="r.x"), Training(recipe="r.y")
OURS, THEIRS = (Arm(key=f"{name}@1*", title=name, model=Model(RUN), plan="1*") for name in ("ours", "theirs"))
GONE = Arm(key="gone@1", title="gone", model=Model(LATER), plan="1")
WHY = "not run: needs `fewstep train r.y`, about 9 minutes for all seeds"


def paper() -> Paper:
    rows = (
        Row(label="A <b>", published={"semantic": 81.2}, arm=OURS),
        Row(label="B", arm=THEIRS, note="a control"),
        Row(label="C", published={"semantic": 70.0}, arm=GONE),
    )
    item = Item(
        key="table1",
        title="Table 1",
        about="What stands for what.",
        arms=(OURS, THEIRS, GONE),
        tables=(Table(measures={"semantic": "Semantic", "facts_true": "facts"}, rows=rows),),
        claims=(
            compare("ours is better", "Table 1", OURS, THEIRS, "semantic", 2.0, 5.0),
            compare("ours is the same", "Table 1", OURS, THEIRS, "semantic", 2.0, kind="same"),
            compare("ours beats what is gone", "Table 1", OURS, GONE, "semantic", 2.0),
        ),
        figures=(
            Figure(name="one", title="by cost", draw=drawings.totals_by_cost({"all": [OURS, THEIRS, GONE]})),
            Figure(name="two", title="losses", draw=drawings.losses({"x": RUN})),
        ),
    )
    return Paper(key="toy", title="A paper", reference="arXiv 1", items=(item,), controls=(THEIRS,))


@pytest.fixture
def evidence(make_evidence) -> Evidence:
    return make_evidence({OURS: 0.8, THEIRS: 0.5}, absent={GONE: WHY, LATER: WHY, RUN: "r.x has no log"})


@pytest.fixture
def report(evidence):
    return work_out(paper(), evidence, {"commit": "abc"})


def test_each_claim_has_its_verdict_and_what_was_not_run_says_so(report):
    better, same, gone = report.findings
    assert better.verdict.outcome == "held"
    assert better.verdict.seeds == 3
    assert same.verdict.outcome == "did not hold"
    assert gone.verdict.outcome == "cannot be told"
    assert gone.verdict.why == WHY
    assert report.sections[0].absent == (WHY,)
    assert [report.count(name) for name in ("held", "did not hold", "cannot be told")] == [1, 1, 1]


def test_a_row_has_what_is_there_with_cost_beside_it(report):
    ours, theirs, gone = report.sections[0].tables[0].lines
    assert ours.evaluations == 3
    assert ours.seconds == 0.05
    assert ours.ours["semantic"].value > theirs.ours["semantic"].value
    assert gone.ours == {}
    assert gone.note == WHY


def test_a_figure_without_its_data_says_why(report, tmp_path):
    one, two = report.sections[0].figures
    assert one.png is not None
    assert one.png.startswith(b"\x89PNG")
    assert two.png is None
    assert two.absent == "r.x has no log"
    assert [path.name for path in write_figures(report, tmp_path)] == ["one.png"]


def test_the_json_is_strict_and_tells_all(report, tmp_path):
    write_json(report, tmp_path / "report.json")
    plain = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert plain["verdicts"] == {"held": 1, "did not hold": 1, "cannot be told": 1}
    claim = plain["items"][0]["claims"][0]
    assert claim["published"] == 5.0
    assert claim["estimate"]["low"] > 0
    assert plain["items"][0]["tables"][0]["rows"][1]["evaluations"] == 3


def test_the_page_needs_nothing_beside_it_and_escapes_what_it_shows(report, evidence, tmp_path):
    write_page(report, evidence, Store(tmp_path), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;b&gt;" in page
    assert not re.search(r"(src|href)=['\"](?!data:|#)", page)
    assert "<script" not in page
    assert page.count("did not hold") >= 2
    assert "needs <code>fewstep train r.y</code>" in page
    assert "&lt; 0.001" in page
    assert page.count("<th>paper</th>") == 1  # of two measures one is published
    assert "$" not in page


def test_asd_without_any_run_is_a_whole_report_that_says_so(tmp_path):
    whole = asd.paper()
    absent = {training: f"not run: {training.key}" for training in whole.trainings()}
    absent |= {arm: absent[arm.model.source] for arm in whole.arms() if arm.model.source in absent}
    evidence = Evidence({}, {}, {}, absent)
    report = work_out(whole, evidence, {})
    assert {finding.verdict.outcome for finding in report.findings} == {"cannot be told"}
    assert all(finding.verdict.why for finding in report.findings)
    write_page(report, evidence, Store(tmp_path), tmp_path / "report.html")
    assert "not run: asd.shapes" in (tmp_path / "report.html").read_text()


def log(seed: int) -> list[dict[str, float]]:
    """A steady run of 60 cycles."""
    rng = np.random.default_rng(seed)
    names = ("generator/dmd", *(f"discriminator/gap_n{n}" for n in (1, 2, 3)))
    steady = {"discriminator/accuracy": 0.6, "seconds": 1.0 + 0.1 * seed}
    return [
        {"cycle": cycle, **steady, **dict(zip(names, rng.normal(0.1, 0.5, len(names)), strict=True))}
        for cycle in range(1, 61)
    ]


def arrays(samples: Samples, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, len(samples.arm.key)])
    readings = ("chunk", "chunk.centred", "pixels")
    cosines = {f"similarity.{name}": rng.uniform(0.5, 1, (40, 3, 4, 4)) for name in readings}
    sets = {name: rng.normal(size=(40, 4)) for name in ("features", "features.others")}
    return {**sets, "imaging": rng.uniform(0, 100, (40, 33)), **cosines}


@pytest.fixture
def complete(make_evidence):
    """`complete(paper)`: all that a paper can ask for, of three seeds."""

    def make(whole: Paper) -> Evidence:
        logs = {training: {seed: {"stage": log(seed)} for seed in range(3)} for training in whole.trainings()}
        controls = {name: Arm(key=name, title=name, model=Model("shapes-base"), plan="-") for name in CONTROLS}
        levels = {arm: 0.4 + 0.01 * (i % 7) for i, arm in enumerate((*whole.arms(), *controls.values()))}
        found = make_evidence(levels, metrics=1.0, logs=logs)
        filled = {
            arm: replace(samples, arrays=tuple(arrays(samples, seed) for seed in range(len(samples.cells))))
            for arm, samples in found.samples.items()
        }
        known = {name: filled.pop(arm) for name, arm in controls.items()}
        return Evidence(filled, known, found.logs, {})

    return make


@pytest.mark.parametrize("whole", [asd.paper(), aad1.paper()], ids=lambda whole: whole.key)
def test_a_report_of_full_evidence_leaves_nothing_open_for_want_of_data(whole, complete, tmp_path):
    evidence = complete(whole)
    report = work_out(whole, evidence, {"commit": "abc"})
    for section in report.sections:
        assert [figure.name for figure in section.figures if not figure.png] == []
        assert section.absent == ()
        for finding in section.findings:
            assert finding.verdict.estimate is not None, (finding.claim.says, finding.verdict.why)
            assert np.isfinite(finding.verdict.estimate.low), finding.claim.says
            assert finding.verdict.seeds == 3, finding.claim.says
        for filled, table in zip(section.tables, section.item.tables, strict=True):
            for line, row in zip(filled.lines, table.rows, strict=True):
                assert bool(line.ours) == bool(row.arm or row.values), line.label
    write_page(report, evidence, Store(tmp_path), tmp_path / "report.html")
    write_json(report, tmp_path / "report.json")
    page, plain = (tmp_path / "report.html").read_text(), json.loads((tmp_path / "report.json").read_text())
    assert sum(plain["verdicts"].values()) == len(report.findings)
    for what, why in whole.left_out.items():
        assert plain["left_out"][what] == why
        assert html.escape(what) in page


def test_times_are_told_to_three_digits_and_a_single_one_without_an_interval():
    assert shown(Estimate(0.0478, 0.045, 0.05, 5)) == "0.048 [0.045, 0.050]"
    assert shown(Estimate(81.26, 80.0, 82.5, 5)) == "81.3 [80.0, 82.5]"
    assert shown(Estimate(2.5, np.nan, np.nan, 5)) == "2.50"


def test_tables_tell_half_of_an_interval_and_nothing_is_minus_zero():
    column = [Estimate(81.26, 80.06, 82.46, 5), Estimate(-0.01, -0.02, 0.0, 5), Estimate(2.5, np.nan, np.nan, 5), None]
    assert brief(column) == ["81.3 ±1.2", "0.0 ±0.0", "2.5", "–"]
    assert brief(column[1:2]) == ["-0.010 ±0.010"]
    assert shown(Estimate(-0.01, -0.02, 0.0, 5), 1) == "0.0 [0.0, 0.0]"
