"""Every recipe of the package builds; every tiny one trains, keeps gradients to their owner, and resumes to the bit.

A new recipe is tested by being there.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewstep.training.checkpoint import load_newest, save_checkpoint
from fewstep.training.log import LineDisplay
from fewstep.training.recipe import Recipe, available, resolve
from fewstep.training.run import StageRun, run_recipe
from fewstep.training.trainer import Trainer

TINY = [name for name in available() if ".tiny" in name]
QUIET = LineDisplay(1000, io.StringIO())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def last_stage(name: str, out: Path, cache: Path) -> StageRun:
    """The stage that a tiny recipe is about; the stages before it are trained first."""
    recipe = resolve(name)()
    recipe = replace(recipe, runtime=replace(recipe.runtime, precision="float32"))
    models = {}
    if len(recipe.stages) > 1:
        before = replace(recipe, stages=recipe.stages[:-1])
        models = {stage.name: out / "before" / stage.name / "model" for stage in before.stages[:-1]}
        models[before.stages[-1].name] = run_recipe(before, out / "before", cache=cache, display=QUIET)
    stage = recipe.stages[-1]
    return StageRun(recipe, stage, out / stage.name, out / "model", models, cache)


@pytest.mark.parametrize("name", available())
def test_recipes_are_named_as_they_are_found(name: str) -> None:
    recipe = resolve(name)()
    assert isinstance(recipe, Recipe)
    assert recipe.name == name


@pytest.mark.parametrize("name", TINY)
def test_two_cycles_keep_gradients_to_their_owner_and_resume_to_the_bit(name: str, tmp_path: Path, cache: Path) -> None:
    run = last_stage(name, tmp_path, cache)
    whole = run.prepare(QUIET).trainer
    owners_only(whole)
    half = run.prepare(QUIET).trainer
    half.cycle()
    save_checkpoint(run.folder / "checkpoints", half.state_dict(), half.step, keep=1)
    resumed = run.prepare(QUIET).trainer
    assert resumed.step == 1
    resumed.cycle()
    assert whole.position == resumed.position
    assert_same(whole.state_dict(), resumed.state_dict())
    assert load_newest(run.folder / "checkpoints", print) is not None


def owners_only(trainer: Trainer) -> None:
    """Two cycles; in each turn the player's parameters and no others receive gradient, and they change."""
    for learner in trainer.learners.values():
        others = [other for other in trainer.learners.values() if other is not learner]

        def clip(learner=learner, others=others, clip=learner.clip) -> torch.Tensor:
            assert any(p.grad is not None for p in learner.parameters)
            assert all(p.grad is None for other in others for p in other.parameters)
            return clip()

        learner.clip = clip  # type: ignore[method-assign]
    before = {name: [p.detach().clone() for p in one.parameters] for name, one in trainer.learners.items()}
    trainer.cycle()
    trainer.cycle()
    for name, learner in trainer.learners.items():
        assert learner.updates > 0, f"{name} had no turn"
        moved = [not torch.equal(p, old) for p, old in zip(learner.parameters, before[name], strict=True)]
        assert any(moved), f"{name} learned nothing"


def assert_same(left: object, right: object, where: str = "state") -> None:
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list):
        assert len(left) == len(right), where
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_same(*pair, f"{where}.{index}")
    else:
        assert left == right, where
