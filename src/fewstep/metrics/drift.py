"""Drift: how far imaging quality wanders along a long clip (AAD-1, Appendix B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewstep.metrics.base import Clip
from fewstep.metrics.imaging import imaging_of_frames

SEGMENT_SECONDS = 2.0
"""The paper does not say how long its segments are; public scripts for such tables take two seconds."""
LEAST_SEGMENTS = 4
LEAST_DYNAMIC = 0.05
"""Below this dynamic degree a set of clips has no drift to speak of: AAD-1's Table 3 prints N/A for its static row."""


@dataclass(frozen=True)
class Drift:
    """Drift of one clip, with what it is read beside: a clip that is frozen, or blurred throughout, has none."""

    score: float
    """Standard deviation (ddof 0) of the segments' mean quality, in points of 100."""
    slope: float
    """Quality of the last segment minus that of the first, in points."""
    quality: float
    """Mean quality over all segments."""
    segments: int


def drift(quality: np.ndarray, segment_frames: int) -> Drift:
    """Drift from the imaging quality of each frame `[f]`, 0 … 100; a trailing part of a segment is left out.

    Raises ValueError below four segments.
    """
    count = len(quality) // segment_frames
    if count < LEAST_SEGMENTS:
        raise ValueError(
            f"drift needs at least {LEAST_SEGMENTS} segments of {segment_frames} frames, got {len(quality)} frames: "
            "make longer clips"
        )
    means = np.asarray(quality)[: count * segment_frames].reshape(count, segment_frames).mean(1)
    return Drift(float(means.std()), float(means[-1] - means[0]), float(means.mean()), count)


def drift_of(clip: Clip) -> Drift | None:
    """Drift of a clip's imaging quality over segments of two seconds; None below eight seconds."""
    frames = round(SEGMENT_SECONDS * clip.fps)
    if len(clip.frames) < LEAST_SEGMENTS * frames:
        return None
    return drift(imaging_of_frames(clip), frames)


def says_something(dynamic_degrees: Sequence[float] | np.ndarray) -> bool:
    """Whether drift means anything for clips with these dynamic degrees, 0 or 1 each: not for still ones."""
    return float(np.nanmean(dynamic_degrees)) >= LEAST_DYNAMIC
