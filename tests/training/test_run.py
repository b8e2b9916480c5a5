"""A run killed at any moment ends with the weights of one that never was; a folder belongs to one recipe."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fewstep.methods.base import OptimConfig
from fewstep.methods.dmd import DMDConfig
from fewstep.methods.teacher import TeacherConfig
from fewstep.models.checkpoint_dir import ModelError, Passport, save_model
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.recipes import asd, teacher
from fewstep.recipes.worlds import TINY
from fewstep.training.checkpoint import saved_steps
from fewstep.training.data import PromptFileData
from fewstep.training.log import LOG, LineDisplay, read_log
from fewstep.training.recipe import Recipe, RecipeError, Runtime, Stage
from fewstep.training.run import run_recipe
from fewstep.training.trainer import Cycle

STEPS = 8
WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"


def game(steps: int = STEPS) -> Recipe:
    """ASD's three players, with an average and checkpoints that a kill leaves cycles behind."""
    base = asd.tiny()
    last = replace(base.stages[-1], steps=steps)
    runtime = replace(base.runtime, checkpoint_every=3, precision="float32")
    return replace(base, stages=(*base.stages[:-1], last), runtime=runtime)


def recipe(steps: int = STEPS, **changed: object) -> Recipe:
    """A teacher that checkpoints after every cycle."""
    base = teacher.tiny()
    runtime = replace(base.runtime, checkpoint_every=1, precision="float32")
    return replace(base, stages=(replace(base.stages[0], steps=steps),), runtime=runtime, **changed)


def run(out: Path, recipe: Recipe, said: io.StringIO | None = None) -> Path:
    return run_recipe(recipe, out, display=LineDisplay(1000, said or io.StringIO()))


def killed_again_and_again(out: Path) -> int:
    """Start the run in a child, kill it once at a random moment and then each time when the log of the game has grown
    past some length, until it gets to its end; returns how many logged cycles it had to repeat."""
    repeated, log = 0, out / "asd" / LOG
    for lines in (random.Random(0).uniform(0.02, 0.3), 2, 5, 7, None):
        child = os.fork()
        if child == 0:
            run(out, game())
            os._exit(0)
        if lines is None:
            assert os.waitpid(child, 0)[1] == 0
            return repeated
        if isinstance(lines, float):
            time.sleep(lines)
        while isinstance(lines, int) and (not log.is_file() or log.read_text().count("\n") < lines):
            assert os.waitpid(child, os.WNOHANG)[0] == 0, "the run ended before it was killed"
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        logged = log.read_text().count("\n") if log.is_file() else 0
        repeated += logged - max([0, *saved_steps(out / "asd/checkpoints")])
    raise AssertionError


def test_killed_between_its_checkpoints_a_game_of_three_ends_with_the_same_weights(tmp_path: Path) -> None:
    # one fresh process with one thread, whose children can be forked and killed cheaply
    program = "import sys, pathlib, runpy; runpy.run_path(sys.argv[1])['main'](pathlib.Path(sys.argv[2]))"
    command = [sys.executable, "-c", program, __file__, str(tmp_path)]
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": source}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 3, "each of three kills loses a cycle that was logged"
    whole, killed = load_file(tmp_path / "whole" / WEIGHTS), load_file(tmp_path / "killed" / WEIGHTS)
    assert all((whole[name] == killed[name]).all() for name in whole)
    lines = [read_log(tmp_path / name / "asd" / LOG) for name in ("whole", "killed")]
    for line in (line for log in lines for line in log):
        del line["seconds"]
    assert [line["cycle"] for line in lines[1]] == list(range(1, STEPS + 1))
    assert lines[0] == lines[1], "repeated cycles are logged once, with the signals of those that were lost"


def main(folder: Path) -> None:
    run(folder / "whole", game())
    print(killed_again_and_again(folder / "killed"))


def test_more_steps_continue_a_finished_run_and_equal_one_that_had_them(tmp_path: Path) -> None:
    run(tmp_path / "grown", recipe(2))
    run(tmp_path / "grown", recipe(4))
    run(tmp_path / "whole", recipe(4))
    grown, whole = load_file(tmp_path / "grown" / WEIGHTS), load_file(tmp_path / "whole" / WEIGHTS)
    assert all((grown[name] == whole[name]).all() for name in whole)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, recipe(1))
    said = io.StringIO()
    run(tmp_path, recipe(1), said)
    assert said.getvalue().startswith("teacher: done before")


def test_a_folder_refuses_another_recipe_and_says_what_changed(tmp_path: Path) -> None:
    run(tmp_path, recipe(1))
    other = recipe(1, seed=3)
    method = TeacherConfig(shift=4.0, optim=OptimConfig(lr=1e-3, ema=0.9))
    other = replace(other, stages=(replace(other.stages[0], method=method),))
    with pytest.raises(RecipeError) as caught:
        run(tmp_path, other)
    message = str(caught.value)
    assert "stages.0.method.shift: 3.0 -> 4.0" in message
    assert "seed: 0 -> 3" in message
    assert "lr" not in message
    with pytest.raises(RecipeError, match="already holds a run"):
        run_recipe(recipe(1), tmp_path, resume=False, display=LineDisplay(1000, io.StringIO()))


def test_a_run_that_ended_before_it_learned_anything_leaves_its_folder_free(tmp_path: Path) -> None:
    first = recipe(1)
    nowhere = replace(first, stages=(replace(first.stages[0], init=str(tmp_path / "nowhere")),))
    with pytest.raises(ModelError, match="nowhere"):
        run(tmp_path / "run", nowhere)
    assert (tmp_path / "run/recipe.json").is_file()
    run(tmp_path / "run", recipe(1, seed=3))
    with pytest.raises(RecipeError, match="seed: 3 -> 0"):
        run(tmp_path / "run", recipe(1))


def test_the_result_and_the_recipe_can_be_read(tmp_path: Path) -> None:
    model = run(tmp_path, replace(recipe(1), runtime=replace(recipe(1).runtime, sample_every=1)))
    assert model == tmp_path / "model"
    text = (tmp_path / "recipe.json").read_text()
    assert '"type": "fewstep.methods.teacher.TeacherConfig"' in text
    assert {path.suffix for path in (tmp_path / "teacher/samples").iterdir()} == {".png", ".gif"}
    line = read_log(tmp_path / "teacher/log.jsonl")[0]
    assert line["generator/grad_norm"] > 0
    assert line["monitor/motion_ode"] > 0
    assert line["batches"] == 1


@pytest.mark.parametrize("changed", [{"gradient_checkpointing": True}, {"precision": "bfloat16"}])
def test_how_a_run_computes_changes_its_result_by_rounding_only(tmp_path: Path, changed: dict) -> None:
    plain = recipe(2)
    run(tmp_path / "plain", plain)
    run(tmp_path / "other", replace(plain, runtime=replace(plain.runtime, **changed)))
    first, second = (read_log(tmp_path / name / "teacher/log.jsonl")[-1] for name in ("plain", "other"))
    exact = "gradient_checkpointing" in changed
    assert second["generator/loss"] == pytest.approx(first["generator/loss"], rel=1e-6 if exact else 1e-2)
    assert second["generator/grad_norm"] == pytest.approx(first["generator/grad_norm"], rel=1e-5 if exact else 5e-2)


def student(folder: Path, steps: int, **changed: object) -> Recipe:
    """A one-step student whose learning rate is so high that the motion of its samples goes up and down."""
    prompts = folder / "prompts.txt"
    prompts.write_text("a red circle\na blue square\n")
    wild, shape, layout = OptimConfig(lr=0.3), (2, 16, 4, 4), ChunkLayout(2)
    method = DMDConfig(levels=(1.0,), latent_shape=shape, layout=layout, ratio=1, guidance=1.0, generator_optim=wild)
    data = PromptFileData(path=str(prompts))
    stage = Stage(name="dmd", method=method, data=data, steps=steps, batch=1, look_every=1, **changed)
    return TINY.recipe("trial", stage, runtime=Runtime(precision="float32", checkpoint_every=1))


def test_a_stage_that_watches_motion_ends_when_it_falls_with_the_weights_from_before(tmp_path: Path) -> None:
    said, watching = io.StringIO(), student(tmp_path, 40, keep_motion=1.0)
    run(tmp_path / "stopped", watching, said)
    facts = json.loads((tmp_path / "stopped/dmd/stopped.json").read_text())
    assert "clips keep less than 100% of their motion" in said.getvalue()
    assert facts["kept_cycle"] == facts["cycle"] - 1
    assert facts["motion"] < facts["most_motion"]
    assert len(read_log(tmp_path / "stopped/dmd/log.jsonl")) == facts["cycle"]
    assert json.loads((tmp_path / "stopped/model/fewstep.json").read_text())["steps"] == facts["kept_cycle"]

    run(tmp_path / "short", student(tmp_path, facts["kept_cycle"]))
    stopped, short = (load_file(tmp_path / name / WEIGHTS) for name in ("stopped", "short"))
    assert all((stopped[name] == short[name]).all() for name in short)

    said = io.StringIO()
    run(tmp_path / "stopped", watching, said)
    assert said.getvalue().startswith("dmd: done before")

    def kill(_: str, cycle: Cycle) -> None:
        if cycle.step == facts["cycle"] - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(watching, tmp_path / "killed", display=LineDisplay(1000, io.StringIO()), on_cycle=kill)
    run(tmp_path / "killed", watching)
    assert json.loads((tmp_path / "killed/dmd/stopped.json").read_text()) == facts, "the most motion was remembered"


def test_a_stage_whose_motion_only_falls_ends_with_the_weights_it_began_with(tmp_path: Path) -> None:
    start, fading = VideoDiT(PRESETS["tiny"]), OptimConfig(lr=1e-4, weight_decay=5e3)  # half of every weight an update
    torch.nn.init.normal_(start.head.head.weight, std=0.5)
    facts = {"name": "start", "kind": "teacher", "latent_frames": 2, "height": 32, "width": 32}
    save_model(tmp_path / "start", Passport(**facts), transformer=start)
    watching = student(tmp_path, 4, keep_motion=0.9, init=str(tmp_path / "start"))
    stage = replace(watching.stages[0], method=replace(watching.stages[0].method, generator_optim=fading))
    run(tmp_path / "run", replace(watching, stages=(stage,)))
    facts = json.loads((tmp_path / "run/dmd/stopped.json").read_text())
    assert (facts["cycle"], facts["kept_cycle"]) == (1, 0)
    assert facts["motion"] < 0.9 * facts["most_motion"]
    ended, began = load_file(tmp_path / "run" / WEIGHTS), load_file(tmp_path / WEIGHTS.replace("model", "start", 1))
    assert all((ended[name] == began[name]).all() for name in began)


def test_motion_is_watched_of_students_only(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"of a causal student's clips, got 0\.5"):
        replace(recipe().stages[0], keep_motion=0.5)
    with pytest.raises(RecipeError, match=r"share in .* got 0"):
        student(tmp_path, 1, keep_motion=0.0)
