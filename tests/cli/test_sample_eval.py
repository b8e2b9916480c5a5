"""Sample once, score many, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewstep.cli import main
from fewstep.commands.sample import read_seeds, read_shard
from fewstep.video import read_video

FAST = ["--frames", "9", "--device", "cpu", "--dtype", "float32", "--batch", "2"]
METRICS = ["--metrics", "temporal_flickering,imaging_quality", "shapebench"]


@pytest.fixture(scope="module")
def clips(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of a student's clips."""
    root = tmp_path_factory.mktemp("clips")
    (root / "prompts.txt").write_text("a red ball\na blue square\na red square\n")
    words = ["sample", f"mine={student}", "--plans", "2,1*", "--prompts", str(root / "prompts.txt"), "--count", "2"]
    for shard in ("1/2", "2/2"):
        assert main([*words, "--seeds", "0,3", "--shard", shard, "-o", str(root / "out"), *FAST]) == 0
    return root / "out"


def test_sample_makes_a_folder_for_each_model_and_plan(clips: Path):
    assert sorted(path.name for path in clips.iterdir()) == ["mine-seed0-1star", "mine-seed0-2"]
    names = sorted(path.name for path in (clips / "mine-seed0-2").glob("*.mp4"))
    assert names == [f"clip-{index:03d}-seed{seed}.mp4" for index in (0, 1) for seed in (0, 3)]
    assert read_video(clips / "mine-seed0-2" / names[0]).frames.shape == (9, 64, 96, 3)


def test_eval_scores_folders_and_compares_them(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    folders = [str(clips / name) for name in ("mine-seed0-2", "mine-seed0-1star")]
    words = ["eval", *folders, *METRICS, "--json", str(tmp_path / "all.json")]
    assert main(words) == 0
    first = " ".join(capsys.readouterr().out.split())
    assert "Minus mine-seed0-2" in first
    assert "mine-seed0-2: 4 of 4 clips of 2 prompts" in first
    assert "shapebench: 4 clips: needs prompts of ShapeWorld" in first
    found = json.loads((tmp_path / "all.json").read_text())
    measures = {each["name"]: each for each in found["folders"][0]["measures"]}
    assert set(measures) == {"temporal_flickering", "imaging_quality"}
    assert measures["temporal_flickering"]["samples"] == 4
    assert set(found["differences"]["mine-seed0-1star"]) == set(measures)
    times = {path: path.stat().st_mtime_ns for path in clips.rglob("scores.jsonl")}
    assert main([*words, "--markdown"]) == 0
    assert "| Temporal flickering" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in clips.rglob("scores.jsonl")} == times


def test_eval_measures_the_distance_from_a_reference_or_says_why_not(clips: Path, capsys: pytest.CaptureFixture):
    folders = [str(clips / name) for name in ("mine-seed0-2", "mine-seed0-1star")]
    words = ["eval", folders[0], "--metrics", "mmd2", "--reference", folders[1], "--extractor"]
    assert main([*words, "random"]) == 0
    assert "need a clip of 31 frames" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "nothing"]) == 2
    assert "an extractor is called" in " ".join(capsys.readouterr().err.split())


def test_eval_lists_its_metrics(capsys: pytest.CaptureFixture):
    assert main(["eval", "--metrics", "list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("temporal_flickering", "shapebench", "fvd", "mmd2"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval"], "one folder of clips or more is required"),
        (["eval", "nowhere"], "a folder of clips with a manifest.jsonl is required"),
        (["eval", "nowhere", "--metrics", "smoothness"], "a metric is required, got 'smoothness'"),
        (["eval", "nowhere", "--metrics", "fvd"], "name the other one with --reference"),
        (["sample", "nowhere"], "no model is called or at 'nowhere'"),
        (["sample", "nowhere", "--shard", "3/2"], "--shard must be PART/PARTS"),
        (["sample", "nowhere", "--seeds", "0,x"], "--seeds must be whole numbers"),
        (["sample", "nowhere", "--prompts", "shapes:train"], "shapes:test or shapes:heldout"),
        (["sample", "nowhere", "--prompts", "none.txt"], "a readable file of prompts is required"),
        (["sample", "nowhere", "--threads", "0"], "--threads must be 1 or more"),
    ],
)
def test_what_cannot_be_done_is_one_message(words: list[str], message: str, capsys: pytest.CaptureFixture):
    assert main(words) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert message in err
    assert "Traceback" not in err


def test_a_student_without_the_scenes_format_is_told_so(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["sample", str(student), "-o", str(tmp_path), *FAST]) == 2
    assert "ShapeWorld's clips are square" in " ".join(capsys.readouterr().err.split())


def test_words_are_read():
    assert read_shard("2/4") == (1, 4)
    assert read_seeds(("0,1", "7")) == (0, 1, 7)
