"""`fewstep encode`, and clips made without the text encoder from what it wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import fewstep
from fewstep.cli import main
from fewstep.models.prompt_store import PromptStore, StoreError
from fewstep.models.taehv import TinyDecoder
from fewstep.models.text import PromptError, TextEncoder


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("a red ball moves\n\na blue square\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def store(prompts: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "store"
    options = ["--negative", "a square", "--dtype", "float32", "--device", "cpu"]
    assert main(["encode", str(prompts), "--model", str(teacher), "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture
def without_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the text encoder was loaded")

    monkeypatch.setattr(TextEncoder, "__init__", refuse)


def load(model: Path, **options: object) -> fewstep.Pipeline:
    return fewstep.load(str(model), dtype="float32", device="cpu", **options)


def test_the_store_holds_the_prompts_the_negative_one_and_no_text(store: Path, capsys: pytest.CaptureFixture[str]):
    assert PromptStore(store).missing(["a red ball moves", "a blue square", "a square", ""]) == []
    assert len(PromptStore(store)) == 4


def test_a_second_run_loads_nothing(store: Path, prompts: Path, teacher: Path, without_encoder: None):
    assert main(["encode", str(prompts), "--model", str(teacher), "--out", str(store), "--negative", "a square"]) == 0


def test_clips_from_a_store_are_the_same_and_need_no_encoder(
    store: Path, student: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    made = load(student).generate("a red ball moves", steps=1).frames
    request.getfixturevalue("without_encoder")
    pipe = load(student, prompt_store=store)
    assert np.array_equal(pipe.generate("a red ball moves", steps=1).frames, made)
    assert np.array_equal(np.concatenate(list(pipe.stream("a red ball moves", steps=1))), made[0])
    assert not pipe.text.is_loaded


def test_guidance_takes_the_negative_prompt_from_the_store(store: Path, teacher: Path, without_encoder: None):
    pipe = load(teacher, prompt_store=store, passport={"negative_prompt": "a square"})
    assert pipe.generate("a blue square", steps=1, frames=5).frames.shape[1] == 5


def test_a_model_without_its_encoder_serves_what_is_stored_and_says_what_is_not(
    store: Path, student: Path, tmp_path: Path
):
    shutil.copytree(student, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "text_encoder")
    pipe = load(tmp_path / "model", prompt_store=store)
    pipe.generate("a red ball moves", steps=1)
    with pytest.raises(PromptError, match="'a star' is not in the prompt store"):
        pipe.generate("a star", steps=1)


def test_a_store_of_another_encoder_is_refused(store: Path):
    with pytest.raises(StoreError, match="made by text encoder"):
        load("shapes-asd", prompt_store=store)


def test_a_store_on_the_command_line(store: Path, student: Path, tmp_path: Path, without_encoder: None):
    target = tmp_path / "clip.mp4"
    options = ["--prompt-store", str(store), "--steps", "1", "--device", "cpu", "-o", str(target)]
    assert main(["generate", "a blue square", "--model", str(student), *options]) == 0
    assert target.is_file()


def test_a_small_decoder_and_tiles_in_the_autoencoders_place(student: Path, tmp_path: Path):
    torch.manual_seed(0)
    path = tmp_path / "taew2_1.safetensors"
    save_file(TinyDecoder((8, 6, 4, 4)).state_dict(), path)
    whole = load(student).generate("a red ball", steps=1).frames
    small = load(student, decoder=path)
    made = small.generate("a red ball", steps=1).frames
    assert made.shape == whole.shape
    assert not np.array_equal(made, whole)
    assert np.array_equal(np.concatenate(list(small.stream("a red ball", steps=1))), made[0])
    # a tile that holds the frame changes nothing
    assert np.array_equal(load(student, tile=128).generate("a red ball", steps=1).frames, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt-store", "nowhere"], "is no prompt store"),
        (["--decoder", "nowhere.pth"], "no weights at nowhere.pth"),
        (["--tile", "0"], "tiles must"),
    ],
)
def test_files_that_are_not_there_are_one_clear_message(
    student: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["generate", "a ball", "--model", str(student), *options]) == 2
    assert message in capsys.readouterr().err
