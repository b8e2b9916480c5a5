"""Causal Forcing from its bidirectional teacher to students that start from a causal one."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewstep.models.checkpoint_dir import read_passport
from fewstep.pipeline import Pipeline
from fewstep.planning.train import plan_recipe
from fewstep.recipes import causal_forcing, ode
from fewstep.training.log import LineDisplay, read_log
from fewstep.training.run import run_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, recipe = tmp_path_factory.mktemp("causal_forcing") / "run", causal_forcing.tiny()
    runtime = replace(recipe.runtime, precision="float32", sample_every=2)
    run_recipe(replace(recipe, runtime=runtime), out, display=LineDisplay(1000, io.StringIO()))
    return out


def test_a_causal_teacher_is_a_teacher_that_makes_clips_chunk_by_chunk(run: Path) -> None:
    passport = read_passport(run / "causal" / "model")
    assert (passport.kind, passport.causal_teacher, passport.layout.chunk) == ("teacher", True, 1)
    assert read_log(run / "causal" / "log.jsonl")[-1]["monitor/motion_ode"] > 0
    teacher = Pipeline.load(str(run / "causal" / "model"), device="cpu")
    made = teacher.generate("a red circle", steps=3)
    assert made.network_evaluations == 2 * 3 * 3, "two branches, three chunks, three steps"
    picture = np.full((64, 64, 3), 200, dtype=np.uint8)
    behind = teacher.generate("a red circle", steps=3, image=picture)
    assert np.asarray(behind).shape == np.asarray(made).shape
    assert behind.commits == 2 * 2
    with pytest.raises(ValueError, match="is a teacher: use generate"):
        teacher.stream("a red circle")


def test_its_trajectories_are_recorded_once_behind_their_own_ends(run: Path) -> None:
    (folder,) = (run.parent / "cache").glob("trajectories-*")
    spec = json.loads((folder / "spec.json").read_text())
    assert spec["layout"] == {"chunk": 1, "first": None}
    log = read_log(run / "ode" / "log.jsonl")[-1]
    assert log["generator/ode"] > 0


def test_the_student_is_sampled_in_few_steps(run: Path) -> None:
    passport = read_passport(run / "model")
    assert (passport.kind, passport.causal_teacher, passport.levels) == ("student", False, (1.0, 0.75))
    assert Pipeline.load(str(run / "model"), device="cpu").generate("a red circle", steps=1).network_evaluations == 3


def test_the_full_size_runs_have_the_published_numbers() -> None:
    causal, regression = causal_forcing.wan_1_3b().stages
    (consistency,) = causal_forcing.wan_1_3b_consistency().stages
    assert [(s.steps, s.batch * s.accumulate) for s in (causal, regression, consistency)] == [
        (2000, 64),
        (1000, 64),
        (3000, 64),
    ]
    assert {s.method.optim.lr for s in (causal, regression, consistency)} == {2e-6}
    assert [s.method.optim.betas for s in (causal, regression)] == [(0.0, 0.999), (0.9, 0.999)]
    assert (consistency.method.grid, consistency.method.guidance, consistency.method.optim.ema) == (48, 3.0, 0.99)
    paths = regression.data
    assert (paths.steps, paths.shift, paths.guidance) == (48, 5.0, 6.0)
    assert (paths.levels, paths.layout) == (regression.method.levels, regression.method.layout)


def test_plans_know_a_teacher_that_a_run_is_yet_to_leave_and_what_its_trajectories_cost() -> None:
    (plan,) = plan_recipe(causal_forcing.shapes_consistency())
    parts = {name for phase in plan.phases for name in phase.memory}
    assert {"teacher", "generator: average"} <= parts
    recipe = causal_forcing.tiny()
    chunkwise = plan_recipe(recipe)[-1]
    assert chunkwise.phases[0].name == "record trajectories"
    assert chunkwise.phases[0].memory["keys and values"] > 0
    whole = replace(recipe.stages[-1], data=replace(recipe.stages[-1].data, layout=None))
    bidirectional = plan_recipe(replace(recipe, stages=(*recipe.stages[:-1], whole)))[-1]
    # the same products, less attention to frames to come, and commits
    assert 0.9 * bidirectional.once < chunkwise.once < 1.3 * bidirectional.once


def test_teacher_forcing_costs_as_much_as_twice_the_frames() -> None:
    forced, noisy = (plan_recipe(recipe())[-1].flops for recipe in (causal_forcing.tiny, ode.tiny))
    assert 1.6 < forced / noisy < 2.1
