from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewstep.evaluation.clip_folder import ClipFolder
from fewstep.evaluation.entries import Entry
from fewstep.evaluation.prompts import PromptSource, scene_of
from fewstep.evaluation.sampling import SamplingSettings, Watcher, clip_folder, sample
from fewstep.manifest import Manifest, ManifestError
from fewstep.models.checkpoint_dir import Passport, save_model
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.pictures import read_picture
from fewstep.sampling import ManySteps
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.render import render
from fewstep.shot import Shot, behind_window, rolling_context
from fewstep.video import write_image

STUDENT = Passport(
    name="tiny-asd",
    kind="student",
    height=64,
    width=64,
    latent_frames=2,
    layout=ChunkLayout(1),
    levels=(1.0, 0.9, 0.75, 0.5),
    trained_by="asd.tiny",
    seed=3,
)
SETTINGS = SamplingSettings(plans=("1",), seeds=(0,), batch=2, device="cpu", dtype="float32")
SHAPES = PromptSource(split="test", count=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = VideoDiT(PRESETS["tiny"])
    nn.init.normal_(net.head.head.weight, std=0.1)
    parts = {"vae": VideoVAE.from_preset("tiny"), "text_encoder": TextEncoder.from_preset("tiny")}
    return save_model(tmp_path_factory.mktemp("models") / "asd", STUDENT, transformer=net, **parts)


@pytest.fixture(scope="module")
def entry(model: Path) -> Entry:
    return Entry.parse(str(model))


def pixels(folder: Path) -> dict[tuple[int, int], np.ndarray]:
    opened = ClipFolder.open(folder)
    return {(e.settings.index, e.settings.seed): opened.read(e).frames for e in opened.entries}


def test_every_model_and_plan_has_a_folder_of_all_prompts_and_seeds(entry: Entry, tmp_path: Path):
    settings = replace(SETTINGS, plans=("2*", "1"), seeds=(0, 4))
    done: list[Path] = []
    folders = sample([entry], tmp_path, SHAPES, settings, Watcher(end=done.append))
    assert folders == done == [tmp_path / "asd-seed3-2star", tmp_path / "asd-seed3-1"]
    assert folders[1] == clip_folder(tmp_path, "asd", 3, "1")
    for folder in folders:
        opened = ClipFolder.open(folder)
        assert [(e.settings.index, e.settings.seed) for e in opened.entries] == [
            (i, s) for i in range(3) for s in (0, 4)
        ]
        assert {e.settings.model for e in opened.entries} == {"tiny-asd"}
        assert opened.read(opened.entries[0]).frames.shape == (5, 64, 64, 3)
    assert pixels(folders[0]).keys() == pixels(folders[1]).keys()


def test_the_manifest_keeps_what_a_prompt_of_shapeworld_stands_for(entry: Entry, tmp_path: Path):
    (folder,) = sample([entry], tmp_path, SHAPES, SETTINGS)
    for each in ClipFolder.open(folder).entries:
        scene, world = scene_of(each.settings)
        assert (world.size, world.frames, world.fps) == (64, 5, 16)
        assert ShapeWorld(20_011, "train", world).scene(each.settings.index) == (scene, each.settings.prompt)


def test_a_second_run_makes_what_is_missing_and_nothing_else(entry: Entry, tmp_path: Path):
    (folder,) = sample([entry], tmp_path, SHAPES, SETTINGS)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}
    lost = folder / "clip-001-seed0.mp4"
    lost.unlink()
    told: list[tuple[str, int]] = []
    watcher = Watcher(begin=lambda name, missing, steps: told.append((name, missing)))
    for _ in range(2):
        sample([entry], tmp_path, SHAPES, SETTINGS, watcher)
    assert told == [("asd-seed3-1", 1), ("asd-seed3-1", 0)]
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [lost]
    with pytest.raises(ManifestError, match="prompt"):
        sample([entry], tmp_path, PromptSource(split="heldout", count=3), SETTINGS)


def test_shards_make_together_what_one_process_makes(entry: Entry, tmp_path: Path):
    settings = replace(SETTINGS, seeds=(0, 1))
    (whole,) = sample([entry], tmp_path / "whole", SHAPES, settings)
    for number in (1, 0):
        (parts,) = sample([entry], tmp_path / "parts", SHAPES, replace(settings, shard=(number, 2)))
        assert len(Manifest(parts).entries) == (2 if number else 6)
    assert sorted(path.name for path in parts.glob("*.jsonl")) == ["manifest.1of2.jsonl", "manifest.2of2.jsonl"]
    one, other = pixels(whole), pixels(parts)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)
    told: list[int] = []
    sample(
        [entry], tmp_path / "parts", SHAPES, settings, Watcher(begin=lambda name, missing, steps: told.append(missing))
    )
    assert told == [0]


def test_controls_are_the_renderers_clips_and_their_round_trip(entry: Entry, tmp_path: Path):
    settings = replace(SETTINGS, controls=True, seeds=(5,))
    truth, vae, _ = sample([entry], tmp_path, SHAPES, settings)
    assert (truth.name, vae.name) == ("truth-seed0-all", "vae-seed0-all")
    opened = ClipFolder.open(truth)
    for each in opened.entries:
        drawn = render(*scene_of(each.settings))
        assert np.abs(opened.read(each).frames.astype(int) - drawn).mean() < 2
        assert each.settings.seed == 5
    assert np.abs(pixels(vae)[0, 5].astype(int) - pixels(truth)[0, 5]).mean() > 10  # an untrained autoencoder
    again: list[int] = []
    sample([entry], tmp_path, SHAPES, settings, Watcher(begin=lambda name, missing, steps: again.append(missing)))
    assert again == [0, 0, 0]
    with pytest.raises(ValueError, match="ground truth of ShapeWorld"):
        sample([entry], tmp_path, PromptSource(texts=("a cat",)), settings)


def test_clips_of_each_prompt_begin_with_its_own_picture(entry: Entry, tmp_path: Path):
    (folder,) = sample([entry], tmp_path, SHAPES, replace(SETTINGS, images="first"))
    opened = ClipFolder.open(folder)
    for each in opened.entries:
        scene, world = scene_of(each.settings)
        assert np.array_equal(opened.read(each).begins_with, render(scene, world, 1)[0])
    # the given frame passes through the autoencoder, so clips of different pictures differ from the start
    firsts = [frames[0].astype(int) for frames in pixels(folder).values()]
    assert np.abs(firsts[0] - firsts[1]).mean() > 1
    sample([entry], tmp_path, SHAPES, replace(SETTINGS, images="first"))
    write_image(folder / "begin-000.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"another begin-000.png"):
        sample([entry], tmp_path, SHAPES, replace(SETTINGS, images="first"))


def test_pictures_of_a_folder_go_to_prompts_in_the_order_of_names(entry: Entry, tmp_path: Path):
    for name, level in (("b.png", 200), ("a.png", 30)):
        write_image(tmp_path / "pictures" / name, np.full((80, 80, 3), level, np.uint8))
    source, settings = (
        PromptSource(texts=("a dark one", "a light one")),
        replace(SETTINGS, images=str(tmp_path / "pictures")),
    )
    (folder,) = sample([entry], tmp_path / "out", source, settings)
    assert [read_picture(folder / f"begin-00{i}.png").mean() for i in (0, 1)] == [30, 200]
    assert ClipFolder.open(folder).entries[0].settings.scene is None
    with pytest.raises(ValueError, match="has 2 for 3 prompts"):
        sample([entry], tmp_path / "more", PromptSource(texts=("a", "b", "c")), settings)


def test_chunks_of_long_clips_see_a_window_with_a_sink_and_the_manifest_says_so(entry: Entry, tmp_path: Path):
    settings = replace(SETTINGS, frames=21, window=3, sink=1)  # six latent frames, each chunk one
    few = replace(SHAPES, count=2)
    (windowed,) = sample([entry], tmp_path / "windowed", few, settings)
    (whole,) = sample([entry], tmp_path / "whole", few, replace(settings, window=None, sink=None))
    (wide,) = sample([entry], tmp_path / "wide", few, replace(settings, window=6))
    seen = ClipFolder.open(windowed).entries[0].settings.sampling["context"]
    assert seen == {"sink": 1, "window": 3, "rope": "relative"}
    a, b, c = (pixels(folder)[0, 0] for folder in (windowed, whole, wide))
    assert np.array_equal(b, c), "a window as long as the clip changes nothing"
    differ = np.abs(a.astype(float) - b).mean((1, 2, 3))
    assert differ[:7].max() < 0.2, "three latent frames fit into the window; the codec looks ahead"
    assert differ[9:].mean() > 2 * differ[:9].mean()


def test_windows_that_hold_no_chunk_and_windows_of_teachers_are_refused(entry: Entry, model: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="window > sink"):
        sample([entry], tmp_path, SHAPES, replace(SETTINGS, window=1, sink=1))
    with pytest.raises(ValueError, match="window of at least 3"):
        rolling_context(replace(STUDENT, layout=ChunkLayout(2)), window=2, sink=1)
    teacher = Shot(ManySteps(2, 3.0, 1.0), 2, (16, 8, 8), 32)
    with pytest.raises(ValueError, match="is a teacher: leave --window"):
        behind_window(teacher, STUDENT, 3, None)


def test_students_of_text_begin_with_pictures_only_when_that_is_asked_for(model: Path, tmp_path: Path):
    few, text = replace(SHAPES, count=2), tmp_path / "text"
    shutil.copytree(model, text)
    passport = json.loads((text / "fewstep.json").read_text())
    (text / "fewstep.json").write_text(json.dumps({**passport, "begins_with": "text"}))
    entry = Entry.parse(f"asd={text}")
    with pytest.raises(ValueError, match="trained from text alone"):
        sample([entry], tmp_path, few, replace(SETTINGS, images="first"))
    (folder,) = sample([entry], tmp_path, few, replace(SETTINGS, images="first", zero_shot=True))
    assert ClipFolder.open(folder).entries[0].settings.begins_with is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard": (2, 2)}, "a shard is"),
        ({"seeds": ()}, "seeds must be different"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"seeds": (-1,)}, "seeds must be different"),
        ({"batch": 0}, "batch must be 1 or more"),
    ],
)
def test_settings_that_make_no_clips_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "prompts are required"),
        ({"split": "train"}, "shapes:test or shapes:heldout"),
        ({"texts": ("a",), "count": 2}, "1 to 1, the lines of the text"),
        ({"split": "test", "count": 0}, "must be 1 or more"),
    ],
)
def test_prompts_that_are_none_are_refused(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        PromptSource(**options)
