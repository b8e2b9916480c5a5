from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewstep.evaluation.clip_folder import ClipFolder
from fewstep.evaluation.judges import ShapeJudge, choose, mean_row
from fewstep.evaluation.prompts import describe_scene
from fewstep.evaluation.scores import COLUMNS, row_of
from fewstep.evaluation.scoring import score_folder
from fewstep.evaluation.shapebench import score_clip
from fewstep.manifest import ManifestError
from fewstep.metrics.registry import clip_metrics
from fewstep.metrics.sets import set_metrics
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.scene import World

WORLD = World(frames=9)


def test_shapebench_of_a_folder_is_shapebench_of_its_clips(tmp_path: Path, add_clip: Callable):
    source = ShapeWorld(3, "train", WORLD)
    for index in range(2):
        frames, caption, scene = source.clip(index)
        add_clip(tmp_path, frames, index, prompt=caption, enlarge=2, scene=describe_scene(scene, WORLD))
    folder = ClipFolder.open(tmp_path)
    found = score_folder(folder, [ShapeJudge()])
    for entry in folder.entries:
        index = entry.settings.index
        direct = row_of(score_clip(folder.read(entry).frames, source.scene(index)[0], WORLD))
        row = found.rows["shapebench"][index, 0]
        assert [row[name] for name in COLUMNS] == pytest.approx(
            [direct[name] for name in COLUMNS], nan_ok=True, rel=1e-6
        )
        # what the file loses moves no score by more than a point of 100, noise in flat colours aside
        exact = row_of(score_clip(source.clip(index)[0], source.scene(index)[0], WORLD))
        losses = {name: abs(row[name] - exact[name]) for name in COLUMNS if name not in ("imaging_quality", "change")}
        assert max(loss for loss in losses.values() if np.isfinite(loss)) < 0.01
    estimates = found.estimates()
    assert estimates["shapebench.color"].value > 99
    assert estimates["shapebench.color"].samples == 2


def test_shapebench_says_nothing_of_other_prompts_and_refuses_damaged_scenes(
    tmp_path: Path, add_clip: Callable, grey: Callable
):
    add_clip(tmp_path / "a", grey(40))
    found = score_folder(ClipFolder.open(tmp_path / "a"), [ShapeJudge()])
    assert "needs prompts of ShapeWorld" in found.reasons()["shapebench"]
    add_clip(tmp_path / "b", grey(40), scene={"scene": {"objects": []}, "world": {}})
    with pytest.raises(ManifestError, match="scene of ShapeWorld was required for 'a red ball'"):
        score_folder(ClipFolder.open(tmp_path / "b"), [ShapeJudge()])


def test_a_prompts_row_is_the_mean_of_what_is_known():
    rows = [{"a": 1.0, "b": float("nan")}, {"a": 2.0, "b": float("nan")}, {"a": float("nan"), "b": float("nan")}]
    assert mean_row(rows)["a"] == 1.5
    assert np.isnan(mean_row(rows)["b"])


def test_metrics_are_chosen_by_name():
    frames, sets = clip_metrics(), set_metrics()
    judges, distances = choose(["all"], frames, sets)
    assert [judge.name for judge in judges] == [*frames, "shapebench"]
    assert [metric.name for metric in distances] == [*sets]
    judges, distances = choose(["shapebench", "temporal_flickering", "fvd"], frames, sets)
    assert [judge.name for judge in judges] == ["temporal_flickering", "shapebench"]
    assert [metric.name for metric in distances] == ["fvd"]
    with pytest.raises(ValueError, match="got 'flickering': perhaps you meant 'temporal_flickering'"):
        choose(["flickering"], frames, sets)


def test_no_two_measures_have_one_name():
    judges, _ = choose(["all"], clip_metrics(), set_metrics())
    names = [name for judge in judges for name in judge.measures]
    assert len(names) == len(set(names))
