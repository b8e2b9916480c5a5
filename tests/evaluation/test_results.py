from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from fewstep.evaluation.results import (
    Cell,
    Protocol,
    ResultsError,
    Timing,
    file_name,
    load_cell,
    load_cells,
    save_cell,
)

PROTOCOL = Protocol(split="test", clips=2, seed=0, prompts="abc", batch=32, scorer=1)
CELL = Cell(
    row="asd",
    kind="student",
    model="shapes-asd",
    plan="1*",
    training_seed=0,
    fingerprint="f00",
    commit=None,
    trained_by="asd.shapes",
    protocol=PROTOCOL,
    evaluations=6,
    commits=2,
    timing=Timing(seconds=0.1, denoise=0.06, decode=0.04, clips=5, threads=2, device="cpu", dtype="float32"),
    summary={"semantic": {"mean": 0.5, "low": 0.25, "high": 0.75}},
    clips=[{"index": 0, "caption": "a ball", "color": 1.0}, {"index": 1, "caption": "a box", "color": 0.5}],
)


def test_a_cell_comes_back_from_disk_as_it_was(tmp_path: Path):
    assert load_cell(save_cell(CELL, tmp_path)) == CELL


@pytest.mark.parametrize(("field", "then"), [("begins_with", "text"), ("noise", "batch")])
def test_a_file_from_before_there_was_a_choice_means_what_was_done_then(tmp_path: Path, field: str, then: str):
    path = save_cell(CELL, tmp_path)
    plain = json.loads(path.read_text())
    assert plain["protocol"].pop(field) == then
    path.write_text(json.dumps(plain))
    assert load_cell(path) == CELL


def test_what_is_not_a_number_is_null_on_disk(tmp_path: Path):
    nothing = {"mean": math.nan, "low": math.nan, "high": math.nan}
    path = save_cell(replace(CELL, summary={"semantic": nothing}), tmp_path)
    assert json.loads(path.read_text())["summary"]["semantic"]["mean"] is None
    assert math.isnan(load_cell(path).summary["semantic"]["mean"])


def test_every_plan_and_row_has_a_file_of_its_own():
    assert file_name("asd", 0, "1*") == "asd-seed0-1star.json"
    assert file_name("truth", 0, "-") == "truth-seed0-all.json"
    assert "/" not in file_name("../my row", 1, "4")
    assert len({file_name("asd", 0, plan) for plan in ("4", "2*", "2", "1*", "1")}) == 5


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', '{"version": 1}', '{"version": 9}', '{"version": 1, "protocol": 3}']
)
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str):
    path = tmp_path / "asd-seed0-1.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=path.name):
        load_cell(path)


def test_a_cell_that_lost_clips_is_refused(tmp_path: Path):
    path = save_cell(replace(CELL, clips=CELL.clips[:1]), tmp_path)
    with pytest.raises(ResultsError, match="must hold 2 clips, it has 1"):
        load_cell(path)


def test_a_folder_without_results_is_refused(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ResultsError, match="fewstep shapebench"):
            load_cells(folder)


def test_cells_of_two_protocols_do_not_share_a_table(tmp_path: Path):
    save_cell(CELL, tmp_path)
    save_cell(replace(CELL, plan="4", protocol=replace(PROTOCOL, seed=1, prompts="xyz")), tmp_path)
    with pytest.raises(ResultsError, match=r"differ in seed . and ., prompts"):
        load_cells(tmp_path)
