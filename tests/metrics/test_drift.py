from __future__ import annotations

import cv2
import numpy as np
import pytest

from fewstep.metrics.base import Clip
from fewstep.metrics.drift import Drift, drift, drift_of, says_something

FPS = 4.0


def long_clip(make_scene, blur: float = 0.0, everywhere: bool = False) -> Clip:
    """Ten seconds; blurred more and more, or alike throughout."""
    frames = np.tile(make_scene(0).frames, (3, 1, 1, 1))[:40]
    if blur:
        levels = np.full(40, blur) if everywhere else np.linspace(1e-3, blur, 40)
        frames = np.stack([cv2.GaussianBlur(frame, (0, 0), level) for frame, level in zip(frames, levels, strict=True)])
    return Clip(frames, FPS)


def test_drift_by_hand():
    """Segments of means 90, 80, 70, 60; the ninth frame is a part of none."""
    quality = np.array([91.0, 89, 80, 80, 70, 70, 65, 55, 0])
    assert drift(quality, 2) == Drift(pytest.approx(np.sqrt(125)), -30.0, 75.0, 4)


def test_the_score_ignores_the_direction_and_the_slope_tells_it():
    quality = np.linspace(90, 50, 12)
    worse, better = drift(quality, 3), drift(quality[::-1], 3)
    assert worse.score == pytest.approx(better.score)
    assert worse.slope == -better.slope < 0


def test_below_four_segments_there_is_none(make_scene):
    with pytest.raises(ValueError, match="at least 4 segments of 32 frames, got 127"):
        drift(np.ones(127), 32)
    assert drift_of(make_scene(0)) is None


def test_growing_blur_drifts_and_even_blur_does_not(make_scene):
    true, mild, strong = (drift_of(long_clip(make_scene, blur)) for blur in (0, 0.8, 2))
    assert true.segments == 5
    assert true.score < 3 < mild.score < strong.score
    assert strong.slope < mild.slope < -3
    even = drift_of(long_clip(make_scene, 2, everywhere=True))
    assert even.score < 3
    assert even.quality < 0.5 * true.quality  # why the score is never read alone


def test_still_clips_have_no_drift_to_speak_of():
    assert not says_something([0] * 24 + [1])
    assert says_something([0] * 19 + [1])
