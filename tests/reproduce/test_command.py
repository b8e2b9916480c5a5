from __future__ import annotations

import pytest

from fewstep.cli import main
from fewstep.reproduce.asd import wan as asd_wan
from fewstep.reproduce.full_scale import T2V, Cluster, prompts_run


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


def test_commands_at_full_size_carry_seed_options_cost_and_disk(tmp_path):
    cluster = Cluster(gpus=8, rate=990e12, runs=tmp_path)
    run, folder = cluster.train("self_forcing.tiny", 2, "2step", ("--stages.1.method.levels", "1.0"), share=0.5)
    assert folder == tmp_path / "self_forcing.tiny.2step.seed2"
    assert run.line.endswith(f"--out {folder} --seed 2 --stages.1.method.levels 1.0")
    whole, _ = cluster.train("self_forcing.tiny", 2)
    assert run.gpu_hours == pytest.approx(whole.gpu_hours / 2)
    assert run.disk > 0
    assert "GPU-hours" in run.told


def test_vbench_is_sampled_named_judged_and_scored_in_that_order(tmp_path):
    cluster = Cluster(gpus=8, rate=990e12, runs=tmp_path)
    cluster._clips[("wan_1_3b", "2*", 81)] = 1e15  # rehearsed elsewhere
    runs = cluster.vbench("asd at 2*", "asd", tmp_path / "m", 0, "2*", T2V, size="wan_1_3b")
    assert [run.command[1] for run in runs] == ["sample", "sample", "vbench", "vbench", "vbench"]
    assert [run.command[2] for run in runs[2:]] == ["export", "run", "score"]
    assert T2V.clips == 6220
    assert runs[0].gpu_hours == pytest.approx(4720 * 1e15 / (990e12 * 0.4) / 3600)
    assert prompts_run(T2V).command[:3] == ("fewstep", "vbench", "prompts")


def test_the_retrained_levels_are_those_of_the_paper():
    from fewstep.diffusion.steps import shifted_levels

    for row, raw in (("dmd2", (1000, 500)), ("dmd1", (1000,))):
        _, levels, _ = asd_wan.RETRAINED[row]
        assert tuple(map(float, levels)) == pytest.approx(shifted_levels(raw))
