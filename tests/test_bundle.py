from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

import fewstep
from fewstep.bundle import BASE, bundle, record_scores
from fewstep.checkpoints.folders import find_parts
from fewstep.checkpoints.open import open_transformer
from fewstep.diffusion.steps import shifted_levels
from fewstep.evaluation.results import Cell, Protocol, save_cell
from fewstep.metrics.base import Clip
from fewstep.metrics.motion import motion_of
from fewstep.models import checkpoint_dir
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import (
    FROM_IMAGE,
    FROM_TEXT,
    ModelError,
    Passport,
    read_passport,
    save_model,
    shared_parts,
)
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline
from fewstep.session import to_pictures
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shot import begin_with


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Results of three runs, far from the package's folder."""
    monkeypatch.setattr(checkpoint_dir, "ASSETS", tmp_path / "assets")
    folder = tmp_path / "runs"
    save_model(folder / "vae", None, vae=VideoVAE.from_preset("tiny"))
    save_model(folder / "text", None, text_encoder=TextEncoder.from_preset("tiny"))
    passport = Passport(
        name="asd.tiny",
        kind="student",
        latent_frames=3,
        height=64,
        width=64,
        levels=shifted_levels(shift=3.0),
        components=shared_parts(folder / "asd", find_parts(folder / "elsewhere")),
    )
    save_model(folder / "asd", passport, transformer=VideoDiT(PRESETS["tiny"]))
    return folder


def test_bundled_parts_and_model_load_by_name_without_the_runs(runs):
    bundle("shapes-base", runs / "vae", runs / "text")
    bundle("shapes-asd", runs / "asd")
    runs.rename(runs.with_name("gone"))
    pipeline = Pipeline.load("shapes-asd", device="cpu")
    assert pipeline.passport.name == "shapes-asd"
    assert pipeline.generate("a red star", steps=1).frames.dtype.name == "uint8"


def test_bundling_again_replaces_the_weights(runs):
    bundle("shapes-base", runs / "vae", runs / "text")
    bundle("shapes-asd", runs / "asd")
    net = open_transformer(runs / "asd")
    with torch.no_grad():
        net.head.head.bias.fill_(0.5)
    save_model(runs / "asd", read_passport(runs / "asd"), transformer=net)
    folder = bundle("shapes-asd", runs / "asd")
    assert float(open_transformer(folder).head.head.bias.mean().detach()) == 0.5


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("shapes-best", "asd", "shapes-asd"),
        ("shapes-asd", "vae", "transformer"),
        ("shapes-base", "vae", "text_encoder"),
    ],
)
def test_names_and_sources_that_do_not_fit_are_refused(runs, name, source, said):
    with pytest.raises(ModelError, match=said):
        bundle(name, runs / source)
    assert not (checkpoint_dir.ASSETS / name).exists()


def test_measured_scores_reach_the_passport_of_their_model_only(runs, tmp_path):
    bundle("shapes-base", runs / "vae", runs / "text")
    bundle("shapes-asd", runs / "asd")
    protocol = Protocol(split="test", clips=0, seed=0, prompts="p", batch=1, scorer="s")
    for model, plan, mean in (("shapes-asd", "1*", 61.26), ("another", "4", 99.0)):
        cell = Cell(
            row=model,
            kind="student",
            model=model,
            plan=plan,
            training_seed=0,
            fingerprint="f",
            commit=None,
            trained_by="asd.tiny",
            protocol=protocol,
            evaluations=5,
            commits=2,
            timing=None,
            summary={"semantic": {"mean": mean, "low": mean, "high": mean}},
        )
        save_cell(cell, tmp_path / "results")
    (written,) = record_scores(tmp_path / "results")
    assert read_passport(written.parent).scores == {"semantic@1*": 61.3}


def test_the_embedded_models_stay_small_enough_to_ship():
    folder = Path(fewstep.__file__).parent / "assets"
    files = [path for path in folder.rglob("*") if path.is_file()]
    bytes_of = {path.relative_to(folder).parts[0]: 0 for path in files}
    for path in files:
        bytes_of[path.relative_to(folder).parts[0]] += path.stat().st_size
    assert sum(bytes_of[name] for name in (BASE, "shapes-teacher", "shapes-init", FROM_TEXT)) < 16e6
    assert sum(bytes_of.values()) < 20e6


@torch.inference_mode()
def test_the_bundled_image_to_video_student_keeps_the_picture_and_goes_on_moving():
    pipe, world, motions = fewstep.load(FROM_IMAGE, device="cpu", dtype="float32"), ShapeWorld(split="heldout"), []
    assert (pipe.passport.levels, pipe.passport.context) == ((1.0,), Context(1, 9, "relative"))
    moving = [i for i in range(12) if all(obj.speed for obj in world.scene(i)[0].objects)][:3]
    for index in moving:
        picture, prompt, _ = world.first_frame(index)
        made = pipe.generate(prompt, image=picture)
        assert (made.frames.shape, made.network_evaluations) == ((1, 33, 64, 64, 3), 2)
        kept = to_pictures(pipe.vae.decode(begin_with(pipe.passport, pipe.vae, picture, None, (64, 64))))[0]
        assert np.abs(made.frames[0, :1].astype(int) - kept).max() <= 1
        assert np.abs(kept[0].astype(int) - picture).mean() < 8
        motions.append(motion_of(Clip(made.frames[0], made.fps)))
    assert median(motions) > 0.06  # what stands still comes out at 0.05 and less
