"""Sets of clips: prompts x seeds, their manifest, and going on after an interrupt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fewstep
from fewstep.cli import main
from fewstep.clips import ClipSet
from fewstep.manifest import file_hash
from fewstep.pipeline import Pipeline
from fewstep.video import read_video

PROMPTS = ["a red ball", "a blue square", "a green cube moves"]


@pytest.fixture(scope="module")
def pipe(student: Path) -> Pipeline:
    return fewstep.load(str(student), dtype="float32", device="cpu")


def clip_set(pipe: Pipeline, folder: Path, *, steps: int = 2, **changes: object) -> ClipSet:
    shot = pipe.shot(steps=steps, frames=21)
    values = {"prompts": PROMPTS, "seeds": (0, 1), "output": folder / "x.mp4", "resumable": True, "batch": 2, **changes}
    return ClipSet(pipeline=pipe, shot=shot, **values)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def videos(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mp4"))}


def test_every_clip_is_a_file_and_a_line_that_says_what_it_is(pipe: Pipeline, tmp_path: Path):
    made = list(clip_set(pipe, tmp_path).make())
    assert [each.take.target.name for each in made] == [entry["file"] for entry in lines(tmp_path)]
    assert list(videos(tmp_path)) == [f"x-{i:03d}-seed{seed}.mp4" for i in range(3) for seed in (0, 1)]
    for entry in lines(tmp_path):
        assert entry["sha256"] == file_hash(tmp_path / entry["file"])
        assert entry["prompt"] == PROMPTS[entry["index"]]
        assert (entry["frames"], entry["height"], entry["width"], entry["fps"]) == (21, 32, 48, 16.0)
        assert (entry["network_evaluations"], entry["commits"]) == (4, 1)
        assert entry["sampling"]["plan"]["rest"] == list(pipe.passport.levels[:2])
        assert set(entry["seconds"]) == {"text", "denoise", "decode", "write", "total"}


def test_the_files_show_what_generate_makes(pipe: Pipeline, tmp_path: Path):
    made = list(clip_set(pipe, tmp_path, seeds=(1,), enlarge=4, keep=True).make())
    alone = pipe.generate(PROMPTS, steps=2, frames=21, seed=1, batch=2).frames
    for each, frames in zip(made, alone, strict=True):
        assert np.array_equal(each.frames, frames)
        seen = read_video(each.take.target).frames
        assert seen.shape == (21, 128, 192, 3)
        assert np.abs(seen[:, 1::4, 1::4].astype(int) - frames).mean() < 12


def test_an_interrupted_set_goes_on_and_ends_as_if_it_had_not_been(pipe: Pipeline, tmp_path: Path):
    whole = [each.frames for each in clip_set(pipe, tmp_path / "whole", keep=True).make()]
    steps = 0

    def interrupt(chunk: int, step: int, x0: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:  # in the middle of the second batch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(clip_set(pipe, tmp_path / "half").make(interrupt))
    assert [path.name for path in sorted((tmp_path / "half").iterdir())] == [
        "manifest.jsonl",
        "x-000-seed0.mp4",
        "x-001-seed0.mp4",
    ]
    again = clip_set(pipe, tmp_path / "half", keep=True)
    assert (len(again.missing), again.num_steps) == (4, 4 * 4)
    made = list(again.make())
    assert [bool(each.seconds) for each in made] == [False, False, True, True, True, True]
    assert all(np.array_equal(each.frames, frames) for each, frames in zip(made[2:], whole[2:], strict=True))
    assert list(videos(tmp_path / "half")) == list(videos(tmp_path / "whole"))
    assert not clip_set(pipe, tmp_path / "half").missing


def test_a_lost_clip_is_made_again_and_its_neighbours_stay(pipe: Pipeline, tmp_path: Path):
    list(clip_set(pipe, tmp_path).make())
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.mp4")}
    lost = tmp_path / "x-001-seed1.mp4"
    before = read_video(lost).frames
    lost.write_bytes(b"half a clip")
    list(clip_set(pipe, tmp_path).make())
    assert np.abs(read_video(lost).frames.astype(int) - before).mean() < 2
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [lost]


def test_more_seeds_are_added_to_a_set(pipe: Pipeline, tmp_path: Path):
    list(clip_set(pipe, tmp_path).make())
    more = clip_set(pipe, tmp_path, seeds=(0, 1, 2))
    assert {take.seed for take in more.missing} == {2}


def test_frames_are_kept_when_asked_for_whether_made_or_there(pipe: Pipeline, tmp_path: Path):
    made = [each.frames for each in clip_set(pipe, tmp_path, seeds=(0,), keep=True, enlarge=4).make()]
    read = [each.frames for each in clip_set(pipe, tmp_path, seeds=(0,), keep=True, enlarge=4).make()]
    for new, old in zip(made, read, strict=True):
        assert new.shape == old.shape == (21, 32, 48, 3)
        assert np.abs(new.astype(int) - old).mean() < 12
    assert all(each.frames is None for each in clip_set(pipe, tmp_path, seeds=(0,), enlarge=4).make())


@pytest.mark.parametrize(
    ("changes", "message"), [({"steps": 1}, "sampling.plan"), ({"batch": 3}, "batch"), ({"enlarge": 2}, "enlarge")]
)
def test_other_settings_are_refused_before_anything_is_made(
    pipe: Pipeline, tmp_path: Path, changes: dict, message: str
):
    list(clip_set(pipe, tmp_path, seeds=(0,)).make())
    before = videos(tmp_path)
    with pytest.raises(ValueError, match=message):
        list(clip_set(pipe, tmp_path, **changes).make())
    assert videos(tmp_path) == before


def test_the_command_goes_on_with_a_set_and_refuses_another_in_its_place(student: Path, tmp_path: Path, capsys):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    words = ["generate", "--prompts", tmp_path / "prompts.txt", "--model", student, "--steps", 1, "--frames", 9]
    words = [str(word) for word in [*words, "-o", tmp_path / "clips" / "x.mp4"]]
    assert main(words) == 0
    assert main(words) == 0
    assert capsys.readouterr().out.count("was there") == 3
    (tmp_path / "prompts.txt").write_text("\n".join(["a blue ball", *PROMPTS[1:]]))
    assert main(words) == 2
    assert "prompt 'a red ball', not 'a blue ball'" in " ".join(capsys.readouterr().err.split())


def test_one_clip_alone_has_no_manifest_and_is_made_anew(student: Path, tmp_path: Path):
    words = ["generate", "a red ball", "--model", str(student), "--frames", "9", "-o", str(tmp_path / "x.gif")]
    assert main([*words, "--steps", "1"]) == 0
    assert main([*words, "--steps", "2"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.gif"]
