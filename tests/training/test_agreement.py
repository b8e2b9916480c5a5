"""What a method learns from is what it says, or nothing is trained."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import Passport, save_model
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.recipes import aad1, asd, causal_forcing, ode, self_forcing
from fewstep.training.agreement import require_agreement
from fewstep.training.log import LineDisplay
from fewstep.training.recipe import Recipe, RecipeError, Runtime, available, resolve
from fewstep.training.run import run_recipe


def last(recipe: Recipe, *, method: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> Recipe:
    """The recipe with fields of its last stage's method or data changed."""
    stage = recipe.stages[-1]
    changed = replace(stage, method=replace(stage.method, **(method or {})), data=replace(stage.data, **(data or {})))
    return replace(recipe, stages=(*recipe.stages[:-1], changed))


def check(recipe: Recipe) -> None:
    require_agreement(recipe, recipe.stages[-1])


def folder(path: Path, **facts: Any) -> str:
    size = {"latent_frames": 3, "height": 64, "width": 64}
    save_model(
        path, Passport(**{"name": path.name, "kind": "teacher", **size, **facts}), transformer=VideoDiT(PRESETS["tiny"])
    )
    return str(path)


def test_the_parts_of_every_tiny_recipe_agree() -> None:
    for name in (each for each in available() if ".tiny" in each):
        for stage in (recipe := resolve(name)()).stages:
            require_agreement(recipe, stage)


@pytest.mark.parametrize(
    ("recipe", "method", "data", "message"),
    [
        (causal_forcing.tiny, {"levels": (1.0, 0.5)}, {}, r"levels, \(1\.0, 0\.5\), got \(1\.0, 0\.75\)"),
        (ode.tiny, {"levels": (1.0, 0.5)}, {}, r"levels, \(1\.0, 0\.5\), got \(1\.0, 0\.75\)"),
        (ode.tiny, {}, {"latent_shape": (4, 16, 8, 8)}, r"latent_shape, \(3, 16, 8, 8\), got \(4, 16, 8, 8\)"),
        (ode.tiny, {}, {"layout": ChunkLayout(1)}, "layout, None, got"),
        (causal_forcing.tiny, {}, {"layout": None}, r"layout, ChunkLayout\(chunk=1, first=None\), got None"),
        (causal_forcing.tiny, {}, {"context": Context(0, 2)}, "of stage 'ode' must have the method's context"),
        (
            causal_forcing.tiny_consistency,
            {"layout": ChunkLayout(3)},
            {},
            "of the teacher 'causal' must have .* layout",
        ),
        (causal_forcing.tiny_consistency, {"context": Context(0, 2)}, {}, "'causal' must have the method's context"),
    ],
)
def test_states_of_another_ode_than_the_methods_are_refused(recipe, method, data, message) -> None:
    with pytest.raises(RecipeError, match=message):
        check(last(recipe(), method=method, data=data))


def test_nothing_is_trained_or_written_before_a_later_stage_is_known_to_agree(tmp_path: Path) -> None:
    display = LineDisplay(1000, io.StringIO())
    with pytest.raises(RecipeError, match="set the same in the stage's data"):
        run_recipe(last(causal_forcing.tiny(), method={"levels": (1.0, 0.5)}), tmp_path / "run", display=display)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", [causal_forcing.tiny, causal_forcing.tiny_consistency])
def test_causal_starts_refuse_a_teacher_that_makes_clips_as_a_whole(recipe, tmp_path: Path) -> None:
    chunks = {"causal_teacher": True, "layout": ChunkLayout(1)}
    check(replace(recipe(), teacher=folder(tmp_path / "causal", **chunks)))
    for name in ("teacher", folder(tmp_path / "whole")):
        with pytest.raises(RecipeError, match=r"learns from a causal teacher, '.*' is a bidirectional teacher: "):
            check(replace(recipe(), teacher=name))
    with pytest.raises(RecipeError, match="must have the method's context"):
        check(replace(recipe(), teacher=folder(tmp_path / "narrow", **chunks, context=Context(0, 2))))


@pytest.mark.parametrize("recipe", [ode.tiny, self_forcing.tiny, asd.tiny, aad1.tiny])
def test_the_others_refuse_one_that_makes_them_chunk_by_chunk(recipe, tmp_path: Path) -> None:
    check(replace(recipe(), teacher=folder(tmp_path / "whole")))
    student = folder(tmp_path / "student", kind="student", levels=(1.0,), layout=ChunkLayout(1))
    causal = folder(tmp_path / "causal", causal_teacher=True, layout=ChunkLayout(1))
    for name, kind in ((causal, "a causal teacher"), (student, "a student")):
        with pytest.raises(RecipeError, match=f"learns from a bidirectional teacher, '.*' is {kind}"):
            check(replace(recipe(), teacher=name))


@pytest.mark.parametrize("recipe", [asd.tiny, aad1.tiny])
@pytest.mark.parametrize("heads", [{"layers": (0, 99)}, {"num_heads": 5}])
def test_a_discriminator_reads_blocks_that_its_backbone_has(recipe, heads, tmp_path: Path) -> None:
    method = {"discriminator": replace(recipe().stages[-1].method.discriminator, **heads)}
    for name in ("teacher", folder(tmp_path / "whole"), None):
        with pytest.raises(RecipeError, match=r"blocks from 0 to 1 of its backbone.* width of 32, got layers="):
            check(replace(last(recipe(), method=method), teacher=name))


def test_a_teacher_in_host_memory_gives_a_discriminator_no_gradient() -> None:
    judge, offloaded = aad1.tiny().stages[-1].method.discriminator, Runtime(offload_teacher=True)
    frozen = last(aad1.tiny(), method={"discriminator": replace(judge, backbone="frozen")})
    check(frozen)
    check(replace(aad1.tiny(), runtime=offloaded))
    with pytest.raises(RecipeError, match=r"set runtime\.offload_teacher=False, or .*backbone='own'"):
        check(replace(frozen, runtime=offloaded))
    causal = {"discriminator": replace(judge, backbone="frozen", visibility="causal")}
    check(replace(last(aad1.tiny(), method=causal), runtime=offloaded))  # that backbone is the student's
