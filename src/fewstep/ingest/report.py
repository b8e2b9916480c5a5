"""The report: a page that shows what was kept, what was dropped, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from fewstep.files import write_text
from fewstep.ingest.outcome import Outcome, counted
from fewstep.ingest.scan import Scan
from fewstep.ingest.shards import ShardLabel

REPORT = "report.html"
STRIPS = "report"
"""Folder of the page's pictures."""
STRIPS_SHOWN = 12
"""Of the clips of one file; the others are counted."""
REPEATS = 0.05
"""From this share of repeated pictures on the page says that the file has fewer than the clip."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1e1e1e; }
h1, h2 { font-weight: 600; }
td { padding: .15rem .9rem .15rem 0; }
article { border-top: 1px solid #ddd; padding: .7rem 0; } h3 { margin: 0; font-size: 1rem; }
p { margin: .2rem 0; } .facts { color: #666; } .why { color: #a33; }
figure { display: inline-block; margin: .4rem .6rem 0 0; } figcaption { font-size: .8rem; color: #666; }
figure.dropped img { opacity: .45; } img { display: block; max-width: 100%; }
"""


def write_report(path: Path, outcomes: Sequence[Outcome], label: ShardLabel) -> None:
    """Write the page; its pictures lie in `STRIPS` beside it. Raises OutputError."""
    kept = [outcome for outcome in outcomes if outcome.clips]
    dropped = [outcome for outcome in outcomes if not outcome.clips]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Ingest report</title>",
        f"<style>{STYLE}</style><h1>Ingest report</h1>",
        f"<p>{summary(outcomes)}</p><p class='facts'>{_what(label)}</p>",
        _reasons(outcomes),
        f"<h2>Dropped files ({len(dropped)})</h2>",
        *(_article(outcome, path.parent) for outcome in dropped),
        f"<h2>Kept files ({len(kept)})</h2>",
        *(_article(outcome, path.parent) for outcome in kept),
        "</html>",
    ]
    write_text(path, "\n".join(parts) + "\n")


def summary(outcomes: Sequence[Outcome]) -> str:
    """One sentence."""
    clips = sum(len(outcome.clips) for outcome in outcomes)
    useful = sum(1 for outcome in outcomes if outcome.clips)
    files, dropped = counted(len(outcomes), "file"), len(outcomes) - useful
    return f"{counted(clips, 'clip')} from {useful} of {files}, {dropped} dropped"


def _what(label: ShardLabel) -> str:
    size = f"{label.width}x{label.height}"
    seconds = label.frames / label.fps
    return (
        f"A clip has {label.frames} pictures of {size} at {label.fps:g} a second ({seconds:.2f} s), "
        f"{label.latent_shape[0]} latent frames of VAE {label.vae}; captions by text encoder {label.text_encoder}."
    )


def _reasons(outcomes: Sequence[Outcome]) -> str:
    """How much is lost to what: files, then pieces of files."""
    files = Counter(_kind(outcome.dropped) for outcome in outcomes if outcome.dropped)
    pieces: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.scan is not None and outcome.clips:
            pieces.update({span.dropped: span.count for span in outcome.scan.spans if span.dropped})
    rows = [f"<tr><td>{counted(count, 'file')}</td><td>{escape(why)}</td></tr>" for why, count in files.most_common()]
    rows += [
        f"<tr><td>{counted(count, 'picture')}</td><td>{escape(why)}</td></tr>" for why, count in pieces.most_common()
    ]
    return f"<h2>Why something was dropped</h2><table>{''.join(rows)}</table>" if rows else ""


def _kind(why: str) -> str:
    """A reason without its particulars."""
    return why.split(":")[0].split(" (")[0].split(" at ")[0].split(" after ")[0]


def _article(outcome: Outcome, folder: Path) -> str:
    lines = [f"<h3>{escape(outcome.name)}</h3>"]
    if outcome.dropped:
        lines.append(f"<p class='why'>Dropped: {escape(outcome.dropped)}</p>")
    if outcome.caption:
        lines.append(f"<p>{escape(outcome.caption)}</p>")
    if outcome.scan is not None:
        lines.append(f"<p class='facts'>{escape('; '.join(_notes(outcome, outcome.scan)))}</p>")
        lines += _figures(outcome, outcome.scan, folder)
    return f"<article>{''.join(lines)}</article>"


def _notes(outcome: Outcome, scan: Scan) -> Iterator[str]:
    if scan.facts is None:
        yield f"{scan.bytes} bytes"
        return
    facts = scan.facts
    yield f"{facts.codec}, {facts.width}x{facts.height} at {facts.fps:g} a second"
    yield f"{counted(scan.pictures, 'picture')} at the clips' rate"
    yield f"{counted(len(outcome.clips), 'clip')}, {counted(scan.cuts, 'cut')}"
    if facts.rotation:
        yield f"turned by {facts.rotation} degrees"
    if scan.repeated > REPEATS * scan.pictures:
        yield f"{scan.repeated} pictures are repeated, the file has fewer"


def _figures(outcome: Outcome, scan: Scan, folder: Path) -> Iterator[str]:
    """Strips of spans, kept and dropped alike, as far as there are any."""
    kept = {clip.span for clip in outcome.clips}
    for span in scan.spans[:STRIPS_SHOWN]:
        if not (folder / STRIPS / scan.strip(span)).is_file():
            continue
        why = None if span in kept else span.dropped or outcome.dropped or "could not be read again"
        words = f"{span.first} to {span.first + span.count - 1}" + (f": {why}" if why else "")
        image = f"<img loading='lazy' src='{STRIPS}/{scan.strip(span)}' alt='pictures {escape(words)}'>"
        yield f"<figure{' class=dropped' if why else ''}>{image}<figcaption>{escape(words)}</figcaption></figure>"
    if len(scan.spans) > STRIPS_SHOWN:
        yield f"<p class='facts'>and {len(scan.spans) - STRIPS_SHOWN} more pieces</p>"
