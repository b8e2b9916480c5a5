"""The model folder and its passport."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from fewstep.checkpoints.folders import find_parts
from fewstep.checkpoints.open import open_transformer
from fewstep.files import OutputError
from fewstep.models import checkpoint_dir
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import (
    PASSPORT,
    ModelError,
    Passport,
    atomic_folder,
    bundled_models,
    read_passport,
    resolve_model,
    save_model,
    shared_parts,
)
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE

STUDENT = Passport(
    name="toy",
    kind="student",
    latent_frames=5,
    height=64,
    width=64,
    levels=(1.0, 0.9375, 0.8),
    layout=ChunkLayout(2, 1),
    context=Context(sink=1, window=3, rope="relative"),
    scores={"total": 0.5},
    seed=3,
    begins_with="either",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("models")
    save_model(home / "base", None, vae=VideoVAE.from_preset("tiny"), text_encoder=TextEncoder.from_preset("tiny"))
    passport = dataclasses.replace(STUDENT, components=shared_parts(home / "toy", find_parts(home / "base")))
    return save_model(home / "toy", passport, transformer=VideoDiT(PRESETS["tiny"]), dtype=torch.bfloat16)


def test_a_passport_survives_json():
    assert Passport.from_json(STUDENT.to_json()) == STUDENT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "critic"}, "teacher or student"),
        ({"levels": [0.9, 0.5]}, r"1\.0"),
        ({"latent_frames": 4}, "whole chunks"),
        ({"latent_frames": "5"}, "latent_frames must be a whole number above 0, got '5'"),
        ({"height": 0}, "height must be a whole number above 0, got 0"),
        ({"fps": math.nan}, "fps must be a finite number above 0, got nan"),
        ({"shift": 0}, "shift must be a finite number above 0, got 0"),
        ({"guidance": -1}, "guidance must be a finite number of 0 or more, got -1"),
        ({"schedule": "foo"}, "schedule must be prefix or respaced, got 'foo'"),
        ({"negative_prompt": 3}, "negative_prompt must be a text, got 3"),
        ({"commit": 3}, "commit must be a text, got 3"),
        ({"seed": "x"}, "seed must be a whole number of 0 or more, got 'x'"),
        ({"steps": 1.5}, "steps must be a whole number of 0 or more, got 1.5"),
        ({"scores": [1]}, r"scores must be a number for each name, got \[1\]"),
        ({"scores": {"Total": None}}, "scores must be a number for each name"),
        ({"components": {"critic": "x"}}, "components must be among"),
        ({"context": {"sink": 4, "window": 3}}, "window > sink"),
        (
            {"context": {"sink": 2, "window": 3}},
            "cannot hold sink=2 and a chunk of 2 frames; use a window of at least 4",
        ),
        ({"layout": {"chunk": 1, "first": 4}}, "window=3 cannot hold a first chunk of 4 frames"),
        ({"begins_with": "music"}, "begins_with must be text, image, either or not there, got 'music'"),
        ({"layout": 3}, "wrong kind"),
        ({"levles": []}, "perhaps you meant 'levels'"),
    ],
)
def test_passports_that_contradict_are_refused(change: dict, reason: str):
    values = {**json.loads(STUDENT.to_json()), **change}
    with pytest.raises(ValueError, match=reason):
        Passport.from_json(json.dumps(values))


def test_a_passport_from_before_says_nothing_of_beginnings():
    values = json.loads(STUDENT.to_json())
    del values["begins_with"]
    assert Passport.from_json(json.dumps(values)).begins_with is None


def test_missing_fields_are_named():
    with pytest.raises(ValueError, match="missing fields height, kind, latent_frames, width"):
        Passport.from_json('{"name": "x"}')


def test_folders_that_are_no_models_are_refused(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no model folder: it holds no fewstep\.json"):
        read_passport(tmp_path)
    (tmp_path / PASSPORT).write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"fewstep\.json is not a passport"):
        read_passport(tmp_path)


def test_a_failed_save_leaves_the_old_model_and_no_scratch(folder: Path):
    before = sorted(path.name for path in folder.parent.iterdir())

    class Broken(VideoVAE):
        def save(self, *_) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        save_model(folder, STUDENT, vae=Broken(VideoVAE.from_preset("tiny").model))
    assert sorted(path.name for path in folder.parent.iterdir()) == before
    assert read_passport(folder).name == "toy"
    assert open_transformer(folder).cfg == PRESETS["tiny"]


def test_a_newer_model_replaces_an_older_one_whole(tmp_path: Path):
    target = tmp_path / "model"
    save_model(target, STUDENT, transformer=VideoDiT(PRESETS["tiny"]))
    save_model(target, dataclasses.replace(STUDENT, name="newer"))
    assert read_passport(target).name == "newer"
    assert [entry.name for entry in target.iterdir()] == [PASSPORT]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="something else is there"):
        save_model(tmp_path, STUDENT)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_way_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write the model"), atomic_folder(tmp_path / "file" / "model"):
        pass


def test_models_resolve_by_path_and_by_bundled_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint_dir, "ASSETS", tmp_path)
    (tmp_path / "shapes-base" / "vae").mkdir(parents=True)
    save_model(tmp_path / "shapes-asd", STUDENT)
    assert resolve_model(folder) == folder
    assert resolve_model("shapes-asd") == tmp_path / "shapes-asd"
    assert resolve_model("shapes-base") == tmp_path / "shapes-base"
    assert bundled_models() == (tmp_path / "shapes-asd",)
    with pytest.raises(ModelError, match="perhaps you meant 'shapes-asd'"):
        resolve_model("shape-asd")
    with pytest.raises(ModelError, match="not in this installation"):
        resolve_model("shapes-teacher")
    with pytest.raises(ModelError, match="no model is called or at"):
        resolve_model("nowhere/model")


def test_a_folder_of_ones_own_wins_over_a_bundled_name_only_when_it_is_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checkpoint_dir, "ASSETS", tmp_path / "assets")
    save_model(tmp_path / "assets" / "shapes-asd", STUDENT)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes-asd").mkdir()
    assert resolve_model("shapes-asd") == tmp_path / "assets" / "shapes-asd"
    save_model(tmp_path / "shapes-asd", STUDENT)
    assert resolve_model("shapes-asd") == Path("shapes-asd")
