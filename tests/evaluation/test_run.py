from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewstep.cli import main
from fewstep.evaluation.entries import Entry
from fewstep.evaluation.run import Settings, count_cells, evaluate
from fewstep.models.checkpoint_dir import Passport, save_model
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE

STUDENT = Passport(
    name="tiny-asd",
    kind="student",
    height=64,
    width=64,
    latent_frames=2,
    layout=ChunkLayout(1),
    levels=(1.0, 0.9, 0.75, 0.5),
    trained_by="asd.tiny",
    seed=0,
)
TEACHER = Passport(name="tiny-teacher", kind="teacher", height=64, width=64, latent_frames=2, trained_by="teacher.tiny")
SMALL = Settings(plans=("2*", "1"), clips=2, batch=2, timed=1, teacher_steps=1, device="cpu", dtype="float32")
SPEED = ["--batch", "2", "--timed", "1", "--teacher-steps", "1"]
WORDS = ["--clips", "2", *SPEED, "--device", "cpu", "--dtype", "float32"]


def write(folder: Path, passport: Passport, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    parts = {"vae": VideoVAE.from_preset("tiny"), "text_encoder": TextEncoder.from_preset("tiny")}
    return save_model(folder, passport, transformer=VideoDiT(PRESETS["tiny"]), **parts)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    short = replace(STUDENT, levels=STUDENT.levels[::2], trained_by="self_forcing.shapes_2step")
    found = {"asd": STUDENT, "dmd2": short, "teacher": TEACHER, "again": replace(STUDENT, seed=1)}
    return {name: str(write(root / name, passport)) for name, passport in found.items()}


class Heard:
    def __init__(self) -> None:
        self.clips, self.cells = 0, []

    def begin(self, cell: str, clips: int) -> None:
        pass

    def advance(self, clips: int) -> None:
        self.clips += clips

    def end(self, cell, kept: bool) -> None:
        self.cells.append((cell.row, cell.plan, kept))


def test_a_run_measures_controls_and_every_plan_and_goes_on_where_it_stopped(models, tmp_path: Path):
    entries = [Entry.parse(models["asd"]), Entry.parse(models["dmd2"])]
    first, second = Heard(), Heard()
    evaluate(entries[:1], tmp_path, SMALL, first)
    assert first.cells == [
        ("truth", "-", False),
        ("vae", "-", False),
        ("asd", "2*", False),
        ("asd", "1", False),
    ]
    assert first.clips == 2 * count_cells(entries[:1], SMALL)
    sheets = sorted(path.stem for path in (tmp_path / "sheets").iterdir())
    assert sheets == sorted(path.stem for path in tmp_path.glob("*.json"))
    before = {path: path.read_bytes() for path in tmp_path.glob("*.json")}
    evaluate(entries, tmp_path, SMALL, second)
    assert second.cells == [*((row, plan, True) for row, plan, _ in first.cells), ("dmd2", "1", False)]
    assert second.clips == 2 * count_cells(entries, SMALL)
    assert all(path.read_bytes() == text for path, text in before.items())


def test_a_model_with_other_weights_is_measured_anew(models, tmp_path: Path):
    folder = write(tmp_path / "model", STUDENT)
    settings, heard = replace(SMALL, plans=("1",)), Heard()
    for seed in (0, 1):
        write(folder, STUDENT, seed)
        evaluate([Entry.parse(str(folder))], tmp_path / "out", settings, heard)
    assert heard.cells[2:] == [("asd", "1", False), ("truth", "-", True), ("vae", "-", False), ("asd", "1", False)]
    assert len(list((tmp_path / "out").glob("*.json"))) == 3


def test_two_models_of_one_row_and_seed_are_refused(models):
    with pytest.raises(ValueError, match="name another row"):
        evaluate([Entry.parse(models["asd"]), Entry.parse(f"asd={models['dmd2']}")], Path("never"), SMALL, Heard())


def test_rows_follow_from_how_a_model_was_trained(models):
    rows = {name: Entry.parse(folder).row for name, folder in models.items()}
    assert rows == {"asd": "asd", "dmd2": "dmd2", "teacher": "teacher", "again": "asd"}
    assert Entry.parse(f"mine={models['asd']}").row == "mine"
    for name in ("truth", ""):
        with pytest.raises(ValueError, match="a row needs a name"):
            Entry.parse(f"{name}={models['asd']}")


def test_shapebench_then_table_from_the_command_line(models, tmp_path: Path, capsys):
    out, of_all = tmp_path / "results", [models["teacher"], models["asd"], models["again"]]
    assert main(["shapebench", *of_all, "--plans", "1*", "-o", str(out), *WORDS]) == 0
    seeds = sorted(path.name for path in out.glob("asd*"))
    assert seeds == ["asd-seed0-1star.json", "asd-seed1-1star.json"]
    protocol = json.loads((out / seeds[0]).read_text())["protocol"]
    assert (protocol["clips"], protocol["noise"]) == (2, "clip")
    capsys.readouterr()
    assert main(["table", str(out), "--markdown", "--dimensions", "--relative", "teacher"]) == 0
    text = capsys.readouterr().out
    lines = text.split("\n")
    assert lines[0] == "|  | own sampler | 1* steps |"
    assert sum(line.startswith("| teacher (1 steps)") for line in lines) == 3
    assert "| ASD, one student (2 seeds) |" in text
    assert "- S: Semantic" in text
    assert main(["shapebench", *of_all, "--seed", "9", "-o", str(out), *WORDS]) == 2
    assert "differ in seed 0 and 9" in " ".join(capsys.readouterr().err.split())


def test_a_table_holds_clips_that_begin_alike(models, tmp_path: Path, capsys):
    model = str(write(tmp_path / "model", replace(STUDENT, begins_with="image")))
    out = ["--plans", "1", "-o", str(tmp_path / "out"), *WORDS]
    assert main(["shapebench", model, *out]) == 0
    cell = json.loads((tmp_path / "out" / "asd-seed0-1.json").read_text())
    assert (cell["protocol"]["begins_with"], cell["commits"]) == ("image", 1)
    assert main(["table", str(tmp_path / "out"), "--markdown"]) == 0
    assert "the first frames of their scenes" in capsys.readouterr().out
    for mixed in ([model, f"other={models['asd']}"], [models["asd"]]):
        assert main(["shapebench", *mixed, *out]) == 2
        assert "begin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plans", "3", "x"], "a plan is a number of steps"),
        (["--clips", "1"], "2 clips or more"),
        (["--split", "train"], "heldout"),
        (["--batch", "0"], "batch must be 1 or more"),
        (["--threads", "0"], "--threads must be 1 or more"),
        (["--seed", "-1"], "seed must be"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_message(models, tmp_path: Path, capsys, words, message):
    assert main(["shapebench", models["asd"], "--plans", "1", "-o", str(tmp_path), *WORDS, *words]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert message in err
    assert "Traceback" not in err


def test_no_model_and_no_results_are_refused(tmp_path: Path, capsys):
    assert main(["shapebench", str(tmp_path / "none"), "-o", str(tmp_path)]) == 2
    assert main(["table", str(tmp_path)]) == 2
    assert "fewstep shapebench" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))
