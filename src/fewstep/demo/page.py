"""The demo's page: one self-contained HTML file, readable offline, in light and dark, with clips that play in step."""

from __future__ import annotations

import base64
import io
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
import torch
from PIL import Image

from fewstep import __version__
from fewstep.demo.charts import Point, line_chart, scatter
from fewstep.video import Frames

TILE = 160
"""Side of a clip in the page's pixels."""
QUALITY = 88
NAMED = 3
"""Wrong attributes that are named under a clip; the others are in its tooltip."""
CURVES = {
    "generator/dmd": ("DMD loss of the student", "student"),
    "fake_score/loss": ("Loss of the fake score", "live"),
}
"""Signals of the training log that are drawn: title and colour."""


@dataclass(frozen=True)
class Take:
    """One clip, what it cost, and which stated attributes an exact judge found in it."""

    frames: Frames
    seconds: float
    checks: tuple[tuple[str, bool], ...]

    @property
    def right(self) -> int:
        return sum(found for _, found in self.checks)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One column: a model and a number of steps."""

    group: str
    """`teacher`, `student`, `live` or `image`."""
    title: str
    weights: str
    steps: tuple[int, ...]
    """Network evaluations of each chunk."""
    commits: int
    takes: tuple[Take, ...]
    score: float
    """Share of stated attributes that came out right, over all scenes."""
    seconds: float
    """Median wall clock of a clip, text to pixels."""

    @property
    def evaluations(self) -> int:
        return sum(self.steps)


@dataclass(frozen=True, kw_only=True)
class Animation:
    """A student's clips behind the first pictures of scenes; the page shows the first of them."""

    prompt: str
    truth: Frames
    """The scene's own clip, whose first picture was given."""
    picture: Path
    """Where that picture lies."""
    variant: Variant


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the page shows."""

    prompts: tuple[str, ...]
    variants: tuple[Variant, ...]
    animation: Animation | None
    """Where there is a student that goes on from pictures."""
    fps: float
    scenes: int
    """Scenes behind each variant's score."""
    curves: dict[str, list[float]]
    """Training signals of the live run by name, one value per cycle."""
    live_seconds: float
    live_updates: int
    missing: tuple[str, ...]
    """Bundled models that were not there."""
    seed: int


def render_page(report: Report) -> str:
    """The page as one HTML text."""
    files = resources.files("fewstep.demo")
    page = Template((files / "page.html").read_text(encoding="utf-8"))
    frames = len(report.variants[0].takes[0].frames)
    return page.substitute(
        css=(files / "page.css").read_text(encoding="utf-8"),
        script=(files / "page.js").read_text(encoding="utf-8"),
        frames=frames,
        strip=f"{100 * frames / (frames - 1):.4f}%",
        seconds=f"{frames / report.fps:.4f}",
        lede=_lede(report),
        facts=_facts(report),
        missing=_missing(report),
        rows="\n".join(_row(index, prompt, report.variants) for index, prompt in enumerate(report.prompts)),
        animation="" if report.animation is None else _animation(report.animation),
        table="\n".join(_table_row(variant) for variant in report.variants),
        scenes=report.scenes,
        scatter=_scatter(report.variants),
        live=_live(report),
        machine=escape(f"fewstep {__version__}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads"),
        system=escape(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        seed=report.seed,
    )


def _lede(report: Report) -> str:
    groups = {variant.group for variant in report.variants}
    parts = ["Every row is one prompt and one starting noise."]
    if "teacher" in groups:
        parts.append("The first clip is the teacher's: all frames at once, in many steps.")
    if "student" in groups:
        count = sum(variant.group == "student" for variant in report.variants)
        parts.append(
            f"The next {count} come from <strong>one</strong> causal student, the same weights each time, which makes "
            "the clip chunk by chunk in as few steps as it is told to."
        )
    if "live" in groups:
        parts.append(
            f"The last were made before and after {report.live_seconds:.0f} s of distillation, just now, here."
        )
    return " ".join(parts)


def _facts(report: Report) -> str:
    teacher = next((v for v in report.variants if v.group == "teacher"), None)
    fastest = min((v for v in report.variants if v.group != "teacher"), key=lambda v: v.evaluations)
    clip = len(fastest.takes[0].frames) / report.fps
    facts = [(f"{clip / fastest.seconds:.0f}×", f"real time at {fastest.title}, decoding included")]
    if teacher:
        facts.insert(0, (f"{teacher.evaluations} → {fastest.evaluations}", "network evaluations a clip"))
        facts.insert(1, (f"{_duration(teacher.seconds)} → {_duration(fastest.seconds)}", "a clip, text to pixels"))
    if report.live_updates:
        facts.append((f"{report.live_updates}", f"generator updates in {report.live_seconds:.0f} s, live"))
    return "".join(f"<div><dt>{escape(value)}</dt><dd>{escape(label)}</dd></div>" for value, label in facts)


def _missing(report: Report) -> str:
    if not report.missing:
        return ""
    names = ", ".join(report.missing)
    return (
        f'<p class="note">Not bundled here, so not shown: {escape(names)}. <code>make embedded</code> trains them.</p>'
    )


def _row(index: int, prompt: str, variants: Sequence[Variant]) -> str:
    takes = "\n".join(_take(variant, variant.takes[index], prompt) for variant in variants)
    return f'<article class="row"><h3>{escape(prompt)}</h3><div class="takes">{takes}</div></article>'


def _animation(animation: Animation) -> str:
    """The picture, what became of it in its own clip, and what the student made of it."""
    variant, prompt = animation.variant, animation.prompt
    figures = [
        _figure("truth", "the picture", "given", animation.truth[:1], prompt),
        _figure("truth", "the true clip", "not shown to the student", animation.truth, prompt),
        _take(variant, variant.takes[0], prompt),
    ]
    command = f".venv/bin/fewstep generate --image {shlex.quote(str(animation.picture))} {shlex.quote(prompt)}"
    files = resources.files("fewstep.demo")
    return Template((files / "animation.html").read_text(encoding="utf-8")).substitute(
        prompt=escape(prompt),
        takes="\n".join(figures),
        evaluations=variant.evaluations,
        scenes=len(variant.takes),
        score=f"{variant.score:.0%}",
        seconds=_duration(variant.seconds),
        command=escape(command, quote=False),
    )


def _take(variant: Variant, take: Take, prompt: str) -> str:
    cost = f'<span class="cost">{_duration(take.seconds)} · {variant.evaluations} evaluations</span>'
    return _figure(variant.group, variant.title, variant.weights, take.frames, prompt, _verdict(take) + cost)


def _figure(group: str, title: str, weights: str, frames: Frames, prompt: str, told: str = "") -> str:
    """A clip, or a picture that stands still, with what is said below it; `told` is markup."""
    still = " still" if len(frames) == 1 else ""
    return (
        f'<figure class="take {group}"><div class="clip{still}" role="img" '
        f'aria-label="{escape(f"{title}, {weights}: {prompt}")}" style="background-image:url({sprite(frames)})"></div>'
        f'<figcaption><span class="title">{escape(title)}</span>'
        f'<span class="weights">{escape(weights)}</span>{told}</figcaption></figure>'
    )


def _verdict(take: Take) -> str:
    wrong = [name for name, found in take.checks if not found]
    if not wrong:
        return f'<span class="verdict yes"><b aria-hidden="true">✓</b> all {len(take.checks)} right</span>'
    listing = f"wrong: {' · '.join(wrong)}"
    shown = listing if len(wrong) <= NAMED else f"wrong: {' · '.join(wrong[:NAMED])} · {len(wrong) - NAMED} more"
    count = f"{take.right} of {len(take.checks)} right"
    return (
        f'<span class="verdict no" title="{escape(listing)}"><b aria-hidden="true">✗</b> {count}'
        f'<span class="wrong">{escape(shown)}</span></span>'
    )


def sprite(frames: Frames) -> str:
    """All frames below each other in one WebP data address, scaled to the tile by an interpolating filter."""
    pictures = [np.asarray(Image.fromarray(x).resize((TILE, TILE), Image.Resampling.BICUBIC)) for x in frames]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(pictures)).save(buffer, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _table_row(variant: Variant) -> str:
    share = f"{variant.score:.0%}"
    cells = [
        f'<th scope="row"><i class="dot {variant.group}"></i>{escape(variant.title)}</th>',
        f"<td>{escape(variant.weights)}</td>",
        f"<td>{_diagram(variant)}</td>",
        f'<td class="number">{variant.evaluations}</td>',
        f'<td class="number">{variant.commits or "–"}</td>',
        f'<td class="number">{_duration(variant.seconds)}</td>',
        f'<td class="number"><span class="bar {variant.group}" style="--share:{share}"></span>{share}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _diagram(variant: Variant) -> str:
    """Chunks as boxes with one dot per evaluation; a teacher is one box over the whole clip."""
    if variant.group == "teacher":
        return f'<span class="chunks"><span class="chunk whole">{variant.evaluations}, all frames</span></span>'
    boxes = "".join(f'<span class="chunk">{"<i></i>" * count}</span>' for count in variant.steps)
    spoken = ", ".join(map(str, variant.steps))
    return f'<span class="chunks" role="img" aria-label="steps of each chunk: {spoken}">{boxes}</span>'


def _scatter(variants: Sequence[Variant]) -> str:
    points = [
        Point(v.evaluations, v.score, v.weights, v.group, "right")
        if v.group == "live"
        else Point(v.evaluations, v.score, v.title, v.group, "above" if "*" in v.title else "below")
        for v in variants
    ]
    return scatter(
        points,
        title="Attributes right against network evaluations",
        x_label="network evaluations a clip (logarithmic)",
        y_label="attributes right",
        joined="student",
    )


def _live(report: Report) -> str:
    charts = [
        f"<figure><figcaption>{title}</figcaption>"
        f"{line_chart(report.curves[name], title=title, x_label='cycle', tone=tone)}</figure>"
        for name, (title, tone) in CURVES.items()
        if len(report.curves.get(name, [])) > 1
    ]
    if not charts:
        return '<p class="note">No distillation ran for this page.</p>'
    return f'<div class="charts">{"".join(charts)}</div>'


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
