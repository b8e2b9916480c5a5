"""The report as one HTML file that needs nothing beside it, for screens and for print."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from PIL import Image

from fewstep.files import write_text
from fewstep.metrics.base import ABSENT
from fewstep.reproduce.evidence import Evidence
from fewstep.reproduce.report import Filled, Finding, Line, Report, Section, arms_shown, shown
from fewstep.reproduce.store import Store
from fewstep.reproduce.verdict import Outcome

MARKS: Mapping[Outcome, tuple[str, str]] = {
    "held": ("✓", "held"),
    "did not hold": ("✗", "failed"),
    "cannot be told": ("?", "open"),
}
"""Sign and class of each verdict: never told by colour alone."""
STRIPS = 2
"""Clips on a contact sheet, the same prompts and noise for every row."""
QUALITY = 80


def write_page(report: Report, evidence: Evidence, store: Store, path: Path) -> None:
    """Write it, whole or not at all. Raises OutputError."""
    files = resources.files("fewstep.reproduce")
    page = Template((files / "page.html").read_text(encoding="utf-8"))
    numbers = {name: report.count(name) for name in MARKS}
    text = page.substitute(
        css=(files / "page.css").read_text(encoding="utf-8"),
        title=escape(report.paper.title),
        reference=escape(report.paper.reference),
        counts=" ".join(f"<li class='{MARKS[name][1]}'><b>{count}</b> {name}</li>" for name, count in numbers.items()),
        facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in report.facts.items()),
        contents="".join(
            f"<li><a href='#{s.item.key}'>{escape(s.item.title)}</a>{_tally(s)}</li>" for s in report.sections
        ),
        sections="\n".join(_section(section, evidence, store) for section in report.sections),
        controls=_table(report.controls),
    )
    write_text(path, text)


def _tally(section: Section) -> str:
    signs = "".join(
        f"<span class='{MARKS[f.verdict.outcome][1]}' title='{f.verdict.outcome}'>{MARKS[f.verdict.outcome][0]}</span>"
        for f in section.findings
    )
    return f" <span class='tally' aria-hidden='true'>{signs}</span>"


def _section(section: Section, evidence: Evidence, store: Store) -> str:
    item = section.item
    parts = [f"<section id='{item.key}'><h2>{escape(item.title)}</h2><p>{escape(item.about)}</p>"]
    if item.absent:
        parts.append(f"<p class='absent'>{escape(item.absent)}</p>")
    if section.absent:
        lines = "".join(f"<li>{escape(line)}</li>" for line in section.absent)
        parts.append(f"<details class='absent'><summary>Not everything was run</summary><ul>{lines}</ul></details>")
    parts += [_table(table) for table in section.tables]
    if section.findings:
        parts.append(_findings(section.findings))
    for figure in section.figures:
        parts.append(
            f"<figure><img alt='{escape(figure.title)}' src='{_data(figure.png, 'png')}'><figcaption>"
            f"{escape(figure.title)}</figcaption></figure>"
            if figure.png is not None
            else f"<p class='absent'>{escape(figure.title)}: {escape(figure.absent)}</p>"
        )
    parts.append(_sheet(section, evidence, store))
    return "\n".join([*parts, "</section>"])


def _findings(findings: tuple[Finding, ...]) -> str:
    head = "<tr><th>claim</th><th>published</th><th>ours, 95 %</th><th>seeds</th><th>p</th><th>verdict</th></tr>"
    return f"<table class='claims'><thead>{head}</thead><tbody>{''.join(map(_finding, findings))}</tbody></table>"


def _finding(finding: Finding) -> str:
    claim, verdict = finding.claim, finding.verdict
    sign, kind = MARKS[verdict.outcome]
    digits = 1 if claim.margin >= 1 else 3
    published = ABSENT if claim.published is None else f"{claim.published:+.{2 if digits == 1 else 3}f}"
    p = ABSENT if verdict.p is None else f"{verdict.p:.2g}"
    counted = {"more": f"at least {claim.margin:g}", "same": f"within ±{claim.margin:g}"}[claim.kind]
    return (
        f"<tr class='{kind}'><td>{escape(claim.says)}<small>{escape(claim.source)}; {counted} {escape(claim.unit)} "
        f"counts</small></td><td class='n'>{published}</td><td class='n'>{shown(verdict.estimate, digits)}</td>"
        f"<td class='n'>{verdict.seeds or ABSENT}</td><td class='n'>{p}</td>"
        f"<td><b>{sign} {verdict.outcome}</b><small>{escape(verdict.why)}</small></td></tr>"
    )


def _table(table: Filled) -> str:
    printed = any(line.published for line in table.lines)
    heads = "".join(f"<th{' colspan=2' if printed else ''}>{escape(title)}</th>" for title in table.measures.values())
    costs = "<th>evaluations</th><th>seconds</th><th>seeds</th>" if table.costs else ""
    under = "".join("<th>paper</th><th>ours</th>" for _ in table.measures) if printed else ""
    second = f"<tr><th></th>{under}{'<th></th>' * 3 if table.costs else ''}</tr>" if printed else ""
    body = "".join(_row(line, table, printed) for line in table.lines)
    caption = f"<caption>{escape(table.note)}</caption>" if table.note else ""
    return f"<table>{caption}<thead><tr><th></th>{heads}{costs}</tr>{second}</thead><tbody>{body}</tbody></table>"


def _row(line: Line, table: Filled, printed: bool) -> str:
    fields = []
    for measure in table.measures:
        if printed:
            value = line.published.get(measure)
            fields.append(f"<td class='n paper'>{ABSENT if value is None else _printed(value)}</td>")
        fields.append(f"<td class='n'>{shown(line.ours.get(measure))}</td>")
    if table.costs:
        seconds = ABSENT if line.seconds is None else f"{line.seconds:.3f}"
        fields += [
            f"<td class='n'>{value}</td>" for value in (line.evaluations or ABSENT, seconds, line.seeds or ABSENT)
        ]
    note = f"<small>{escape(line.note)}</small>" if line.note else ""
    return f"<tr><th scope='row'>{escape(line.label)}{note}</th>{''.join(fields)}</tr>"


def _printed(value: float) -> str:
    """As papers print it: distances whole, scores to two digits."""
    return f"{value:.0f}" if abs(value) >= 200 else f"{value:.2f}"


def _sheet(section: Section, evidence: Evidence, store: Store) -> str:
    """The first clips of every arm: moments from left to right, the same prompts and noise in each."""
    figures = []
    for arm in arms_shown(section.item, evidence):
        cell = evidence.of(arm).cells[0]
        path = store.picture(cell)
        if path is None:
            continue
        with Image.open(path) as whole:
            side = whole.width // 5
            strip = whole.crop((0, 0, whole.width, STRIPS * side)).convert("RGB")
        buffer = io.BytesIO()
        strip.save(buffer, "WEBP", quality=QUALITY)
        figures.append(
            f"<figure><img alt='clips of {escape(arm.title)}' src='{_data(buffer.getvalue(), 'webp')}'>"
            f"<figcaption>{escape(arm.title)}</figcaption></figure>"
        )
    return (
        f"<details open><summary>Clips</summary><div class='sheet'>{''.join(figures)}</div></details>"
        if figures
        else ""
    )


def _data(content: bytes | None, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content or b'').decode()}"
