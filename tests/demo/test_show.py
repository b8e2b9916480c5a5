from __future__ import annotations

import re

import pytest
import torch

from fewstep.checkpoints.folders import find_parts
from fewstep.demo import compare
from fewstep.demo.show import Options, run_demo
from fewstep.diffusion.steps import shifted_levels
from fewstep.models import checkpoint_dir
from fewstep.models.checkpoint_dir import Passport, save_model, shared_parts
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """Untrained models of the real classes, in place of the bundled ones."""
    folder = tmp_path / "assets"
    torch.manual_seed(0)
    base = folder / "shapes-base"
    save_model(base, None, vae=VideoVAE.from_preset("tiny"), text_encoder=TextEncoder.from_preset("tiny"))
    for name in (compare.TEACHER, compare.START, compare.STUDENT):
        kind = "teacher" if name == compare.TEACHER else "student"
        passport = Passport(
            name=name,
            kind=kind,
            latent_frames=9,
            height=64,
            width=64,
            shift=3.0,
            guidance=1.5,
            levels=shifted_levels(shift=3.0),
            components=shared_parts(folder / name, find_parts(base)),
        )
        save_model(folder / name, passport, transformer=VideoDiT(PRESETS["tiny"]))
    monkeypatch.setattr(checkpoint_dir, "ASSETS", folder)
    return folder


def test_the_demo_distils_compares_and_writes_one_page(assets, tmp_path, capsys):
    options = Options(out=tmp_path / "demo", seconds=0.01, scenes=1, shown=1)
    page = run_demo(options).read_text(encoding="utf-8")
    titles = re.findall(r'<span class="title">([^<]+)</span>', page)
    assert titles == ["50 steps", "4 steps", "2* steps", "2 steps", "1* steps", "1 step", "1 step", "1 step"]
    evaluations = [int(count) for count in re.findall(r"· (\d+) evaluations", page)]
    assert evaluations == [100 * 1, 12, 8, 6, 6, 3, 3, 3]
    assert "DMD loss" in page
    assert str(tmp_path / "demo" / "index.html") in capsys.readouterr().out.replace("\n", "")


def test_a_second_run_replaces_the_first_and_models_that_are_missing_are_named(assets, tmp_path, capsys):
    for name in (compare.TEACHER, compare.STUDENT):
        (assets / name / "fewstep.json").unlink()
    options = Options(out=tmp_path / "demo", scenes=1, shown=1)
    run_demo(options)
    page = run_demo(options).read_text(encoding="utf-8")
    assert page.count('<figure class="take') == 1
    assert "shapes-teacher, shapes-asd" in page
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
