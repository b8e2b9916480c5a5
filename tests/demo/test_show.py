from __future__ import annotations

import re

import pytest
import torch

from fewstep.checkpoints.folders import find_parts
from fewstep.demo import compare
from fewstep.demo.show import Options, moving_scenes, run_demo
from fewstep.diffusion.steps import shifted_levels
from fewstep.models import checkpoint_dir
from fewstep.models.checkpoint_dir import Passport, save_model, shared_parts
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.pictures import read_picture
from fewstep.shapes.grammar import is_held_out


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """Untrained models of the real classes, in place of the bundled ones."""
    folder = tmp_path / "assets"
    torch.manual_seed(0)
    base = folder / "shapes-base"
    save_model(base, None, vae=VideoVAE.from_preset("tiny"), text_encoder=TextEncoder.from_preset("tiny"))
    for name in (compare.TEACHER, compare.START, compare.STUDENT, compare.ANIMATOR):
        from_picture = name == compare.ANIMATOR
        kind = "teacher" if name == compare.TEACHER else "student"
        passport = Passport(
            name=name,
            kind=kind,
            latent_frames=9,
            height=64,
            width=64,
            shift=3.0,
            guidance=1.5,
            levels=(1.0,) if from_picture else shifted_levels(shift=3.0),
            layout=ChunkLayout(4, first=1) if from_picture else ChunkLayout(3),
            begins_with="image" if from_picture else "text",
            components=shared_parts(folder / name, find_parts(base)),
        )
        save_model(folder / name, passport, transformer=VideoDiT(PRESETS["tiny"]))
    monkeypatch.setattr(checkpoint_dir, "ASSETS", folder)
    return folder


def test_the_demo_distils_compares_and_writes_one_page(assets, tmp_path, capsys):
    options = Options(out=tmp_path / "demo", seconds=0.01, scenes=1, shown=1)
    page = run_demo(options).read_text(encoding="utf-8")
    titles = re.findall(r'<span class="title">([^<]+)</span>', page)
    compared = ["50 steps", "4 steps", "2* steps", "2 steps", "1* steps", "1 step", "1 step", "1 step"]
    assert titles == [*compared, "the picture", "the true clip", "1 step"]
    evaluations = [int(count) for count in re.findall(r"· (\d+) evaluations", page)]
    assert evaluations == [100 * 1, 12, 8, 6, 6, 3, 3, 3, 2]
    assert "DMD loss" in page
    assert read_picture(tmp_path / "demo" / "first.png").shape == (64, 64, 3)
    assert str(tmp_path / "demo" / "index.html") in capsys.readouterr().out.replace("\n", "")


def test_pictures_are_of_compositions_that_training_never_shows_and_what_is_in_them_moves():
    scenes = moving_scenes(6)
    assert len(scenes) == 6
    for scene in scenes:
        assert all(obj.motion != "static" for obj in scene.objects)
        assert any(is_held_out(obj.colour, obj.shape, obj.motion) for obj in scene.objects)


def test_a_second_run_replaces_the_first_and_models_that_are_missing_are_named(assets, tmp_path, capsys):
    for name in (compare.TEACHER, compare.STUDENT, compare.ANIMATOR):
        (assets / name / "fewstep.json").unlink()
    options = Options(out=tmp_path / "demo", scenes=1, shown=1)
    run_demo(options)
    page = run_demo(options).read_text(encoding="utf-8")
    assert page.count('<figure class="take') == 1
    assert "shapes-teacher, shapes-asd, shapes-i2v" in page
    assert "left out: shapes-teacher" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["index.html"]


def test_without_any_bundled_model_the_demo_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_dir, "ASSETS", tmp_path)
    with pytest.raises(ValueError, match="make embedded"):
        run_demo(Options(out=tmp_path / "demo"))


@pytest.mark.parametrize("wrong", [{"shown": 3, "scenes": 2}, {"shown": 0}, {"seconds": -1.0}])
def test_options_that_contradict_are_refused(wrong):
    with pytest.raises(ValueError, match="--"):
        Options(**wrong)
