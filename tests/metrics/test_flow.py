from __future__ import annotations

import cv2
import numpy as np
import pytest

from fewstep.metrics.flow import flow_pairs, shrink, stride_of, warp


def test_motion_is_judged_at_about_eight_frames_per_second():
    assert [stride_of(fps) for fps in (4, 8, 11, 16, 24, 30)] == [1, 1, 1, 2, 3, 4]


def test_large_frames_are_shrunk_to_a_short_side_and_small_ones_kept():
    large = np.full((1, 480, 832, 3), 7, np.uint8)
    assert shrink(large).shape == (1, 256, 444, 3)
    small = np.zeros((1, 64, 96, 3), np.uint8)
    assert shrink(small) is small


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_flow_finds_a_shift_in_whichever_channel_shows_it(channel):
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (80, 80)).astype(np.float32), (0, 0), 2)
    texture = np.clip((texture - 128) * 4 + 128, 0, 255).astype(np.uint8)
    frames = np.full((3, 64, 64, 3), 128, np.uint8)
    for t in range(3):
        frames[t, ..., channel] = texture[8:72, 2 * t : 2 * t + 64]  # the view goes right, the picture left
    (flow,) = flow_pairs(frames, 2)
    assert np.median(flow, axis=(0, 1)) == pytest.approx([-4, 0], abs=0.3)


def test_warping_reads_the_picture_where_the_flow_points():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    right = np.zeros((3, 4, 2), np.float32)
    right[..., 0] = 1
    assert (warp(image, right) == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]).all()
