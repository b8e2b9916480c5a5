from __future__ import annotations

import json
import re

import numpy as np
import pytest

from fewstep.reproduce import asd, drawings
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import Evidence
from fewstep.reproduce.page import write_page
from fewstep.reproduce.paper import Arm, Figure, Item, Model, Paper, Row, Table, Training
from fewstep.reproduce.report import work_out, write_figures, write_json
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
    write_page(report, evidence, Store(tmp_path, tmp_path), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;b&gt;" in page
    assert not re.search(r"(src|href)=['\"](?!data:|#)", page)
    assert "<script" not in page
    assert page.count("did not hold") >= 2
    assert WHY.replace("`", "`") in page
    assert "$" not in page


def test_asd_without_any_run_is_a_whole_report_that_says_so(tmp_path):
    whole = asd.paper()
    absent = {training: f"not run: {training.key}" for training in whole.trainings()}
    absent |= {arm: absent[arm.model.source] for arm in whole.arms() if arm.model.source in absent}
    evidence = Evidence({}, {}, {}, absent)
    report = work_out(whole, evidence, {})
    assert {finding.verdict.outcome for finding in report.findings} == {"cannot be told"}
    assert all(finding.verdict.why for finding in report.findings)
    write_page(report, evidence, Store(tmp_path, tmp_path), tmp_path / "report.html")
    assert "not run: asd.shapes" in (tmp_path / "report.html").read_text()


def test_every_figure_of_asd_is_drawn_from_full_evidence(make_evidence):
    whole = asd.paper()
    arms = dict.fromkeys(whole.arms(), 0.5)
    lines = [{"cycle": c, "generator/dmd": 0.1 + 0.01 * np.sin(c), "seconds": 1.0} for c in range(1, 60)]
    lines = [
        {**line, **{f"discriminator/gap_n{n}": float(np.cos(n * line["cycle"])) for n in (1, 2, 3)}} for line in lines
    ]
    logs = {training: [{"stage": lines}] for training in whole.trainings()}
    evidence = make_evidence(arms, seeds=1, metrics=1.0, logs=logs)
    rng = np.random.default_rng(0)
    arrays = {"features": rng.normal(size=(40, 4)), "imaging": rng.uniform(0, 100, (40, 33))}
    matrices = {
        f"similarity.{name}": rng.uniform(0.5, 1, (40, 3, 4, 4)) for name in ("chunk", "chunk.centred", "pixels")
    }
    for samples in evidence.samples.values():
        object.__setattr__(samples, "arrays", ({**arrays, **matrices},))
    report = work_out(whole, evidence, {})
    drawn = [figure for section in report.sections for figure in section.figures]
    assert all(figure.png for figure in drawn), [(figure.name, figure.absent) for figure in drawn if not figure.png]
    missing = [finding.verdict.why for finding in report.findings if finding.verdict.estimate is None]
    assert missing == []
