from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewstep.cli import main


def test_a_model_is_planned_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "plan.json"
    words = ["plan", "shapes", "--memory", "8", "--tflops", "2", "--steps", "1", "--json", str(target)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "denoise" in said
    assert "it fits" in said
    assert "seconds where matrix products run at 2 TFLOP/s" in said
    (plan,) = json.loads(target.read_text())
    assert plan["fits"]
    assert plan["switches"] == []


def test_a_recipe_is_planned_stage_by_stage(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "ode.tiny", "--memory", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "stage teacher" in said
    assert "record trajectories" in said
    assert "it does not fit" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wan_3b"], "wan_1_3b"),
        (["shapes", "--size", "64"], "WIDTHxHEIGHT"),
        (["shapes", "--size", "100x64"], "multiples of 16"),
        (["shapes", "--frames", "10"], "1 more than a multiple of 4"),
        (["shapes", "--gpus", "0"], "--gpus must be more than 0"),
        (["vae.tiny"], "video transformer"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(words, said, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
