"""The metrics of single clips, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fewstep.metrics import camera, consistency, drift, grid, imaging, motion, temporal
from fewstep.metrics.base import Better, Clip, ClipMetric
from fewstep.metrics.frame_features import Appearance, FrameFeatures, Layout


def clip_metrics(
    subject: FrameFeatures | None = None, background: FrameFeatures | None = None
) -> dict[str, ClipMetric]:
    """Every metric of one clip by its name.

    `subject` and `background` are the features that consistency and faithfulness to a picture rest on; without them,
    those that need no weights.
    """
    found = (*_on_frames(), *_on_features(subject or Appearance(), background or Layout()))
    return {metric.name: metric for metric in found}


def _on_frames() -> tuple[ClipMetric, ...]:
    return (
        _plain("temporal_flickering", "Temporal flickering, VBench's formula", "higher", 2, temporal.flickering_of),
        _plain("motion_smoothness", "Motion smoothness by flow", "higher", 3, temporal.smoothness_of),
        _plain("dynamic_degree", "Dynamic degree by flow, noise left out", "higher", 2, _dynamic),
        _plain("dynamic_degree_ungated", "Dynamic degree by flow, VBench's rule", "higher", 2, _dynamic_ungated),
        _plain("motion", "Speed of what moves fastest, sides per second", "neither", 2, motion.motion_of),
        _plain("still_share", "Share of the time in which nothing moves", "neither", 2, motion.still_share_of),
        _plain("motion_collapse", "Nothing moves from the middle to the end", "lower", 3, motion.collapse_of),
        _plain("imaging_quality", "Imaging quality proxy, 0 to 100", "higher", 1, imaging.imaging_of),
        _plain("grid_energy", "Grid at 8 or 16 pixels, decibels", "lower", 1, grid.grid_of),
        _plain("camera_motion", "Camera moves as the prompt asks", "higher", 2, camera.obedience_of),
        _plain("camera_speed", "Speed of the camera, sides per second", "neither", 2, camera.speed_of),
        _plain("drift", "Drift of imaging quality over 8 s or more", "lower", 4, _drift_score),
        _plain("drift_slope", "Imaging quality, last less first two seconds", "neither", 4, _drift_slope),
    )


def _on_features(subject: FrameFeatures, background: FrameFeatures) -> tuple[ClipMetric, ...]:
    made = []
    for what, extractor in (("subject", subject), ("background", background)):
        steady = partial(consistency.consistency_of, extractor=extractor)
        faithful = partial(consistency.faithfulness_of, extractor=extractor)
        title = what.capitalize()
        made += [
            ClipMetric(f"{what}_consistency", 1, f"{title} consistency", "higher", 2, False, steady, extractor.id),
            ClipMetric(f"i2v_{what}", 1, f"{title} like the picture given", "higher", 2, True, faithful, extractor.id),
        ]
    return tuple(made)


def _plain(name: str, title: str, better: Better, minimum_frames: int, measure: Callable[[Clip], float]) -> ClipMetric:
    return ClipMetric(name, 1, title, better, minimum_frames, False, measure)


def _dynamic(clip: Clip) -> float:
    return motion.dynamic_degree_of(clip, gated=True)


def _dynamic_ungated(clip: Clip) -> float:
    return motion.dynamic_degree_of(clip, gated=False)


def _drift_score(clip: Clip) -> float:
    found = drift.drift_of(clip)
    return float("nan") if found is None else found.score


def _drift_slope(clip: Clip) -> float:
    found = drift.drift_of(clip)
    return float("nan") if found is None else found.slope
