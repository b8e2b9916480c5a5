from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewstep.evaluation.clip_folder import ClipFolder
from fewstep.evaluation.set_scoring import FEATURES, Reference, features_of
from fewstep.evaluation.summary import notes, score_all
from fewstep.metrics.base import Estimate
from fewstep.metrics.features import FeatureError, InputFormat
from fewstep.metrics.sets import SetMetric


class Means:
    """Mean colours as features, counting the clips that it sees."""

    id, dim = "means-abc", 3

    def __init__(self, frames: int = 4):
        self.takes, self.seen = InputFormat(frames=frames), 0

    def extract(self, clips: np.ndarray) -> np.ndarray:
        self.seen += len(clips)
        return clips.mean((1, 2, 3)).astype(np.float32)


def far(one: np.ndarray, other: np.ndarray) -> Estimate:
    value = float(np.abs(one.mean(0) - other.mean(0)).mean())
    return Estimate(value, value, value, min(len(one), len(other)))


FAR = SetMetric("far", 1, "Distance of means", 3, far, biased=True, per_feature=2, p_value=lambda one, other: 0.5)


def test_features_are_extracted_once_and_kept_beside_the_clips(greys: Path):
    folder, extractor = ClipFolder.open(greys), Means()
    first = features_of(folder, extractor)
    again = features_of(folder, extractor)
    assert (extractor.seen, len(first)) == (4, 4)
    assert np.array_equal(first.values, again.values)
    assert first.values[:, 0] == pytest.approx([10, 20, 30, 40], abs=1)
    assert len(list((greys / FEATURES / "means-abc").rglob("*.npy"))) == 4


def test_a_folder_is_as_far_from_its_reference_as_the_metric_says(
    greys: Path, tmp_path: Path, grey: Callable, add_clip: Callable
):
    for index in range(3):
        add_clip(tmp_path / "reference", grey(100), index)
    folders = [ClipFolder.open(greys), ClipFolder.open(tmp_path / "reference")]
    ours, itself = score_all(folders, [], Reference(folders[1], Means(), [FAR]))
    (score,) = ours.sets
    assert score.estimate.value == pytest.approx(75, abs=1)
    assert (score.clips, score.extractor, score.reference, score.p_value) == ((4, 3), "means-abc", "reference", 0.5)
    assert itself.sets[0].estimate.value == 0
    plain = ours.to_json()["distances"][0]
    assert (plain["name"], plain["version"], plain["clips"], plain["p_value"]) == ("far", 1, [4, 3], 0.5)
    said = [line for line in notes([ours, itself]) if ": far: " in line]
    assert [line.partition(": far: of ")[2].partition(" clips")[0] for line in said] == ["3 and 4", "3", "3"]
    assert plain["remarks"] == [line.partition(": far: ")[2] for line in said[:2]]


def test_too_few_clips_and_too_short_ones_are_a_reason_and_the_rest_is_scored(
    greys: Path, tmp_path: Path, grey: Callable, add_clip: Callable, brightness: Callable
):
    from fewstep.evaluation.judges import FrameJudge

    for index in range(2):
        add_clip(tmp_path / "few", grey(50), index)
    for index in range(3):
        add_clip(tmp_path / "short", grey(50, 2), index)
    folders = [ClipFolder.open(path) for path in (tmp_path / "few", tmp_path / "short", greys)]
    found = score_all(folders, [FrameJudge(brightness().metric)], Reference(folders[2], Means(), [FAR]))
    assert "needs 3 clips or more" in found[0].reasons()["far"]
    assert "a clip of 4 frames" in found[1].reasons()["far"]
    assert found[2].reasons() == {}
    assert all(summary.estimates["brightness"].samples for summary in found)


def test_clips_that_are_not_what_the_manifest_says_have_no_part(greys: Path):
    (greys / "clip-001-seed0.mp4").write_bytes(b"no video")
    folder = ClipFolder.open(greys)
    told: list[int] = []
    assert len(features_of(folder, Means(), told.append)) == 3
    assert sum(told) == 4
    for entry in folder.entries:
        (greys / entry.file).unlink(missing_ok=True)
    with pytest.raises(FeatureError, match="no clip that is what its manifest says"):
        features_of(folder, Means())
