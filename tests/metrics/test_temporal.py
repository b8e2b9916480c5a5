from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.temporal import motion_smoothness, temporal_flickering


def test_flickering_by_hand():
    """Changes of 10 and 41 on average are 25.5 of 255: a tenth."""
    frames = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (100, 110, 69)])
    assert temporal_flickering(frames) == pytest.approx(0.9)


def test_flickering_does_not_care_for_the_direction_of_time(make_scene):
    frames = make_scene(0).frames
    assert temporal_flickering(frames[::-1]) == pytest.approx(temporal_flickering(frames))


def test_smoothness_by_hand():
    """Without flow, the frame between 10 and 30 is made as 20; the true one is 71, a fifth of 255 away."""
    frames = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (10, 71, 30)])
    assert motion_smoothness(frames, np.zeros((1, 8, 8, 2), np.float32)) == pytest.approx(0.8)
