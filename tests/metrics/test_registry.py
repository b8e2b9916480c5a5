"""Every metric under every control: what is damaged must score worse, and what is not damaged must not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from fewstep.evaluation.sampling import FINE_CRF
from fewstep.metrics.base import Clip
from fewstep.metrics.frame_features import Layout
from fewstep.metrics.registry import clip_metrics
from fewstep.video import read_video, shrink, write_video

METRICS = clip_metrics()


@pytest.fixture(scope="module")
def score(controls):
    """Mean of a metric over the clips of a control."""

    @cache
    def mean(metric: str, control: str) -> float:
        return float(np.mean([METRICS[metric].measure(clip) for clip in controls[control]]))

    return mean


BETTER_TO_WORSE = [
    ("temporal_flickering", "frozen", "truth", "noise 5", "noise 15", "pure noise"),
    ("temporal_flickering", "truth", "jitter 1", "jitter 3"),
    ("temporal_flickering", "truth", "shuffled"),
    ("motion_smoothness", "frozen", "truth", "jitter 1", "jitter 3", "pure noise"),
    ("motion_smoothness", "truth", "noise 5", "noise 15"),
    ("motion_smoothness", "truth", "shuffled"),
    ("subject_consistency", "frozen", "truth", "noise 15", "pure noise"),
    ("subject_consistency", "truth", "ramp 30", "ramp 90"),
    ("subject_consistency", "truth", "other colour"),
    ("background_consistency", "frozen", "truth", "noise 15", "pure noise"),
    ("background_consistency", "truth", "ramp 30", "ramp 90"),
    ("background_consistency", "truth", "jitter 3"),
    ("i2v_subject", "frozen", "truth", "noise 15", "pure noise"),
    ("i2v_background", "frozen", "truth", "noise 15", "pure noise"),
    ("i2v_background", "truth", "jitter 3"),
    ("imaging_quality", "truth", "blur 1", "blur 2", "grey"),
    ("imaging_quality", "truth", "noise 5", "noise 15", "pure noise"),
    ("imaging_quality", "truth", "grid 8"),
    ("imaging_quality", "truth", "grid 16"),
]


@pytest.mark.parametrize("case", BETTER_TO_WORSE, ids=" > ".join)
def test_damage_lowers_the_metric_that_is_meant_for_it(score, case):
    metric, *order = case
    values = [score(metric, control) for control in order]
    assert METRICS[metric].better == "higher"
    assert all(one > other + 1e-4 for one, other in pairwise(values)), values


@pytest.mark.parametrize(
    ("metric", "control", "low", "high"),
    [
        ("dynamic_degree", "truth", 1, 1),
        ("dynamic_degree", "frozen", 0, 0),
        ("dynamic_degree", "pure noise", 0, 0),
        ("dynamic_degree", "noise 5", 1, 1),
        ("dynamic_degree", "ramp 30", 1, 1),
        ("dynamic_degree_ungated", "frozen", 0, 0),
        ("dynamic_degree_ungated", "pure noise", 1, 1),
        ("motion_collapse", "truth", 0, 0),
        ("motion_collapse", "frozen", 1, 1),
        ("motion_collapse", "grey", 1, 1),
        ("still_share", "truth", 0, 0.2),
        ("still_share", "frozen", 1, 1),
        ("motion", "frozen", 0, 0),
        ("subject_consistency", "frozen", 1, 1),
        ("background_consistency", "frozen", 1, 1),
        ("i2v_subject", "frozen", 1, 1),
        ("subject_consistency", "pure noise", 0, 0.05),
        ("background_consistency", "pure noise", 0, 0.05),
        ("imaging_quality", "pure noise", 0, 5),
        ("imaging_quality", "grey", 0, 0),
        ("camera_speed", "truth", 0, 0.01),
        ("camera_speed", "frozen", 0, 0.01),
    ],
)
def test_a_control_lies_where_theory_puts_it(score, metric, control, low, high):
    assert low - 1e-6 <= score(metric, control) <= high + 1e-6


@pytest.mark.parametrize("control", ["grid 8", "grid 16"])
def test_a_grid_stands_out_and_other_damage_does_not(score, control):
    others = ("truth", "frozen", "mirrored", "noise 5", "noise 15", "pure noise", "blur 2", "jitter 1", "shuffled")
    assert score("grid_energy", control) > 8 + max(score("grid_energy", other) for other in others)


@pytest.mark.parametrize("metric", [name for name in METRICS if not name.startswith(("i2v", "camera_m", "drift"))])
def test_a_mirrored_clip_scores_the_same(score, metric):
    tolerance = 5.0 if metric == "grid_energy" else 0.01 * max(1, abs(score(metric, "truth")))
    assert score(metric, "mirrored") == pytest.approx(score(metric, "truth"), abs=tolerance)


CODEC = {"imaging_quality": 1.0, "grid_energy": 1.0}
"""What the file may move a clip's score by, in its own unit; 0.01 of the others."""


def test_the_file_that_sampling_writes_moves_every_score_by_little(clips, tmp_path):
    """H.264 with halved chroma, twice as large, or it would blur colours at 64 x 64."""
    for clip in (replace(clip, prompt="the camera is static") for clip in clips):
        write_video(tmp_path / "clip.mp4", clip.frames, clip.fps, enlarge=2, crf=FINE_CRF)
        worn = replace(clip, frames=shrink(read_video(tmp_path / "clip.mp4").frames, 2))
        for name, metric in METRICS.items():
            before, after = metric.measure(clip), metric.measure(worn)
            assert after == pytest.approx(before, abs=CODEC.get(name, 0.01), nan_ok=name.startswith("drift")), name


def test_metrics_say_nothing_where_they_cannot(clips):
    clip = Clip(clips[0].frames, clips[0].fps)
    unsaid = {name for name, metric in METRICS.items() if np.isnan(metric.measure(clip))}
    assert unsaid == {"i2v_subject", "i2v_background", "camera_motion", "drift", "drift_slope"}
    assert {name for name, metric in METRICS.items() if metric.needs_picture} == {"i2v_subject", "i2v_background"}


def test_the_least_number_of_frames_is_enough(clips):
    for metric in METRICS.values():
        shortest = Clip(clips[0].frames[: metric.minimum_frames], 8.0, begins_with=clips[0].begins_with)
        assert isinstance(metric.measure(shortest), float), metric.name


def test_a_metric_names_the_features_it_rests_on():
    found = clip_metrics(subject=Layout())
    assert found["subject_consistency"].extractor == found["background_consistency"].extractor == Layout().id
    assert METRICS["subject_consistency"].extractor.startswith("appearance:")
    assert METRICS["motion_smoothness"].extractor is None
