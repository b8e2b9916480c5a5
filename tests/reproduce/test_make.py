"""A report from end to end: real weights, real clips, a real log, real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fewstep.checkpoints.hub import fetch
from fewstep.reproduce import asd, drawings
from fewstep.reproduce.asd.arms import ASD
from fewstep.reproduce.claims import compare
from fewstep.reproduce.make import make_report
from fewstep.reproduce.paper import Arm, Figure, Item, Model, Paper, Row, Table, Training
from fewstep.reproduce.run import Settings, plan

OURS = Arm(key="asd@1", title="ASD, 1", model=Model(ASD), plan="1")
START = Arm(key="init@1", title="ODE start, 1", model=Model("shapes-init"), plan="1")
GONE = Arm(key="gone@1", title="gone", model=Model(Training(recipe="asd.shapes", variant="other")), plan="1")


def paper() -> Paper:
    measures = {"total": "Total", "clip.imaging_quality": "Imaging"}
    item = Item(
        key="toy",
        title="A table",
        about="One student beside its start.",
        arms=(OURS, START, GONE),
        tables=(Table(measures=measures, rows=tuple(Row(label=arm.key, arm=arm) for arm in (OURS, START, GONE))),),
        claims=(
            compare("training helps", "Table 1", OURS, START, "clip.imaging_quality", 1.0),
            compare("and beats what is gone", "Table 1", OURS, GONE, "total", 1.0),
        ),
        figures=(Figure(name="cost", title="cost", draw=drawings.totals_by_cost({"ASD": [OURS], "start": [START]})),),
    )
    logged = next(item for item in asd.paper().items if item.key == "figure14")
    return Paper(key="toy", title="A paper", reference="", items=(item, logged), left_out={"Figure 1": "a drawing"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One trained seed of ASD: the bundled student, with a log."""
    run = tmp_path / "runs" / "asd.shapes"
    (run / "asd").mkdir(parents=True)
    (run / "model").symlink_to(fetch("shapes-asd"))
    rng = np.random.default_rng(0)
    lines = [
        {"cycle": cycle, "seconds": 6.0, "discriminator/accuracy": 0.6}
        | {f"discriminator/gap_n{n}": rng.normal() for n in (1, 2, 3)}
        for cycle in range(1, 61)
    ]
    (run / "asd" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Settings(
        runs=tmp_path / "runs", shapebench=tmp_path / "none", out=tmp_path / "out", seeds=(0,), clips=2, train=False
    )


def test_a_report_is_made_from_what_is_there_and_made_again_without_measuring(settings):
    measured: list[str] = []
    jobs = plan(paper(), settings)
    report = make_report(paper(), jobs, settings, begin=lambda title, clips: measured.append(title))
    for made in ("ASD, 1", "ODE start, 1", "ground truth"):
        assert any(title.startswith(made) for title in measured), made

    toy, logged = report.sections
    helps, gone = toy.findings
    assert np.isfinite([helps.verdict.estimate.low, helps.verdict.p]).all()
    assert (helps.verdict.outcome, helps.verdict.seeds) == ("cannot be told", 1)
    assert "fewstep train asd.shapes --out" in gone.verdict.why
    assert [line.seeds for line in toy.tables[0].lines] == [1, 1, 0]
    assert all(np.isfinite(finding.verdict.estimate.value) for finding in logged.findings)

    written = {path.name for path in settings.out.iterdir()}
    assert {"report.html", "report.json", "figures", "cells"} <= written
    assert {path.name for path in (settings.out / "figures").iterdir()} == {"cost.png", "asd-figure14.png"}
    plain = json.loads((settings.out / "report.json").read_text())
    assert plain["left_out"] == {"Figure 1": "a drawing"}
    page = (settings.out / "report.html").read_text()
    assert "clips of ASD, 1" in page  # the contact sheet

    measured.clear()
    again = make_report(paper(), plan(paper(), settings), settings, begin=lambda title, clips: measured.append(title))
    assert measured == []
    assert [each.verdict.outcome for each in again.findings] == [each.verdict.outcome for each in report.findings]
    values = [[each.verdict.estimate.value for each in made.sections[1].findings] for made in (report, again)]
    assert values[0] == values[1]
