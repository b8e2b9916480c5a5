from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewstep.metrics.base import Clip
from fewstep.metrics.motion import (
    collapse_of,
    compare_motion,
    dynamic_degree_of,
    fast_pairs,
    is_dynamic,
    motion_of,
    still_share_of,
    top_speeds,
)


def test_the_pace_of_a_pair_is_that_of_its_fastest_twentieth():
    flows = np.zeros((1, 10, 10, 2), np.float32)
    flows[0, 0, :5] = [3, 4]
    flows[0, 0, 5] = [2, 0]
    assert top_speeds(flows) == pytest.approx([5.0])


def test_the_threshold_grows_with_the_frame_and_with_the_time_between_frames():
    """6 px at 256: 1.5 px at 64."""
    flows = np.zeros((2, 64, 64, 2), np.float32)
    flows[0, ..., 0], flows[1, ..., 0] = 1.6, 1.4
    assert fast_pairs(flows).tolist() == [True, False]
    assert fast_pairs(flows, slowness=2.0).tolist() == [False, False]
    assert fast_pairs(np.kron(flows, np.ones((1, 2, 2, 1)))).tolist() == [False, False]


@pytest.mark.parametrize(("pairs", "needed"), [(1, 1), (2, 1), (5, 2), (15, 4), (16, 4), (31, 8)])
def test_a_quarter_of_the_frames_must_be_fast_and_one_at_least(pairs, needed):
    fast = np.arange(pairs) < needed
    assert is_dynamic(fast)
    fast[0] = False
    assert not is_dynamic(fast)


def test_one_frame_says_nothing_of_motion(make_scene):
    clip = make_scene(0)
    single = replace(clip, frames=clip.frames[:2])  # of which one is kept at 8 fps
    assert np.isnan([dynamic_degree_of(single, gated=True), motion_of(single), still_share_of(single)]).all()


def test_two_still_frames_are_not_dynamic(make_scene):
    frames = np.repeat(make_scene(0).frames[:1], 2, axis=0)
    assert dynamic_degree_of(Clip(frames, 8.0), gated=False) == 0


def test_motion_is_measured_in_sides_per_second(make_scene):
    """1.5 px a frame at 16 fps are 24 px a second, three eighths of 64."""
    assert motion_of(make_scene(1, speed=1.5)) == pytest.approx(24 / 64, rel=0.15)
    assert motion_of(make_scene(1, speed=0.75)) < 0.7 * motion_of(make_scene(1, speed=1.5))


def test_a_clip_that_stops_midway_has_collapsed_and_one_that_starts_late_has_not(make_scene):
    clip = make_scene(0, speed=1.5)
    stops = replace(clip, frames=np.concatenate([clip.frames[:8], np.repeat(clip.frames[8:9], 9, axis=0)]))
    late = replace(clip, frames=np.concatenate([np.repeat(clip.frames[:1], 8, axis=0), clip.frames[:9]]))
    assert (collapse_of(clip), collapse_of(stops), collapse_of(late)) == (0, 1, 0)
    assert still_share_of(stops) == pytest.approx(0.5)


def test_collapse_of_a_set_is_relative_to_its_reference():
    reference = np.array([0.4, 0.4, 0.2, 0.0])
    lost = compare_motion(np.array([0.0, 0.1, 0.0, 0.0]), reference)
    assert lost.collapsed
    assert (lost.kept, lost.stopped) == (pytest.approx(0.1), pytest.approx(2 / 3))
    assert not compare_motion(reference, reference).collapsed


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="clip by clip, got 2 clips and 3"):
        compare_motion(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="nothing in the reference moves"):
        compare_motion(np.ones(2), np.zeros(2))
