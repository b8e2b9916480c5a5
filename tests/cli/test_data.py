"""`fewstep data ingest`: the command from a folder to shards, and its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewstep.cli import main
from fewstep.ingest.shards import Shards
from fewstep.video import write_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A film of 40 pictures and one of three, captioned, and a text that is no film."""
    folder = tmp_path_factory.mktemp("clips")
    ramp = np.linspace(0, 200, 40)[:, None, None, None] + np.zeros((1, 36, 64, 3))
    write_video(folder / "long.mp4", ramp.astype(np.uint8), 16)
    write_video(folder / "short.gif", ramp[:3].astype(np.uint8), 16)
    (folder / "text.mp4").write_text("no film")
    (folder / "captions.csv").write_text("file,caption\nlong,a red ball\nshort,a cube\ntext.mp4,a blue ball\n")
    return folder


def ingest(clips: Path, out: Path, model: Path, *options: str) -> int:
    captions = ["--captions", str(clips / "captions.csv")]
    words = ["data", "ingest", str(clips), "--out", str(out), "--model", str(model), "--device", "cpu"]
    return main([*words, *captions, *options])


def test_clips_are_as_the_model_was_trained_on(clips: Path, tmp_path: Path, student: Path, capsys) -> None:
    assert ingest(clips, tmp_path / "out", student) == 0
    assert "1 clip from 1 of 3 files, 2 dropped" in capsys.readouterr().out
    shards = Shards([tmp_path / "out"])
    assert shards.label.latent_shape == (9, 16, 4, 6)
    assert (shards.label.frames, shards.label.width, shards.label.height, shards.label.fps) == (33, 48, 32, 16)
    assert shards.read(0).caption == "a red ball"


def test_or_as_asked_for(clips: Path, tmp_path: Path, teacher: Path) -> None:
    options = ["--frames", "5", "--size", "32x16", "--fps", "8", "--shard-size", "2", "--workers", "1"]
    assert ingest(clips, tmp_path / "out", teacher, *options) == 0
    shards = Shards([tmp_path / "out"])
    assert (len(shards), shards.label.latent_shape) == (4, (2, 16, 2, 4))
    assert len(list((tmp_path / "out").glob("*.tar"))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "7"], "the nearest that fit are 5 and 9"),
        (["--frames", "5"], "cannot divide 2 latent frames into whole chunks"),
        (["--size", "50x32"], "width and height must be multiples of 8, got 50x32"),
        (["--size", "big"], "--size must be WIDTHxHEIGHT"),
        (["--fps", "0"], "fps of a clip must be above 0"),
        (["--workers", "0"], "--workers must be 1 or more"),
        (["--captions", "nowhere.csv"], "there is none at 'nowhere.csv'"),
        (["--model", "nowhere"], "nowhere"),
        (["--frames", "81"], "none of 3 files gives a clip"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    clips: Path, tmp_path: Path, student: Path, options: list[str], message: str, capsys
) -> None:
    assert ingest(clips, tmp_path / "out", student, *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tar"))


def test_files_without_captions_and_other_commands_are_refused(clips: Path, tmp_path: Path, student: Path, capsys):
    words = ["data", "ingest", str(clips / "long.mp4"), "--out", str(tmp_path / "out"), "--model", str(student)]
    assert main(words) == 2
    assert "none of 1 files has a caption: no caption: neither long.txt nor long.json" in capsys.readouterr().err
    assert main(["data", "digest"]) == 2
    assert "followed by ingest, got 'digest'" in capsys.readouterr().err
