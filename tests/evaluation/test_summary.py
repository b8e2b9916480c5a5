from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewstep.evaluation.clip_folder import ClipFolder
from fewstep.evaluation.judges import FrameJudge, choose
from fewstep.evaluation.summary import SUMMARY, difference_table, notes, save_all, score_all, score_table
from fewstep.metrics.registry import clip_metrics


def test_the_summary_says_what_every_number_rests_on(greys: Path, brightness: Callable):
    (greys / "clip-001-seed0.mp4").unlink()
    save_all(score_all([ClipFolder.open(greys)], [FrameJudge(brightness(4, extractor="eye-abc").metric)]))
    found = json.loads((greys / SUMMARY).read_text())
    assert (found["folder"], found["models"], found["clips"], found["prompt_count"]) == ("greys", ["by hand"], 4, 4)
    (measure,) = found["measures"]
    assert (measure["metric"], measure["version"], measure["extractor"]) == ("brightness", 4, "eye-abc")
    assert measure["value"] == pytest.approx(80 / 3, abs=1)
    assert measure["low"] < measure["value"] < measure["high"]
    assert (measure["samples"], measure["better"]) == (3, "higher")
    assert [each["file"] for each in found["refused"]] == ["clip-001-seed0.mp4"]


def test_folders_stand_side_by_side_and_minus_the_first(
    greys: Path, tmp_path: Path, grey: Callable, add_clip: Callable, brightness: Callable
):
    for index, level in enumerate((60, 70, 80, 90)):
        add_clip(tmp_path / "light", grey(level), index)
    add_clip(tmp_path / "other", grey(50), 0, prompt="another prompt")
    folders = [ClipFolder.open(path) for path in (greys, tmp_path / "light", tmp_path / "other")]
    summaries = score_all(folders, [FrameJudge(brightness().metric)])
    table = score_table(summaries)
    assert table.header == ("", "greys", "light", "other")
    assert [row[0] for row in table.rows] == ["Brightness ↑"]
    assert [float(text.split()[0]) for text in table.rows[0][1:]] == pytest.approx([25, 75, 50], abs=1)
    differences, problems = difference_table(summaries)
    assert differences.header == ("", "light")
    assert differences.rows[0][1].startswith("+")
    assert float(differences.rows[0][1].split()[0]) == pytest.approx(50, abs=1)
    assert len(problems) == 1
    assert "different prompts" in problems[0]
    plain = json.loads(save_all(summaries))
    assert plain["differences"]["light"]["brightness"]["value"] == pytest.approx(50, abs=1)
    assert plain["not_paired"] == problems
    assert any(line.startswith("other: 1 of 1 clips of 1 prompts") for line in notes(summaries))


def test_the_drift_of_clips_that_hardly_move_is_not_told(tmp_path: Path, grey: Callable, add_clip: Callable):
    """AAD-1's Table 3 prints N/A for its static row."""
    for index in range(2):
        frames = grey(120, 17)
        frames[:, 8:16, 8:16] = np.linspace(0, 200, 17).astype(np.uint8)[:, None, None, None]
        add_clip(tmp_path, frames, index, fps=2.0)
    judges, _ = choose(["drift", "drift_slope", "dynamic_degree"], clip_metrics(), {})
    (summary,) = score_all([ClipFolder.open(tmp_path)], judges)
    assert summary.estimates["dynamic_degree"].value == 0
    assert "drift_slope" in summary.estimates
    assert "drift" not in summary.estimates
    assert "hardly move" in summary.reasons()["drift"]


def test_nor_is_a_difference_to_it(tmp_path: Path, grey: Callable, add_clip: Callable):
    cells = np.random.default_rng(0).integers(0, 255, size=(8, 8, 3)).astype(np.uint8)
    texture = cells.repeat(4, axis=0).repeat(4, axis=1)
    for index in range(2):
        add_clip(tmp_path / "still", grey(120, 17), index, fps=2.0)
        add_clip(tmp_path / "moving", np.stack([np.roll(texture, 3 * at, axis=1) for at in range(17)]), index, fps=2.0)
    judges, _ = choose(["drift", "drift_slope", "dynamic_degree"], clip_metrics(), {})
    for names in (("still", "moving"), ("moving", "still")):
        summaries = score_all([ClipFolder.open(tmp_path / name) for name in names], judges)
        assert sum("drift" in each.estimates for each in summaries) == 1  # one of them moves
        found = json.loads(save_all(summaries))["differences"][names[1]]
        assert "dynamic_degree" in found
        assert "drift" not in found
