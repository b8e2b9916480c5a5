"""`fewstep long`: an endless rollout that is measured while it is made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fewstep
from fewstep.bench.long import chunks_of, long_rollout, seconds_of
from fewstep.cli import main
from fewstep.models.cache import Context
from fewstep.pipeline import Pipeline
from fewstep.shot import rolling_context
from fewstep.video import read_video


@pytest.fixture(scope="module")
def pipe(student: Path) -> Pipeline:
    return fewstep.load(str(student), dtype="float32", device="cpu")


def test_the_clip_is_that_of_an_endless_stream_and_its_prompts_take_equal_shares(pipe: Pipeline):
    seen: list[np.ndarray] = []
    words = ["a red ball", "a blue square"]
    made = long_rollout(pipe, words, 2.6, steps=1, recache=True, see=seen.append)
    assert [chunk.frames for chunk in made.chunks] == [9, 12, 12, 12]
    assert [chunk.prompt for chunk in made.chunks] == [0, 0, 1, 1]
    assert [chunk.start for chunk in made.chunks] == [0, 9 / 16, 21 / 16, 33 / 16]
    assert made.frames == 45
    context = Context(sink=3, window=9, rope="relative")
    assert made.settings.context == rolling_context(pipe.passport) == context
    script = iter([words[0]] * 2 + [words[1]] * 2)
    session = pipe.stream(script, steps=1, endless=True, context=context, recache=True)
    assert np.array_equal(np.concatenate(seen), np.concatenate([next(session) for _ in range(4)]))


def test_segments_are_two_seconds_and_a_rest_is_not_judged(pipe: Pipeline):
    made = long_rollout(pipe, ["a red ball"], 4.5, steps=1)
    assert made.frames == 81
    assert [segment.start for segment in made.segments] == [0, 2]
    assert len(made.quality) == 64
    assert made.segments[1].quality == pytest.approx(np.mean(made.quality[32:]))
    assert all(segment.memory_mb["process"] > 50 for segment in made.segments)


def test_a_beginning_is_part_of_the_clip_and_of_no_chunk(pipe: Pipeline):
    picture = np.zeros((32, 48, 3), np.uint8)
    made = long_rollout(pipe, ["a red ball"], 1.0, steps=1, image=picture)
    assert (made.given_frames, [chunk.frames for chunk in made.chunks]) == (1, [12, 12])
    assert made.chunks[0].start == 1 / 16


def test_behind_a_picture_every_chunk_is_a_later_one(pipe: Pipeline):
    assert chunks_of(pipe, 12 / 16, behind=True) == 1  # alone the first chunk has 9 pictures, and then it takes two
    assert chunks_of(pipe, 12 / 16) == 2
    assert chunks_of(pipe, 60.0, behind=True) == 80
    assert seconds_of(pipe, 2, behind=True) == 1.5


@pytest.mark.parametrize(("seconds", "chunks"), [(0.01, 1), (9 / 16, 1), (0.6, 2), (60.0, 81)])
def test_as_many_chunks_as_the_time_takes(pipe: Pipeline, seconds: float, chunks: int):
    assert chunks_of(pipe, seconds) == chunks


@pytest.mark.parametrize(("prompts", "seconds"), [([], 1.0), (["x"], 0.0), (["x"], float("inf"))])
def test_nothing_to_show_or_no_time_is_refused(pipe: Pipeline, prompts, seconds):
    with pytest.raises(ValueError, match="a prompt and a time are required"):
        long_rollout(pipe, prompts, seconds)


def test_more_prompts_than_chunks_are_refused_with_the_seconds_that_they_take(pipe: Pipeline):
    words = ["a red ball", "a blue square", "a red ball"]
    with pytest.raises(ValueError, match=r"0.5 seconds are 1 for 3 prompts: ask for 2.0 seconds or more"):
        long_rollout(pipe, words, 0.5, steps=1)
    assert seconds_of(pipe, 3) == 2.0  # 9 + 12 + 12 pictures at 16 a second
    assert [chunk.prompt for chunk in long_rollout(pipe, words, 2.0, steps=1).chunks] == [0, 1, 2]


def test_the_enhanced_second_chunk_is_reported_as_such(pipe: Pipeline):
    settings = long_rollout(pipe, ["a red ball"], 1.0, steps=1, second=4).settings
    assert ([len(levels) for levels in settings.levels], settings.enhanced) == ([4, 1], 1)


@pytest.mark.parametrize("seconds", ["inf", "nan", "0", "-1"])
def test_a_length_without_end_is_refused_before_anything_is_loaded(tmp_path: Path, capsys, seconds: str):
    assert main(["long", "a red ball", "--model", "none", "--seconds", seconds, "-o", str(tmp_path / "out")]) == 2
    assert "--seconds must be above 0 and have an end" in " ".join(capsys.readouterr().err.split())


def test_a_clip_too_short_to_judge_says_so(student: Path, tmp_path: Path, capsys):
    words = ["a red ball", "--model", student, "--seconds", 0.5, "--steps", 1, "--no-clip", "-o", tmp_path / "out"]
    assert main(["long", *map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "dynamic degree too short to tell" in " ".join(said.split())
    assert "nan" not in said


def test_the_command_writes_figures_picture_and_clip(student: Path, tmp_path: Path, capsys):
    words = ["a red ball", "a blue square", "--model", student, "--seconds", 2.4, "--steps", 1, "--first", 4]
    out = tmp_path / "long"
    assert main(["long", *map(str, words), "--recache", "--dtype", "float32", "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "memory of the process: cannot be told" in said
    assert "dynamic degree" in said
    figures = json.loads((out / "long.json").read_text())
    assert figures["settings"]["prompts"] == ["a red ball", "a blue square"]
    assert [len(levels) for levels in figures["settings"]["levels"]] == [4, 1]
    assert Image.open(out / "long.png").size[0] > 500
    assert len(read_video(out / "clip.mp4").frames) == figures["found"]["frames"] == 45


def test_behind_an_image_the_bundled_image_student_goes_on_unless_another_is_named(tmp_path: Path, capsys):
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "first.png")
    words = ["a red circle moves to the right", "--image", tmp_path / "first.png", "--seconds", 1, "-o", tmp_path]
    assert main(["long", *map(str, words)]) == 0
    assert "model: shapes-i2v" in capsys.readouterr().err
    figures = json.loads((tmp_path / "long.json").read_text())
    assert figures["settings"]["model"] == "shapes-i2v"
    assert [chunk["frames"] for chunk in figures["chunks"]] == [16]
    assert figures["settings"]["context"] == {"sink": 1, "window": 9, "rope": "relative"}


def test_a_teacher_has_no_endless_clips(teacher: Path, tmp_path: Path, capsys):
    words = ["a red ball", "--model", str(teacher), "-o", str(tmp_path / "out")]
    assert main(["long", *words]) == 2
    assert "teacher" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
