from __future__ import annotations

import numpy as np
import pytest

from fewstep.evaluation.scores import COLUMNS, PLACE, resample, row_of, values_of
from fewstep.evaluation.shapebench import score_clip
from fewstep.shapes.dataset import ShapeWorld


def rows(places) -> list[dict[str, float]]:
    """Perfect clips whose objects begin at these places."""
    perfect = dict.fromkeys(COLUMNS, 1.0)
    return [{**perfect, **dict(zip(PLACE, (x, y, x * x + y * y), strict=True))} for x, y in places]


def test_diversity_is_how_far_apart_two_clips_begin():
    """Of two places 0.6 and 0.8 apart, half of all pairs are one place twice: the root of half of 1."""
    found = resample(values_of(rows([(0.1, 0.1), (0.7, 0.9)])))["diversity"]
    assert found[0] == pytest.approx(100 * np.sqrt(0.5))
    places = np.random.default_rng(0).random((50, 2))
    pairs = ((places[:, None] - places[None]) ** 2).sum(-1)
    assert resample(values_of(rows(places)))["diversity"][0] == pytest.approx(100 * np.sqrt(pairs.mean()))


def test_clips_that_all_begin_alike_have_no_diversity_and_older_rows_tell_none():
    same = rows([(0.3, 0.6)] * 5)
    assert np.abs(resample(values_of(same))["diversity"]).max() < 1e-3
    older = [{name: value for name, value in row.items() if name not in PLACE} for row in same]
    assert np.isnan(resample(values_of(older))["diversity"]).all()


def test_the_place_of_a_true_clip_is_where_its_objects_begin():
    frames, _, scene = ShapeWorld(8101).clip(0)
    moved = np.roll(frames, 6, axis=2)
    one, other = (row_of(score_clip(clip, scene)) for clip in (frames, moved))
    assert 0 < one["place_x"] < 1
    assert one["place_square"] == pytest.approx(one["place_x"] ** 2 + one["place_y"] ** 2)
    assert other["place_x"] - one["place_x"] == pytest.approx(6 / 64, abs=0.02)
    assert other["place_y"] == pytest.approx(one["place_y"], abs=0.02)
