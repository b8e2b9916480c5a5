"""The report as one HTML file that needs nothing beside it, for screens and for print."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Container, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from PIL import Image

from fewstep.files import write_text
from fewstep.metrics.base import ABSENT
from fewstep.reproduce.evidence import Evidence
from fewstep.reproduce.report import Filled, Finding, Line, Report, Section, arms_shown, brief, shown
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
LEAST_P = 0.001
"""Chances below it are told as below it: no law is known that far out."""
WHOLE = 200
"""Published numbers from here on have no decimals."""


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
        left_out="".join(
            f"<dt>{escape(what)}</dt><dd>{_prose(why)}</dd>" for what, why in report.paper.left_out.items()
        ),
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
    parts = [f"<section id='{item.key}'><h2>{escape(item.title)}</h2><p>{_prose(item.about)}</p>"]
    if item.absent:
        parts.append(f"<p class='absent'>{_prose(item.absent)}</p>")
    if section.absent:
        lines = "".join(f"<li>{_prose(line)}</li>" for line in section.absent)
        parts.append(f"<details class='absent'><summary>Not everything was run</summary><ul>{lines}</ul></details>")
    parts += [_table(table) for table in section.tables]
    if section.findings:
        parts.append(_findings(section.findings))
    for figure in section.figures:
        parts.append(
            f"<figure><img alt='{escape(figure.title)}' src='{_data(figure.png, 'png')}'><figcaption>"
            f"{escape(figure.title)}</figcaption></figure>"
            if figure.png is not None
            else f"<p class='absent'>{escape(figure.title)}: {_prose(figure.absent)}</p>"
        )
    parts.append(_sheet(section, evidence, store))
    return "\n".join([*parts, "</section>"])


def _findings(findings: tuple[Finding, ...]) -> str:
    numbers = "".join(f"<th class='n'>{name}</th>" for name in ("published", "ours, 95 %", "seeds", "p"))
    head = f"<tr><th>claim</th>{numbers}<th>verdict</th></tr>"
    body = "".join(map(_finding, findings))
    return f"<div class='wide'><table class='claims'><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def _finding(finding: Finding) -> str:
    claim, verdict = finding.claim, finding.verdict
    sign, kind = MARKS[verdict.outcome]
    digits = 1 if claim.margin >= 1 else 3
    published = ABSENT if claim.published is None else f"{claim.published:+.{_decimals(claim.published, digits)}f}"
    p = ABSENT if verdict.p is None else f"{verdict.p:.2g}" if verdict.p >= LEAST_P else f"&lt; {LEAST_P:g}"
    below = f"{claim.source}; margin {'±' * (claim.kind == 'same')}{claim.margin:g} {claim.unit}"
    return (
        f"<tr class='{kind}'><td>{escape(claim.says)}<small>{escape(below)}</small></td>"
        f"<td class='n'>{published}</td><td class='n'>{shown(verdict.estimate, digits)}</td>"
        f"<td class='n'>{verdict.seeds or ABSENT}</td><td class='n'>{p}</td>"
        f"<td><b>{sign} {verdict.outcome}</b><small>{_prose(verdict.why)}</small></td></tr>"
    )


def _decimals(published: float, digits: int) -> int:
    """As papers print it: distances whole, scores to two digits, cosines to three."""
    return 0 if abs(published) >= WHOLE else max(2, digits)


def _table(table: Filled) -> str:
    printed = {measure for line in table.lines for measure in line.published}
    heads = "".join(
        f"<th{' colspan=2' if measure in printed else ''}>{escape(title)}</th>"
        for measure, title in table.measures.items()
    )
    costs = "<th>evaluations</th><th>seconds</th><th>seeds</th>" if table.costs else ""
    under = "".join(f"{'<th>paper</th>' * (measure in printed)}<th>ours</th>" for measure in table.measures)
    second = f"<tr><th></th>{under}{'<th></th>' * 3 if table.costs else ''}</tr>" if printed else ""
    ours = zip(*(brief([line.ours.get(measure) for line in table.lines]) for measure in table.measures), strict=True)
    body = "".join(_row(line, texts, table, printed) for line, texts in zip(table.lines, ours, strict=True))
    caption = f"<caption>{escape(table.note)}</caption>" if table.note else ""
    head = f"<thead><tr><th></th>{heads}{costs}</tr>{second}</thead>"
    return f"<div class='wide'><table>{caption}{head}<tbody>{body}</tbody></table></div>"


def _row(line: Line, ours: Sequence[str], table: Filled, printed: Container[str]) -> str:
    fields = []
    for measure, found in zip(table.measures, ours, strict=True):
        if measure in printed:
            value = line.published.get(measure)
            text = ABSENT if value is None else f"{value:.{_decimals(value, 2)}f}"
            fields.append(f"<td class='n paper'>{text}</td>")
        fields.append(f"<td class='n'>{found}</td>")
    if table.costs:
        seconds = ABSENT if line.seconds is None else f"{line.seconds:.3f}"
        fields += [
            f"<td class='n'>{value}</td>" for value in (line.evaluations or ABSENT, seconds, line.seeds or ABSENT)
        ]
    note = f"<small>{_prose(line.note)}</small>" if line.note else ""
    return f"<tr><th scope='row'>{escape(line.label)}{note}</th>{''.join(fields)}</tr>"


def _prose(text: str) -> str:
    """Commands as commands."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


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
