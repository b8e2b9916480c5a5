"""What every metric speaks in: clips, numbers of clips, and estimates with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, Literal, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")

Better = Literal["higher", "lower", "neither"]
ABSENT = "–"
"""What was not measured, in a table."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip as a metric sees it: decoded frames, their true rate, and what the model was asked.

    Two clips are equal when they are the same object, so that what was found of one can be kept (`once_per_clip`).
    """

    frames: np.ndarray
    """uint8 [f, h, w, 3]."""
    fps: float
    prompt: str = ""
    begins_with: np.ndarray | None = None
    """uint8 [h, w, 3]: the picture that the clip was given to begin with (image to video)."""


@dataclass(frozen=True)
class ClipMetric:
    """One number for one clip."""

    name: str
    version: int
    """Raised whenever the same clip would score otherwise: scores of two versions are never compared."""
    title: str
    better: Better
    minimum_frames: int
    needs_picture: bool
    """Whether it compares with the picture the clip was given; without one it says nothing."""
    measure: Callable[[Clip], float]
    """NaN where the metric says nothing of this clip."""
    extractor: str | None = None
    """Id with fingerprint of the features it rests on."""


@dataclass(frozen=True)
class Estimate:
    """A value, the percentile interval of its resamples, and how many samples it rests on; NaN where unknown."""

    value: float
    low: float
    high: float
    samples: int

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def short(self) -> str:
        """`81.3 ±1.2`."""
        return f"{self.value:.1f} ±{self.half_width:.1f}" if np.isfinite(self.value) else ABSENT

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]" if np.isfinite(self.value) else ABSENT


def once_per_clip(find: Callable[Concatenate[Clip, P], T]) -> Callable[Concatenate[Clip, P], T]:
    """Keep what `find` returned for a clip, such as its optical flow, for as long as the clip itself is kept."""
    known: WeakKeyDictionary[Clip, dict[object, T]] = WeakKeyDictionary()

    @wraps(find)
    def found(clip: Clip, *args: P.args, **options: P.kwargs) -> T:
        kept = known.setdefault(clip, {})
        key = (args, tuple(sorted(options.items())))
        if key not in kept:
            kept[key] = find(clip, *args, **options)
        return kept[key]

    return found
