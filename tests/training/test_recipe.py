"""Recipes by name, as text, and compared."""

from __future__ import annotations

import json

import pytest

from fewstep.recipes import asd, teacher
from fewstep.training.recipe import RecipeError, Runtime, available, changes, describe, require_same, resolve


def test_short_and_dotted_names_find_the_function() -> None:
    assert resolve("asd.tiny") is asd.tiny
    assert resolve("fewstep.recipes.asd.tiny") is asd.tiny
    assert "asd.tiny" in available()
    assert not any(name.startswith("worlds") for name in available())


@pytest.mark.parametrize("name", ["asd.tiyn", "asd", "no_such_module.run", ""])
def test_unknown_names_are_errors_that_help(name: str) -> None:
    with pytest.raises(RecipeError, match="no recipe is called") as caught:
        resolve(name)
    assert "asd.tiny" in str(caught.value)


def test_a_described_recipe_is_json_and_equals_itself() -> None:
    text = json.dumps(describe(asd.tiny()))
    assert list(changes(json.loads(text), json.loads(json.dumps(describe(asd.tiny()))))) == []


def test_only_growth_and_reporting_may_change_on_resumption() -> None:
    before = {"stages": [{"steps": 1, "data": {"steps": 4}}], "runtime": {"keep": 1, "compile": False}}
    require_same(
        before, {"stages": [{"steps": 9, "data": {"steps": 4}}], "runtime": {"keep": 3, "compile": False}}, "x"
    )
    with pytest.raises(RecipeError, match=r"stages.0.data.steps: 4 -> 5"):
        require_same(before, {**before, "stages": [{"steps": 1, "data": {"steps": 5}}]}, "x")
    with pytest.raises(RecipeError, match="compile"):
        require_same(before, {**before, "runtime": {"keep": 1, "compile": True}}, "x")


def test_impossible_counts_are_errors() -> None:
    with pytest.raises(RecipeError, match="keep must be at least 1, got 0"):
        Runtime(keep=0)
    stage = teacher.tiny().stages[0]
    with pytest.raises(RecipeError, match="names of their own"):
        type(teacher.tiny())(name="twice", stages=(stage, stage))


def test_a_run_of_an_older_version_goes_on_with_the_fields_that_came_since_at_their_defaults() -> None:
    now = json.loads(json.dumps(describe(asd.tiny())))
    older = json.loads(json.dumps(now))
    for key in ("keep_motion", "look_every"):
        del older["stages"][-1][key]
    for key in ("real", "loss", "context"):
        del older["stages"][-1]["method"][key]
    require_same(older, now, "the folder")
    now["stages"][-1]["method"]["real"] = "videos"
    with pytest.raises(RecipeError, match=r"stages\.1\.method\.real: ahead -> videos"):
        require_same(older, now, "the folder")
