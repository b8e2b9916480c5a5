"""Clips that begin with a picture or go on from a clip, and clips of other sizes than the trained one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fewstep
from fewstep.cli import main
from fewstep.diffusion.steps import StepPlan
from fewstep.models.layout import ChunkLayout
from fewstep.pipeline import Pipeline
from fewstep.rollout import rollout
from fewstep.sampling import clip_noise_source, draw_noise, renoising_source
from fewstep.session import to_pictures
from fewstep.shot import begin_with
from fewstep.video import read_video, write_video


@pytest.fixture(scope="module")
def pipe(student: Path) -> Pipeline:
    return fewstep.load(str(student), dtype="float32", device="cpu")


def noise_clip(frames: int, height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, which an autoencoder can tell apart."""
    coarse = np.random.default_rng(seed).integers(0, 255, (frames, 4, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height))) for x in coarse])


@torch.inference_mode()
def round_trip(pipe: Pipeline, frames: np.ndarray) -> np.ndarray:
    """What the autoencoder makes of the frames."""
    latents = begin_with(pipe.passport, pipe.vae, None, frames, frames.shape[1:3])
    return to_pictures(pipe.vae.decode(latents))[0]


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1


def test_a_clip_begins_with_the_picture_and_goes_on_from_it(pipe: Pipeline):
    picture, other = noise_clip(2)
    made = pipe.generate("a red ball", steps=1, image=picture)
    assert made.frames.shape == (1, 25, 32, 48, 3)
    assert near(made.frames[0, :1], round_trip(pipe, picture[None]))
    elsewhere = pipe.generate("a red ball", steps=1, image=other)
    assert not near(made.frames[0, 1:], elsewhere.frames[0, 1:])
    assert (made.network_evaluations, made.commits) == (2, 2)


def test_a_clip_begins_with_the_last_chunk_of_the_video_that_it_continues(pipe: Pipeline):
    clip = noise_clip(14)
    made = pipe.generate("a red ball", steps=1, video=clip)
    assert made.frames.shape == (1, 33, 32, 48, 3)
    assert near(made.frames[0, :9], round_trip(pipe, clip[-9:]))
    with_other_past = clip.copy()
    with_other_past[:5] = 0
    assert near(made.frames, pipe.generate("a red ball", steps=1, video=with_other_past).frames)


@pytest.mark.parametrize(
    ("layout", "frames"), [(ChunkLayout(3), 25), (ChunkLayout(4, first=1), 33), (ChunkLayout(1), 9)]
)
@torch.inference_mode()
def test_the_picture_is_clean_context_in_a_chunk_of_its_own(pipe: Pipeline, layout: ChunkLayout, frames: int):
    student = Pipeline(pipe.net, pipe.vae, pipe.text, replace(pipe.passport, layout=layout))
    picture = noise_clip(1)
    made = student.generate("a red ball", steps=2, first=4, frames=frames, image=picture[0], seed=5).frames[0]
    prefix = begin_with(student.passport, student.vae, picture[0], None, (32, 48))
    noise = draw_noise(clip_noise_source(5, 0), student.vae.latent_frames(frames) - 1, (16, 4, 6))
    levels, text = pipe.passport.levels, pipe.text.embed(["a red ball"])
    clip = rollout(
        pipe.net,
        noise,
        text,
        StepPlan(tuple(levels), tuple(levels[:2])),
        layout=layout,
        rng=renoising_source(5, 0),
        prefix=prefix,
    )
    assert torch.equal(clip[:, :1], prefix)
    assert near(made, to_pictures(pipe.vae.decode(clip))[0])


def test_prompts_share_the_picture_and_batches_do_not_matter(pipe: Pipeline):
    picture = noise_clip(1)[0]
    together = pipe.generate(["a red ball", "a blue square"], steps=1, image=picture).frames
    alone = pipe.generate("a blue square", steps=1, image=picture, index=1).frames
    assert near(together[1:], alone)
    assert near(together[:1, :1], together[1:, :1])
    assert not near(together[:1, 1:], together[1:, 1:])


def test_a_stream_gives_what_it_begins_with_first(pipe: Pipeline):
    picture = noise_clip(1)[0]
    with pipe.stream("a red ball", steps=2, seed=7, image=picture) as session:
        items = list(session)
    assert [len(item) for item in items] == [1, 12, 12]
    assert near(np.concatenate(items), pipe.generate("a red ball", steps=2, seed=7, image=picture).frames[0])


def test_pieces_are_small_whatever_the_clip(pipe: Pipeline, teacher: Path):
    for model in (pipe, fewstep.load(str(teacher), dtype="float32", device="cpu")):
        shot = model.shot(steps=1, frames=57)
        pieces = list(model.pieces(shot, ["a red ball", "a blue square"], seed=0))
        assert max(len(frames) for _, frames in pieces) <= 16
        whole = np.concatenate([frames for row, frames in pieces if row == 1])
        assert near(whole, model.generate("a blue square", steps=1, frames=57, index=1).frames[0])


def test_other_sizes_are_made(pipe: Pipeline):
    assert pipe.generate("a red ball", steps=1, frames=9, height=64, width=16).frames.shape == (1, 9, 64, 16, 3)
    picture = noise_clip(1, 100, 300)[0]
    made = pipe.generate("a red ball", steps=1, frames=13, height=48, width=64, image=picture)
    assert made.frames.shape == (1, 13, 48, 64, 3)


def test_only_students_begin_with_a_picture(teacher: Path):
    with pytest.raises(ValueError, match="teacher"):
        fewstep.load(str(teacher)).generate("a red ball", image=noise_clip(1)[0])


def generate(*words: object) -> int:
    return main(["generate", *map(str, words)])


def test_the_command_begins_with_any_picture(student: Path, tmp_path: Path):
    image = Image.fromarray(noise_clip(1, 90, 60)[0]).convert("LA")
    image.getexif()[0x0112] = 6
    image.save(tmp_path / "p.png", exif=image.getexif())
    words = ["a red ball", "--model", student, "--steps", 1, "--dtype", "float32", "--enlarge", 1]
    assert generate(*words, "--image", tmp_path / "p.png", "--size", "96x64", "-o", tmp_path / "x.mp4") == 0
    clip = read_video(tmp_path / "x.mp4")
    assert (clip.frames.shape, clip.fps) == ((25, 64, 96, 3), 16)


def test_the_command_continues_its_own_clips(student: Path, tmp_path: Path):
    words = ["a red ball", "--model", student, "--steps", 1, "--dtype", "float32", "--enlarge", 1]
    write_video(tmp_path / "a.mp4", noise_clip(40), 32)
    assert generate(*words, "--video", tmp_path / "a.mp4", "--frames", 21, "-o", tmp_path / "b.mp4") == 0
    assert generate(*words, "--video", tmp_path / "b.mp4", "--frames", 21, "-o", tmp_path / "c.mp4") == 0
    assert len(read_video(tmp_path / "c.mp4").frames) == 21


def test_the_model_is_picked_by_what_is_asked_and_told(tmp_path: Path, capsys):
    Image.fromarray(noise_clip(1, 64, 64)[0]).save(tmp_path / "p.png")
    words = ["a red circle moves to the right", "-o", tmp_path / "x.mp4", "--enlarge", 1]
    assert generate(*words, "--image", tmp_path / "p.png") == 0
    said = capsys.readouterr()
    assert "model: shapes-i2v, the bundled student that goes on from a picture" in said.err
    assert "2 + 2 commits" in said.out
    assert generate(*words, "--steps", 1) == 0
    said = capsys.readouterr()
    assert "model: shapes-asd, the bundled student that begins with text" in said.err
    assert "3 + 2 commits" in said.out


def test_a_model_that_was_named_is_not_commented_on(student: Path, tmp_path: Path, capsys):
    assert generate("a red ball", "--model", student, "--steps", 1, "-o", tmp_path / "x.mp4") == 0
    assert "model:" not in capsys.readouterr().err


def test_a_text_student_refuses_a_picture_and_names_the_student_that_takes_it(tmp_path: Path, capsys):
    Image.fromarray(noise_clip(1)[0]).save(tmp_path / "p.png")
    assert generate("a red ball", "--model", "shapes-asd", "--image", tmp_path / "p.png") == 2
    assert "such as the bundled shapes-i2v" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image", "none.png"], "'none.png' is not a file"),
        (["--image", "text.png"], "save it as PNG or JPEG"),
        (["--video", "text.png"], "readable video"),
        (["--image", "text.png", "--video", "text.png"], "got both"),
        (["--size", "832*480"], "WIDTHxHEIGHT"),
        (["--size", "50x32"], "width must be a multiple of 16"),
        (["--frames", "33", "--image", "p.png"], "the nearest are 25 and 37"),
    ],
)
def test_beginnings_and_sizes_that_cannot_be_are_refused(
    student: Path, tmp_path: Path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(noise_clip(1)[0]).save("p.png")
    assert generate("a red ball", "--model", student, *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["p.png", "text.png"]
