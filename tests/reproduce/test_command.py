from __future__ import annotations

import pytest

from fewstep.cli import main


def test_a_dry_run_prints_what_is_missing_with_its_cost_and_command(tmp_path, capsys):
    run = tmp_path / "runs" / "asd.shapes"
    (run / "asd").mkdir(parents=True)
    (run / "asd" / "log.jsonl").write_text('{"cycle": 1, "seconds": 6.0}\n')
    words = ["reproduce", "asd", "--dry-run", "--items", "figure14", "--runs", str(tmp_path / "runs")]
    assert main([*words, "-o", str(tmp_path / "out"), "--seeds", "0,1", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "training: 2 missing, about 0.3 hours" in printed  # 80 cycles of 6 s, twice
    assert f"fewstep train asd.shapes --out {run} --seed 0" in printed
    assert f"{run}.seed1 --seed 1" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["asd", "--items", "table9"], "choose from table1"),
        (["asd", "--clips", "1"], "--clips must be 2 or more"),
        (["asd", "--seeds", "a"], "--seeds must be whole numbers"),
    ],
)
def test_bad_input_is_one_message(words, said, capsys):
    assert main(["reproduce", *words, "--dry-run"]) == 2
    assert said in capsys.readouterr().err
