"""Clips as vectors: what an extractor of video features is, what it is given, and what it found, kept on disk.

Distances between sets of clips are distances between their features, so a number belongs to an extractor. Its id names
its weights and how clips are prepared for it, and features of two ids are never compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fewstep.files import atomic_output
from fewstep.metrics.base import Clip

DIGITS = 12
"""Hexadecimal digits of hashes in ids."""
BATCH = 16
"""Clips that an extractor sees at once."""


class FeatureError(ValueError):
    """Clips that an extractor cannot take, or features that cannot be compared."""


@dataclass(frozen=True)
class InputFormat:
    """The clips that an extractor takes."""

    frames: int
    """Pictures; the first ones of a longer clip."""
    size: int | None = None
    """Side of the square that pictures are resized to, in pixels; None: the extractor resizes itself."""
    fps: float | None = None
    """Rate at which pictures are taken from the clip, the nearest earlier one for each; None: its own."""

    def __str__(self) -> str:
        size = "" if self.size is None else f", {self.size}x{self.size}"
        rate = "" if self.fps is None else f", {self.fps:g} fps"
        return f"{self.frames} frames{size}{rate}"

    def fit(self, clip: Clip) -> np.ndarray:
        """The clip `[frames, h, w, 3]` uint8 as the extractor takes it.

        Raises FeatureError for a clip that is too short, or slower than the rate: repeated pictures would look frozen.
        """
        rate = self.fps or clip.fps
        if clip.fps < rate * (1 - 1e-6):
            raise FeatureError(f"features at {rate:g} fps need a clip of that rate or more, got {clip.fps:g} fps")
        moments = (np.arange(self.frames) * clip.fps / rate + 1e-6).astype(int)
        if moments[-1] >= len(clip.frames):
            raise FeatureError(
                f"features of {self.frames} frames at {rate:g} fps need a clip of {moments[-1] + 1} frames at "
                f"{clip.fps:g} fps, got {len(clip.frames)}: sample longer clips or take another extractor"
            )
        pictures = clip.frames[moments]
        if self.size is None or pictures.shape[1:3] == (self.size, self.size):
            return pictures
        how = cv2.INTER_AREA if min(pictures.shape[1:3]) >= self.size else cv2.INTER_LINEAR
        return np.stack([cv2.resize(picture, (self.size, self.size), interpolation=how) for picture in pictures])


class VideoFeatures(Protocol):
    """An extractor of video features."""

    @property
    def id(self) -> str:
        """Name, and twelve hexadecimal digits of the SHA-256 of weights and preparation."""
        ...

    @property
    def dim(self) -> int:
        """Numbers per clip, d."""
        ...

    @property
    def takes(self) -> InputFormat:
        """The clips it wants."""
        ...

    def extract(self, clips: np.ndarray) -> np.ndarray:
        """Features `[n, d]` float32 of clips `[n, t, h, w, 3]` uint8 in that format."""
        ...


@dataclass(frozen=True)
class FeatureSet:
    """Features of a set of clips."""

    extractor: str
    """Id of what made them."""
    values: np.ndarray
    """`[n, d]` float64."""

    def __len__(self) -> int:
        return len(self.values)


def require_same_extractor(one: FeatureSet, other: FeatureSet) -> None:
    """Raise FeatureError unless both sets speak the same language."""
    if one.extractor != other.extractor:
        raise FeatureError(
            f"features of one extractor can be compared, got '{one.extractor}' and '{other.extractor}': extract again"
        )


def clip_hash(clip: Clip) -> str:
    """SHA-256 of a clip's pixels, size and rate, in hexadecimal."""
    head = f"{clip.frames.shape} {clip.fps!r} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(clip.frames).tobytes()).hexdigest()


class FeatureCache:
    """Features on disk, a file per extractor and clip; several processes may fill it at once."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def path(self, extractor: str, clip: str) -> Path:
        """Where the features of the clip with this hash are."""
        return self.folder / extractor / clip[:2] / f"{clip}.npy"

    def read(self, extractor: str, clip: str, dim: int) -> np.ndarray | None:
        """Features `[d]`, or None where they are not there or damaged."""
        try:
            values = np.load(self.path(extractor, clip), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return values if values.shape == (dim,) and np.isfinite(values).all() else None

    def write(self, extractor: str, clip: str, values: np.ndarray) -> None:
        """Keep the features of one clip. Raises OutputError."""
        with atomic_output(self.path(extractor, clip)) as scratch:
            np.save(scratch, values.astype(np.float32))


def extract(
    extractor: VideoFeatures,
    clips: Sequence[Clip],
    cache: FeatureCache | None = None,
    *,
    advance: Callable[[int], None] = lambda clips: None,
) -> FeatureSet:
    """Features of each clip, in order, those that `cache` knows read from it; `advance` hears of clips done.

    Raises FeatureError for a clip that the extractor cannot take and for features that are no numbers.
    """
    values = np.empty((len(clips), extractor.dim), np.float64)
    waiting: list[tuple[int, str, np.ndarray]] = []

    def flush() -> None:
        found = extractor.extract(np.stack([pictures for _, _, pictures in waiting]))
        if found.shape != (len(waiting), extractor.dim) or not np.isfinite(found).all():
            raise FeatureError(f"'{extractor.id}' gave features {found.shape} that are not all numbers: get it anew")
        for (row, name, _), vector in zip(waiting, found, strict=True):
            values[row] = vector
            if cache is not None:
                cache.write(extractor.id, name, vector)
        advance(len(waiting))
        waiting.clear()

    for row, clip in enumerate(clips):
        name = "" if cache is None else clip_hash(clip)
        known = None if cache is None else cache.read(extractor.id, name, extractor.dim)
        if known is not None:
            values[row] = known
            advance(1)
            continue
        pictures = extractor.takes.fit(clip)
        if waiting and (len(waiting) == BATCH or pictures.shape != waiting[0][2].shape):
            flush()
        waiting.append((row, name, pictures))
    if waiting:
        flush()
    return FeatureSet(extractor.id, values)
