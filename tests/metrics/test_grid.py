from __future__ import annotations

import cv2
import numpy as np
import pytest

from fewstep.metrics.grid import grid_energy, line_steps


def lines(period: int, height: int = 96, width: int = 128) -> np.ndarray:
    frames = np.random.default_rng(0).normal(128, 3, (4, height, width, 3))
    frames[:, :, period - 1 :: period] += 10
    return frames.astype(np.uint8)


@pytest.mark.parametrize("period", [8, 16])
def test_a_grid_stands_out_at_its_own_period(period):
    assert grid_energy(lines(period), period) > 15
    assert abs(grid_energy(np.random.default_rng(1).integers(0, 256, (4, 96, 128, 3)).astype(np.uint8), period)) < 5
    assert grid_energy(lines(11), period) < 5


def test_rows_count_like_columns():
    frames = lines(8)
    assert grid_energy(frames.transpose(0, 2, 1, 3), 8) == pytest.approx(grid_energy(frames, 8))


def test_a_flat_picture_has_no_grid_and_a_small_one_cannot_tell():
    assert grid_energy(np.full((2, 64, 64, 3), 50, np.uint8), 8) == 0
    assert np.isnan(grid_energy(np.zeros((2, 31, 64, 3), np.uint8), 8))


def test_steps_across_lines_are_counted_in_levels():
    """Stripes of 8 pixels, 20 levels apart, step by 20 at each line and by 0 between them; other edges do not count."""
    stripes = np.repeat((np.arange(8) % 2 * 20).astype(np.uint8), 8)
    frame = np.broadcast_to(stripes[None, :, None], (64, 64, 3))
    assert line_steps(frame[None]).tolist() == [20]
    edge = np.zeros((64, 64, 3), np.uint8)
    edge[:, 32:] = 255
    assert line_steps(np.stack([edge, frame])).tolist() == [0, 20]


def test_a_codecs_blocks_are_seen(make_scene):
    frame = np.kron(make_scene(0).frames[0], np.ones((2, 2, 1), np.uint8))
    _, packed = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 5])
    assert np.diff(line_steps(np.stack([frame, cv2.imdecode(packed, cv2.IMREAD_COLOR)]))) > 2
