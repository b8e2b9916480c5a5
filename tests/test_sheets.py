from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewstep.sheets import contact_sheet, video_grid
from fewstep.video import write_image


def moving_square(frames: int = 9, height: int = 32, width: int = 48) -> np.ndarray:
    clip = np.full((frames, height, width, 3), (20, 60, 160), np.uint8)
    for index in range(frames):
        clip[index, 8:24, 2 + 2 * index : 18 + 2 * index] = (230, 200, 40)
    return clip


def test_a_grid_holds_the_last_frame_of_shorter_clips_and_labels_each():
    short, long = moving_square(3), moving_square(9)
    grid = video_grid([short, long, long], ["a", "a much longer label than fits\nsecond line", "шар 球 🎈"], columns=2)
    assert len(grid) == 9
    assert grid.dtype == np.uint8
    y, x = (int(v) for v in np.argwhere((grid[0] == short[0, 0, 0]).all(-1))[0])
    assert (grid[8, y : y + 32, x : x + 48] == short[-1]).all()


def test_a_contact_sheet_shows_first_and_last_moment(tmp_path: Path):
    clip = moving_square()
    sheet = contact_sheet([clip], ["one"], columns=1, moments=3)
    flat = sheet.reshape(-1, 3)
    assert sheet.shape[1] >= 3 * 48
    assert (flat == clip[0, 10, 10]).all(-1).any()
    write_image(tmp_path / "sheet.png", sheet)
    with pytest.raises(ValueError, match="one label per clip"):
        contact_sheet([clip], [], columns=1)
