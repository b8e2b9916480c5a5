"""Many clips in one picture or one clip, each under its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fewstep.types import Frames, Picture

BACKGROUND = (250, 250, 250)
INK = (30, 30, 30)


def video_grid(videos: Sequence[Frames], labels: Sequence[str], columns: int, *, enlarge: int = 1) -> Frames:
    """Clips side by side, each under its label, playing together; shorter ones hold their last frame."""
    if not videos or len(videos) != len(labels):
        raise ValueError(f"one label per clip is required, got {len(videos)} clips and {len(labels)} labels")
    if columns < 1:
        raise ValueError(f"a grid needs 1 column or more, got {columns}")
    videos = [video.repeat(enlarge, axis=1).repeat(enlarge, axis=2) for video in videos]
    length = max(len(video) for video in videos)
    height, width = (max(video.shape[axis] for video in videos) for axis in (1, 2))
    gap, text_height = 6, 32 if any("\n" in label for label in labels) else 18
    rows = -(-len(videos) // columns)
    size = (columns * (width + gap) + gap, rows * (height + text_height + gap) + gap)
    page = Image.new("RGB", size, BACKGROUND)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    corners = []
    for index, label in enumerate(labels):
        row, column = divmod(index, columns)
        x, y = gap + column * (width + gap), gap + row * (height + text_height + gap)
        draw.multiline_text((x, y), _fit(label, font, width), fill=INK, font=font, spacing=2)
        corners.append((x, y + text_height))
    grid = np.repeat(np.asarray(page)[None], length, axis=0)
    for video, (x, y) in zip(videos, corners, strict=True):
        held = video[np.minimum(np.arange(length), len(video) - 1)]
        grid[:, y : y + video.shape[1], x : x + video.shape[2]] = held
    return grid


def contact_sheet(
    videos: Sequence[Frames], labels: Sequence[str], columns: int, *, moments: int = 5, enlarge: int = 1
) -> Picture:
    """One still picture of many clips: each cell shows `moments` frames of its clip, first to last."""
    strips = []
    for video in videos:
        picked = np.linspace(0, len(video) - 1, min(moments, len(video))).round().astype(int)
        strips.append(np.concatenate(list(video[picked]), axis=1)[None])
    return video_grid(strips, labels, columns, enlarge=enlarge)[0]


def _fit(label: str, font: Any, width: int) -> str:
    """The label with each line cut to the width."""
    lines = []
    for line in label.split("\n")[:2]:
        cut = line
        while cut and font.getlength(cut + ("…" if cut != line else "")) > width:
            cut = cut[:-1]
        lines.append(cut if cut == line else cut + "…")
    return "\n".join(lines)
