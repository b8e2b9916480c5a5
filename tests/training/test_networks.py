"""What a stage's parts are given: one teacher for all who hold it, ready for a gradient that crosses it."""

from __future__ import annotations

import gc
from dataclasses import replace

import torch

from fewstep.recipes import asd
from fewstep.training.networks import RecipeNetworks


def networks() -> RecipeNetworks:
    recipe = replace(asd.tiny(), teacher=None)
    recipe = replace(recipe, stages=(replace(recipe.stages[-1], init=None),))
    recipe = replace(recipe, runtime=replace(recipe.runtime, gradient_checkpointing=True))
    return RecipeNetworks(recipe, recipe.stages[-1], device=torch.device("cpu"), dtype=torch.float32)


def test_all_who_hold_the_teacher_hold_one_and_nobody_else_keeps_it() -> None:
    source = networks()
    teacher = source.teacher()
    assert source.teacher() is teacher
    assert not any(p.requires_grad for p in teacher.parameters())
    weights = {name: value.clone() for name, value in teacher.state_dict().items()}
    gone = id(teacher)
    del teacher
    gc.collect()
    assert source._teacher is not None
    assert source._teacher() is None, "trajectories need it for a while, and its memory is wanted afterwards"
    again = source.teacher()
    assert gone
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())


def test_networks_that_learn_are_copies_of_their_own() -> None:
    source = networks()
    assert source.fake_score() is not source.fake_score()
    assert source.student() is not source.student()


def test_a_gradient_through_the_teacher_is_checkpointed_where_the_recipe_says_so() -> None:
    assert networks().teacher().gradient_checkpointing
