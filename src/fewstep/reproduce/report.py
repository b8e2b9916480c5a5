"""The report as values: every item's tables, findings and pictures, as JSON and for the page."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.files import atomic_output, write_text
from fewstep.metrics.base import ABSENT, Estimate
from fewstep.metrics.seeds import Missing
from fewstep.reproduce.evidence import Evidence, Samples
from fewstep.reproduce.paper import Arm, Claim, Item, Paper, Row, Table
from fewstep.reproduce.verdict import Tested, Verdict, judge, run_test


@dataclass(frozen=True)
class Finding:
    """A claim and what became of it."""

    claim: Claim
    verdict: Verdict


@dataclass(frozen=True)
class Line:
    """A row of a table, filled."""

    label: str
    published: Mapping[str, float]
    ours: Mapping[str, Estimate]
    seeds: int
    evaluations: int | None
    seconds: float | None
    note: str


@dataclass(frozen=True)
class Filled:
    """A table with our numbers."""

    measures: Mapping[str, str]
    lines: tuple[Line, ...]
    note: str
    costs: bool
    """Whether its rows are clips, which have a cost."""


@dataclass(frozen=True)
class Drawn:
    """A figure as a picture, or why there is none."""

    name: str
    title: str
    png: bytes | None
    absent: str = ""


@dataclass(frozen=True)
class Section:
    """An item, worked out."""

    item: Item
    tables: tuple[Filled, ...]
    findings: tuple[Finding, ...]
    figures: tuple[Drawn, ...]
    absent: tuple[str, ...]
    """What was not run for it, each once."""


@dataclass(frozen=True)
class Report:
    """All sections."""

    paper: Paper
    sections: tuple[Section, ...]
    controls: Filled
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it rests on: prompts, seeds, machine, commit."""

    @property
    def findings(self) -> list[Finding]:
        """Of all sections."""
        return [finding for section in self.sections for finding in section.findings]

    def count(self, outcome: str) -> int:
        """Claims of an outcome."""
        return sum(finding.verdict.outcome == outcome for finding in self.findings)


CONTROL_MEASURES = {
    "total": "Total",
    "quality": "Quality",
    "semantic": "Semantic",
    "dynamic_degree": "dynamic degree",
    "clip.imaging_quality": "imaging quality",
    "clip.subject_consistency": "subject consistency",
}


def work_out(paper: Paper, evidence: Evidence, facts: Mapping[str, str]) -> Report:
    """Fill every table, test every claim under one correction, and draw every figure."""
    tested: dict[Claim, Tested] = {}
    missing: dict[Claim, str] = {}
    for item in paper.items:
        for claim in item.claims:
            try:
                tested[claim] = _test(claim, evidence)
            except Missing as absence:
                missing[claim] = str(absence)
    verdicts = dict(zip(tested, judge(list(tested.values())), strict=True))
    verdicts |= {claim: Verdict("cannot be told", why) for claim, why in missing.items()}
    sections = tuple(_section(item, evidence, verdicts) for item in paper.items)
    arms = {samples.arm.key: samples for samples in evidence.controls.values()}
    rows = [_line(Row(label=samples.arm.title), evidence, CONTROL_MEASURES, samples) for samples in arms.values()]
    rows += [_line(Row(label=arm.title, arm=arm), evidence, CONTROL_MEASURES) for arm in paper.controls]
    return Report(paper, sections, Filled(CONTROL_MEASURES, tuple(rows), "", True), facts)


def _test(claim: Claim, evidence: Evidence) -> Tested:
    faults = claim.faults(evidence) if claim.faults else {}
    return run_test(claim.statistic(evidence), claim.kind, claim.margin, faults)


def _section(item: Item, evidence: Evidence, verdicts: Mapping[Claim, Verdict]) -> Section:
    absent = [
        evidence.absent.get(arm, f"{arm.title} was not measured") for arm in item.arms if arm not in evidence.samples
    ]
    absent += [
        evidence.absent[each] for each in item.trainings if each not in evidence.logs and each in evidence.absent
    ]
    return Section(
        item,
        tuple(_fill(table, evidence) for table in item.tables),
        tuple(Finding(claim, verdicts[claim]) for claim in item.claims),
        tuple(_draw(figure.name, figure.title, figure.draw, evidence) for figure in item.figures),
        tuple(dict.fromkeys(absent)),
    )


def _fill(table: Table, evidence: Evidence) -> Filled:
    lines = tuple(_line(row, evidence, table.measures) for row in table.rows)
    return Filled(table.measures, lines, table.note, any(row.arm for row in table.rows))


def _line(row: Row, evidence: Evidence, measures: Mapping[str, str], samples: Samples | None = None) -> Line:
    samples = samples or (evidence.samples.get(row.arm) if row.arm else None)
    ours, notes = {}, [row.note] if row.note else []
    for measure in measures:
        try:
            if measure in row.values:
                ours[measure] = row.values[measure](evidence).estimate()
            elif samples is not None:
                ours[measure] = samples.estimate(measure)
        except Missing as absence:
            notes.append(str(absence))
    if row.arm and samples is None:
        notes.append(evidence.absent.get(row.arm, "not measured"))
    note = "; ".join(dict.fromkeys(notes))
    if samples is None:
        return Line(row.label, row.published, ours, 0, None, None, note)
    return Line(row.label, row.published, ours, len(samples.cells), samples.evaluations, samples.seconds, note)


def _draw(name: str, title: str, draw: Any, evidence: Evidence) -> Drawn:
    try:
        figure = draw(evidence)
    except Missing as absence:
        return Drawn(name, title, None, str(absence))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144)
    return Drawn(name, title, buffer.getvalue())


def write_json(report: Report, path: Path) -> None:
    """Everything but the pictures. Raises OutputError."""
    plain = {
        "paper": report.paper.key,
        "reference": report.paper.reference,
        "facts": dict(report.facts),
        "verdicts": {name: report.count(name) for name in ("held", "did not hold", "cannot be told")},
        "items": [_item_json(section) for section in report.sections],
        "controls": _table_json(report.controls),
        "left_out": dict(report.paper.left_out),
    }
    write_text(path, json.dumps(_plain(plain), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Every figure as a file of its own, for documents. Raises OutputError."""
    written = []
    for drawn in (figure for section in report.sections for figure in section.figures):
        if drawn.png is not None:
            with atomic_output(path := folder / f"{drawn.name}.png") as scratch:
                scratch.write_bytes(drawn.png)
            written.append(path)
    return written


def _item_json(section: Section) -> dict[str, Any]:
    return {
        "key": section.item.key,
        "title": section.item.title,
        "absent": list(section.absent),
        "tables": [_table_json(table) for table in section.tables],
        "claims": [
            {
                "says": finding.claim.says,
                "source": finding.claim.source,
                "arms": [arm.key for arm in finding.claim.needs],
                "kind": finding.claim.kind,
                "margin": finding.claim.margin,
                "unit": finding.claim.unit,
                "published": finding.claim.published,
                **asdict(finding.verdict),
            }
            for finding in section.findings
        ],
        "figures": [{"name": each.name, "title": each.title, "absent": each.absent} for each in section.figures],
    }


def _table_json(table: Filled) -> dict[str, Any]:
    return {
        "note": table.note,
        "rows": [
            {**asdict(line), "ours": {name: asdict(found) for name, found in line.ours.items()}} for line in table.lines
        ],
    }


def _plain(value: Any) -> Any:
    """Null for NaN, and six digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def shown(estimate: Estimate | None, digits: int | None = None) -> str:
    """`81.3 [80.1, 82.4]`; by default three digits of what is below 1, two below 10, else one."""
    if estimate is None or not math.isfinite(estimate.value):
        return ABSENT
    digits = _digits(estimate.value) if digits is None else digits
    if not math.isfinite(estimate.low):
        return f"{estimate.value:z.{digits}f}"
    return f"{estimate.value:z.{digits}f} [{estimate.low:z.{digits}f}, {estimate.high:z.{digits}f}]"


def brief(column: Sequence[Estimate | None]) -> list[str]:
    """`81.3 ±1.2` of a table's column, all with the digits of its largest; intervals are as long on either side."""
    digits = _digits(max((abs(each.value) for each in column if each and math.isfinite(each.value)), default=0.0))
    return [
        f"{each.value:z.{digits}f} ±{each.half_width:.{digits}f}"
        if each is not None and math.isfinite(each.half_width)
        else shown(each, digits)
        for each in column
    ]


def _digits(value: float) -> int:
    return 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1


def arms_shown(item: Item, evidence: Evidence) -> list[Arm]:
    """Arms that were measured, in order."""
    return [arm for arm in item.arms if arm in evidence.samples]
