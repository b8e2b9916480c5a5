"""Folders of clips with a manifest, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstep.manifest import Entry, Manifest, Settings, file_hash, named_file
from fewstep.metrics.base import Clip, ClipMetric
from fewstep.video import write_image, write_video

PROMPTS = ("a red ball", "a blue square", "a green star", "a cyan heart")


def grey_clip(level: int, frames: int = 9, size: int = 32) -> np.ndarray:
    """A clip of one grey; a file keeps it within 1."""
    return np.full((frames, size, size, 3), level, np.uint8)


def write_clip(
    folder: Path,
    frames: np.ndarray,
    index: int = 0,
    seed: int = 0,
    *,
    prompt: str | None = None,
    fps: float = 16.0,
    enlarge: int = 1,
    picture: np.ndarray | None = None,
    scene: Mapping[str, Any] | None = None,
) -> Entry:
    """Write a clip and its line of the manifest."""
    path = write_video(folder / f"clip-{index:03d}-seed{seed}.mp4", frames, fps, enlarge=enlarge, crf=1)
    begins_with = None
    if picture is not None:
        begins_with = named_file(write_image(folder / f"begin-{index:03d}.png", picture))
    settings = Settings(
        prompt=PROMPTS[index] if prompt is None else prompt,
        seed=seed,
        index=index,
        batch=(index, 1),
        model="by hand",
        fingerprint={},
        sampling={},
        negative_prompt=None,
        begins_with=begins_with,
        frames=len(frames),
        height=frames.shape[1],
        width=frames.shape[2],
        enlarge=enlarge,
        fps=fps,
        dtype="uint8",
        scene=scene,
    )
    entry = Entry(
        file=path.name, sha256=file_hash(path), settings=settings, network_evaluations=1, commits=0, seconds={}
    )
    Manifest(folder).add(entry)
    return entry


class Brightness:
    """A metric that counts how often it was asked."""

    def __init__(self, version: int = 1, minimum_frames: int = 1, dark_is_unknown: bool = False, **options: Any):
        self.asked, self.dark_is_unknown = 0, dark_is_unknown
        values = {"title": "Brightness", "better": "higher", "needs_picture": False, **options}
        self.metric = ClipMetric(
            name="brightness", version=version, minimum_frames=minimum_frames, measure=self.measure, **values
        )

    def measure(self, clip: Clip) -> float:
        self.asked += 1
        level = float(clip.frames.mean())
        return float("nan") if self.dark_is_unknown and level < 15 else level


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """Clips of levels 10, 20, 30, 40 under four prompts."""
    for index, level in enumerate((10, 20, 30, 40)):
        write_clip(tmp_path / "greys", grey_clip(level), index)
    return tmp_path / "greys"


@pytest.fixture
def grey() -> Callable[..., np.ndarray]:
    return grey_clip


@pytest.fixture
def add_clip() -> Callable[..., Entry]:
    return write_clip


@pytest.fixture
def brightness() -> type[Brightness]:
    return Brightness
