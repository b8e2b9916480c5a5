"""What the parts of a stage require of each other: what a method learns from must be what its student will meet."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from fewstep.checkpoints.hub import fetch
from fewstep.checkpoints.model_files import read_model
from fewstep.checkpoints.open import transformer_config_of
from fewstep.methods.inputs import Teaching
from fewstep.models.checkpoint_dir import Passport
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.dit import DiTConfig
from fewstep.models.presets import PRESETS
from fewstep.training.data import TrajectoryData
from fewstep.training.export import make_passport
from fewstep.training.recipe import Chunkwise, Recipe, RecipeError, Stage, Streaming


@runtime_checkable
class Taught(Chunkwise, Protocol):
    """The config of a method with a teacher, that says of what kind."""

    taught_by: Teaching


@runtime_checkable
class Judged(Protocol):
    """The config of a method with a discriminator."""

    discriminator: DiscriminatorConfig


def require_agreement(recipe: Recipe, stage: Stage) -> None:
    """Compare a stage's trajectories, teacher and discriminator with what its method learns from, and on what.

    An untrained teacher may be any. Raises RecipeError, and ModelError for a model that is nowhere.
    """
    method = stage.method
    if not isinstance(method, Taught):
        return
    chunks: dict[str, Any] = {"layout": method.layout, "context": method.context}
    if isinstance(method, Streaming) and isinstance(stage.data, TrajectoryData):
        own: dict[str, Any] = {"levels": tuple(method.levels), "latent_shape": tuple(method.latent_shape)}
        own |= chunks if method.taught_by == "causal" else {"layout": None}
        _compare(own, stage.data, f"the trajectories of stage {stage.name!r}", "set the same in the stage's data")
    if recipe.teacher is not None:
        passport = _passport(recipe, recipe.teacher)
        _require_kind(passport, method.taught_by, recipe.teacher, stage)
        if method.taught_by == "causal":
            advice = f"set the same in stage {stage.name!r}, or train another causal teacher"
            _compare(chunks, passport, f"the clips of the teacher {recipe.teacher!r}", advice)
    if isinstance(method, Judged):
        _require_taps(recipe, stage, method.discriminator)


def _require_taps(recipe: Recipe, stage: Stage, heads: DiscriminatorConfig) -> None:
    """Raise RecipeError where the heads read blocks that their backbone does not have, or do not divide its width."""
    score, causal = recipe.fake_score or recipe.teacher, heads.visibility == "causal"
    own, frozen = (stage.init, stage.init) if causal else (score, recipe.teacher)
    if heads.backbone == "frozen" and not causal and recipe.runtime.offload_teacher:
        raise RecipeError(
            f"the discriminator of stage {stage.name!r} reads the frozen teacher with gradient, which one in "
            "host memory cannot give: set runtime.offload_teacher=False, or the discriminator's backbone='own'"
        )
    shape = _shape(recipe, {"shared": score, "own": own, "frozen": frozen}[heads.backbone])
    if shape is not None and (max(heads.layers) >= shape.num_layers or shape.dim % heads.num_heads):
        raise RecipeError(
            f"the discriminator of stage {stage.name!r} must read blocks from 0 to {shape.num_layers - 1} of its "
            f"backbone, with heads that divide its width of {shape.dim}, got layers={heads.layers} and "
            f"num_heads={heads.num_heads}: set them in stages.N.method.discriminator"
        )


def _shape(recipe: Recipe, name: str | None) -> DiTConfig | None:
    """Of an untrained network, of an earlier stage's, or of a model; None for a preset that does not exist."""
    earlier = {stage.name: stage.init for stage in recipe.stages}
    while name in earlier:
        name = earlier.pop(name)
    return PRESETS.get(recipe.preset) if name is None else transformer_config_of(fetch(name))


def _compare(required: dict[str, Any], came: Any, what: str, advice: str) -> None:
    for name, value in required.items():
        if (other := getattr(came, name)) != value:
            raise RecipeError(f"{what} must have the method's {name}, {value}, got {other}: {advice}")


def _passport(recipe: Recipe, name: str) -> Passport:
    """Of an earlier stage's result, as it is or will be, or of a model."""
    earlier = {stage.name: stage for stage in recipe.stages}
    if name in earlier:
        return make_passport(recipe, earlier[name], earlier[name].steps, {})
    return read_model(fetch(name)).passport


def _require_kind(passport: Passport, kind: Teaching, name: str, stage: Stage) -> None:
    told = "causal" if passport.causal_teacher else "bidirectional"
    if passport.kind != "teacher" or told != kind:
        came = f"a {told} teacher" if passport.kind == "teacher" else "a student"
        where = "causal_forcing.shapes leaves one" if kind == "causal" else "teacher.shapes makes one, Wan 2.1 is one"
        raise RecipeError(
            f"{type(stage.method).__name__} of stage {stage.name!r} learns from a {kind} teacher, {name!r} is {came}: "
            f"name another as the recipe's teacher ({where})"
        )
