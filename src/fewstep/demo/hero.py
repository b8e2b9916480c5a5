"""The README's animated picture: a few prompts, one column per plan, all clips in step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fewstep.demo.page import Report, Variant
from fewstep.video import Frames, write_video

TILE, GAP, MARGIN, HEAD, FOOT = 136, 10, 24, 58, 40
PAPER, INK, SOFT = (18, 20, 24), (236, 234, 228), (154, 161, 172)
TONES = {"teacher": (226, 189, 90), "student": (108, 184, 238), "live": (240, 148, 92)}


def write_hero(report: Report, path: Path, *, rows: int = 3) -> Path:
    """Write the first `rows` prompts of the report's teacher and student as one animated WebP, GIF or MP4."""
    return write_video(path, hero_frames(report, rows), report.fps)


def hero_frames(report: Report, rows: int = 3) -> Frames:
    """The picture's frames: headings above, network evaluations below."""
    variants = [variant for variant in report.variants if variant.group in ("teacher", "student")]
    if not variants:
        raise ValueError("the picture needs the bundled teacher or student, got neither: run `make embedded` first")
    rows = min(rows, len(report.prompts))
    card = _card(variants, rows)
    length = len(variants[0].takes[0].frames)
    frames = np.repeat(np.asarray(card)[None], length, axis=0)
    for column, variant in enumerate(variants):
        for row in range(rows):
            x, y = _corner(column, row)
            frames[:, y : y + TILE, x : x + TILE] = _enlarged(variant.takes[row].frames)
    return frames


def _corner(column: int, row: int) -> tuple[int, int]:
    return MARGIN + column * (TILE + GAP), MARGIN + HEAD + row * (TILE + GAP)


def _enlarged(frames: Frames) -> Frames:
    return np.stack([np.asarray(Image.fromarray(x).resize((TILE, TILE), Image.Resampling.BICUBIC)) for x in frames])


def _card(variants: Sequence[Variant], rows: int) -> Image.Image:
    """Everything that does not move."""
    right, bottom = _corner(len(variants), rows)
    card = Image.new("RGB", (right - GAP + MARGIN, bottom - GAP + FOOT + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(card)
    large, small = ImageFont.load_default(19), ImageFont.load_default(14)
    for column, variant in enumerate(variants):
        x, _ = _corner(column, 0)
        first_of_group = column == 0 or variants[column - 1].group != variant.group
        if first_of_group:
            label = "teacher" if variant.group == "teacher" else "one student, the same weights in every column"
            draw.text((x, MARGIN - 4), label, fill=SOFT, font=small)
        draw.text((x, MARGIN + 16), variant.title, fill=INK, font=large)
        draw.rectangle((x, MARGIN + HEAD - 12, x + TILE - 1, MARGIN + HEAD - 10), fill=TONES[variant.group])
        draw.text((x, bottom - GAP + 12), f"{variant.evaluations} evaluations", fill=SOFT, font=small)
    return card
