"""A cut changes more than movement does."""

from __future__ import annotations

import numpy as np
import pytest

from fewstep.ingest.cuts import CutFinder
from fewstep.shapes.dataset import ShapeWorld
from fewstep.types import Frames


def cuts(frames: Frames, jump: float = 3.0) -> list[int]:
    finder = CutFinder(jump)
    return [number for number, picture in enumerate(frames) if finder.is_cut(picture)]


def test_every_change_of_clip_is_found_and_nothing_else() -> None:
    world = ShapeWorld(0, "train")
    clips = [world.clip(index)[0][:16] for index in range(12)]
    assert cuts(np.concatenate(clips)) == [16 * k for k in range(1, 12)]


def test_fast_movement_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    texture = np.repeat(np.repeat(rng.integers(0, 255, (16, 64, 3)), 8, axis=0), 8, axis=1).astype(np.uint8)
    pan = np.stack([texture[:, 12 * k : 12 * k + 128] for k in range(30)])
    change = np.abs(np.diff(pan.astype(int), axis=0)).mean() / 255
    assert change > 0.15  # three times what a cut needs at least
    assert cuts(pan) == []
    assert cuts(np.concatenate([pan, pan // 2])) == [30]


@pytest.mark.parametrize("count", [1, 2])
def test_in_a_scenes_first_moments_only_other_colours_are_a_cut(count: int) -> None:
    dark, light = np.full((count, 32, 32, 3), 30, np.uint8), np.full((4, 32, 32, 3), 200, np.uint8)
    assert cuts(np.concatenate([dark, light])) == [count]
    square = np.full((4, 32, 32, 3), 30, np.uint8)
    square[:, 4:14, 4:14] = 250
    assert cuts(np.concatenate([dark, square])) == []
