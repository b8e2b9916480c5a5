"""`fewstep vbench` from prompts to scores, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewstep.cli import main


def vbench(*words: object) -> int:
    return main(["vbench", *map(str, words)])


def test_from_prompts_to_scores(toy, tmp_path: Path, capsys, monkeypatch) -> None:
    lists = ["--checkout", toy.checkout, "--any-list"]
    assert vbench("prompts", *lists, "-o", tmp_path / "prompts") == 0
    told = capsys.readouterr().out
    assert "VBench: 70 clips" in told
    assert f"fewstep sample MODEL --plans 4 --prompts {tmp_path / 'prompts' / 'prompts.txt'} --seeds 0,1,2,3,4" in told
    texts = (tmp_path / "prompts" / "prompts.txt").read_text().splitlines()
    clips, out = toy.sample("clips", texts, range(5)), tmp_path / "out"
    assert vbench("export", clips, *lists, "-o", out) == 0
    told = capsys.readouterr().out
    assert "temporal_flickering      5 of 25" in told
    assert "missing" in told
    monkeypatch.setenv("VBENCH_PYTHON", str(toy.python))
    assert vbench("run", out, "--checkout", toy.checkout) == 0
    assert "scene: 52.00 of 5 clips" in capsys.readouterr().err
    assert vbench("score", out) == 0
    told = capsys.readouterr().out
    assert all(
        word in told for word in ("Quality", "Semantic", "Total", "temporal_flickering: 3 of 5 clips are static")
    )
    kept = json.loads((out / "scores.json").read_text())
    quality, semantic, total = (kept["scores"][name]["value"] for name in ("quality", "semantic", "total"))
    assert total == pytest.approx((4 * quality + semantic) / 5)
    assert vbench("score", out / "results", *lists, "--json") == 0
    plain = json.loads(capsys.readouterr().out)[str(out / "results")]
    assert plain["scores"] == kept["scores"]


def test_what_is_complete_is_run_and_what_is_measured_is_scored(toy, tmp_path: Path, capsys) -> None:
    lists, out = ["--checkout", toy.checkout, "--any-list"], tmp_path / "out"
    vbench("export", toy.sample("clips", ["alley"], range(5)), *lists, "-o", out)
    run = ["run", out, "--checkout", toy.checkout, "--python", toy.python]
    assert vbench(*run) == 0
    assert {path.name for path in (out / "results").iterdir()} == {
        "scene_eval_results.json",
        "background_consistency_eval_results.json",
    }
    capsys.readouterr()
    assert vbench("score", out) == 2
    told = capsys.readouterr()
    assert "scene                    52.00" in told.out
    assert "Quality of VBench needs 7 dimensions, subject_consistency, temporal_flickering" in told.err
    assert not (out / "scores.json").exists()
    assert vbench(*run, "--dimensions", "scene,color") == 2
    assert "color needs 5 clips, 5 are missing" in capsys.readouterr().err


def test_a_failed_dimension_is_an_error_of_the_command(toy, tmp_path: Path, capsys) -> None:
    lists, out = ["--checkout", toy.checkout, "--any-list"], tmp_path / "out"
    vbench("export", toy.sample("clips", ["alley"], range(5)), *lists, "-o", out)
    (toy.checkout / "broken").touch()
    assert vbench("run", out, "--checkout", toy.checkout, "--python", toy.python, "--dimensions", "scene") == 2
    told = capsys.readouterr().err
    assert "CUDA out of memory" in told
    assert "scene failed: run the command again" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["measure"], "`fewstep vbench` is followed by prompts, export, run, score, got 'measure'"),
        (["prompts", "--checkout", "nowhere"], "a checkout of VBench was required"),
        (["prompts", "--checkout", "VBench"], "is not the list that VBench's scores are published for"),
        (["prompts", "--checkout", "VBench", "--any-list", "--dimensions", "fvd"], "a dimension of VBench is required"),
        (["prompts", "--checkout", "VBench", "--any-list", "--i2v"], "--size is required"),
        (["export", "clips", "--checkout", "VBench", "--any-list", "-o", "out"], "has no manifest"),
        (["run", "out", "--checkout", "VBench"], "give --python or set VBENCH_PYTHON"),
        (["run", "out", "--checkout", "VBench", "--python", "python"], "export the clips first"),
        (["score", "out"], "export the clips first"),
        (["score"], "a folder that was evaluated is required"),
        (["score", "out", "--checkout", "VBench", "--any-list"], "there is none in out"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(toy, words: list[str], message: str, capsys, monkeypatch) -> None:
    monkeypatch.chdir(toy.folder)
    monkeypatch.delenv("VBENCH_PYTHON", raising=False)
    assert vbench(*words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.strip().count("\n") == 0


def test_help_names_the_four(capsys) -> None:
    assert vbench("--help") == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("prompts", "export", "run", "score"))
