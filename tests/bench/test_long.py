"""Verdicts on long rollouts: flat is flat, growth is growth, and what cannot be told is said to be so."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fewstep.bench.flatness import Flatness, at_the_end, flatness
from fewstep.bench.long import MEMORY_BOUND, ChunkCost, LongRollout, Segment, Settings
from fewstep.bench.long_chart import draw_long_rollout
from fewstep.models.cache import Context


def test_growth_is_measured_after_the_warm_up_against_its_first_third():
    # 12 values, 3 of warm-up, then thirds of 3: the median 100, and later at most 103
    series = [10, 500, 90, 100, 99, 104, 100, 100, 100, 101, 103, 100]
    found = flatness(series, max, MEMORY_BOUND)
    assert found.change == pytest.approx(0.03)
    assert found.held is False
    assert str(found) == "NOT flat: +3.0%, bound 2%"


def test_time_counts_at_the_end_and_as_a_median_so_that_one_slow_chunk_is_none():
    series = [5.0] * 4 + [1.0] * 4 + [9.0, 1.0, 1.0, 1.0] + [1.1, 7.0, 1.1, 1.1]
    assert flatness(series, at_the_end, 0.1).change == pytest.approx(0.1)
    assert flatness([1.0] * 20, at_the_end, 0.1).held is True
    slowing = [1 + 0.02 * i for i in range(40)]
    assert flatness(slowing, at_the_end, 0.1).held is False
    assert flatness(slowing[::-1], at_the_end, 0.1).held is False


def test_a_short_series_tells_nothing():
    short = flatness([1.0] * 11, max, 0.1)
    assert short.held is None
    assert "cannot be told" in str(short)
    assert flatness([1.0] * 12, max, 0.1).held is True


def made(chunks: int, segments: int, growing: float = 0.0) -> LongRollout:
    """A rollout of 16 pictures a second with chunks of 8, two of them to a segment of a quarter of its length."""
    settings = Settings(
        model="toy",
        fingerprint="0",
        device="CPU",
        dtype="float32",
        threads=1,
        torch="2",
        levels=((1.0, 0.5), (1.0,)),
        context=Context(1, 9, "relative"),
        recache=False,
        prompts=("one", "two"),
        seed=0,
        fps=16.0,
        size=(64, 64),
    )
    costs = [ChunkCost(i / 2, 8, int(i >= chunks // 2), 0.5 + growing * i, 0.4) for i in range(chunks)]
    pieces = [
        Segment(2.0 * i, 0, 50.0 + 10 * (i % 2), i % 4 == 0, 0.1, {"process": 100.0 + growing * i})
        for i in range(segments)
    ]
    quality = np.repeat([segment.quality for segment in pieces], 32).tolist()
    return LongRollout(settings, chunks=costs, segments=pieces, quality=quality)


def test_conclusions_follow_from_what_was_measured():
    found = made(chunks=64, segments=16).to_json()["found"]
    assert found["frames"] == 512
    assert found["frames_per_second"] == pytest.approx(16)
    assert found["dynamic_degree"] == 0.25
    assert found["drift"] == {"score": pytest.approx(5), "slope": 10.0, "quality": 55.0, "segments": 16}
    assert {name: each["held"] for name, each in found["flat"].items()} == {
        "memory of the process": True,
        "time per picture": True,
        "processor time per picture": True,
    }
    flat = made(chunks=64, segments=16, growing=0.5).flat
    assert (flat["memory of the process"].held, flat["time per picture"].held) == (False, False)
    assert flat["processor time per picture"].held is True


def test_the_steps_are_told_with_the_chunk_that_takes_more():
    settings = made(chunks=2, segments=0).settings
    assert settings.told_steps == "1 step a chunk, 2 for the first"
    assert replace(settings, enhanced=1).told_steps == "1 step a chunk, 2 for the second"
    assert replace(settings, levels=((1.0, 0.5), (1.0, 0.5))).told_steps == "2 steps a chunk"


def test_the_dynamic_degree_of_no_segment_is_told_in_words():
    assert made(chunks=2, segments=0).told_dynamic_degree == "too short to tell"
    assert made(chunks=64, segments=16).told_dynamic_degree == "25%"


def test_a_rollout_too_short_to_judge_is_json_all_the_same():
    short = made(chunks=2, segments=0).to_json()
    assert short["found"]["dynamic_degree"] is None
    assert short["found"]["drift"] is None
    assert short["found"]["flat"]["time per picture"] == {"change": None, "bound": 0.1, "held": None}
    assert "NaN" not in json.dumps(short)
    assert math.isnan(Flatness(math.nan, 0.1).change)


@pytest.mark.parametrize(("chunks", "segments"), [(64, 16), (2, 0)])
def test_the_picture_is_drawn_of_long_and_short_ones(tmp_path, chunks, segments):
    path = tmp_path / "long.png"
    draw_long_rollout(made(chunks, segments), path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[0] > 500
    blue = (np.abs(picture.astype(int) - (0x00, 0x72, 0xB2)).sum(-1) < 20).sum()
    assert blue > 20
