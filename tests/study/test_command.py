from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from fewstep.cli import main
from fewstep.study.answers import LOG
from fewstep.study.pairs import load_study


def run(*words: object) -> int:
    return main(["study", *map(str, words)])


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    """The message of an error, in one line."""
    capsys.readouterr()
    assert run(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_study_is_made_asked_and_analysed(sets, write_set, tmp_path: Path, capsys: pytest.CaptureFixture):
    third = write_set(tmp_path / "third", value=62)
    words = [f"asd={sets[0]}", f"dmd={sets[1]}", third, "--design", "first", "--prompts", 3, "--per-rater", 4]
    assert run(*words, "-o", tmp_path / "study", "--title", "T") == 0
    study = load_study(tmp_path / "study")
    assert (study.models, len(study.pairs), study.per_rater) == (("asd", "dmd", "third"), 6, 4)
    assert f"study {study.identity}: 6 pairs of asd, dmd, third; 4 per rater" in capsys.readouterr().out
    for number, name in enumerate(("ann", "bob")):
        answers = [
            {
                "study": study.identity,
                "rater": name,
                "pair": pair.name,
                "left": pair.first.clip,
                "right": pair.second.clip,
                "choice": "left" if pair.second.model == "dmd" else "similar",
                "seconds": 2.0,
                "at": f"2026-11-20T10:00:0{number}.000Z",
            }
            for pair in study.pairs
        ]
        if number:
            (tmp_path / "bob.json").write_text(json.dumps({"rater": name, "answers": answers}))
        else:
            (tmp_path / "study" / LOG).write_text("".join(f"{json.dumps(each)}\n" for each in answers))
    assert run("analyse", tmp_path / "study", tmp_path / "bob.json", "-o", tmp_path / "a.json") == 0
    out = capsys.readouterr().out
    assert "12 answers of 2 raters to 3 prompts" in out
    assert "asd over dmd" in out
    found = json.loads((tmp_path / "a.json").read_text())["comparisons"]
    assert [(c["second"], c["wins"], c["ties"], c["losses"]) for c in found] == [("dmd", 6, 0, 0), ("third", 0, 6, 0)]


def test_what_cannot_be_made_or_read_is_one_line(sets, write_set, tmp_path: Path, capsys: pytest.CaptureFixture):
    study = tmp_path / "study"
    other = write_set(tmp_path / "other", ["another prompt"])
    assert "same prompts" in refused(capsys, sets[0], other, "-o", study)
    assert "two models or more" in refused(capsys, sets[0], "-o", study)
    assert "--per-rater must be 1 or more, got 0" in refused(capsys, *sets, "--per-rater", 0, "-o", study)
    assert not study.exists()
    assert "a study's folder is required" in refused(capsys, "analyse", study)
    assert "a study's folder is required" in refused(capsys, "serve", study)
    assert run(*sets, "-o", study) == 0
    assert "holds another study" in refused(capsys, *sets, "--seed", 1, "-o", study)
    assert "answers are required" in refused(capsys, "analyse", study)
    assert "cannot be read" in refused(capsys, "analyse", study, tmp_path / "none.json")


def test_an_address_that_is_taken_is_one_line(sets, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run(*sets, "-o", tmp_path) == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen at 127.0.0.1" in refused(capsys, "serve", tmp_path, "--port", taken.getsockname()[1])


def test_help_lists_what_can_be_done(capsys: pytest.CaptureFixture):
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(f"fewstep study {word}" in out for word in ("make", "serve", "analyse"))
