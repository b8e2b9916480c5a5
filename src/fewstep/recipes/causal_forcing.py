"""Causal Forcing: a causal teacher, and the two starts of a student that it makes, which DMD or ASD go on from.

`fewstep train asd.shapes --stages.0.init runs/causal_forcing.shapes/model` is the third stage.

The causal teacher drops a clip's prompt for the empty one, as Wan was trained: `--stages.0.data.negative_prompt` names
another. At Wan's size guidance of its samples is then away from Wan's negative prompt, as Wan's own is; `fewstep data
ingest` stores both.
"""

from __future__ import annotations

from typing import Any

from fewstep.methods.base import OptimConfig
from fewstep.methods.causal_ode import CausalODEConfig
from fewstep.methods.causal_teacher import CausalTeacherConfig
from fewstep.methods.consistency import ConsistencyConfig
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.recipes import teacher
from fewstep.recipes.worlds import SHAPES, SHAPES_GUIDANCE, SHAPES_SHIFT, TINY, WAN, WAN_RUNTIME, Size
from fewstep.training.data import LatentData, TrajectoryData
from fewstep.training.recipe import Recipe, Runtime, Stage
from fewstep.training.shards import ShardData

SHAPES_TEACHER, WAN_TEACHER = (f"runs/causal_forcing.{size}/causal/model" for size in ("shapes", "wan_1_3b"))
"""Where the first stage leaves the causal teacher; consistency distillation starts from it and learns from it."""
SHAPES_CLIPS = LatentData(world=SHAPES.world, count=teacher.SHAPES_CLIPS)
SHAPES_OPTIM = OptimConfig(lr=3e-4, betas=(0.9, 0.99), clip=1.0, warmup=50, decay=True, ema=0.99)
"""That of the embedded ODE initialisation."""
SHAPES_RUNTIME = Runtime(checkpoint_every=200, sample_every=300)
TINY_CLIPS = LatentData(world=TINY.world, count=4, paraphrases=2)


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = CausalODEConfig(**TINY.student, optim=OptimConfig(lr=1e-3))
    paths = _paths(TINY, count=4, steps=4, guidance=2.0)
    stage = Stage(name="ode", method=method, data=paths, steps=2, batch=2, init="causal")
    return TINY.recipe("causal_forcing.tiny", *tiny_teacher().stages, stage, teacher="causal")


def tiny_teacher() -> Recipe:
    """The same, to its causal teacher."""
    method = CausalTeacherConfig(**_chunks(TINY), shift=3.0, optim=OptimConfig(lr=1e-3, ema=0.9))
    stage = Stage(name="causal", method=method, data=TINY_CLIPS, steps=2, batch=2, init="teacher")
    return TINY.recipe("causal_forcing.tiny_teacher", *teacher.tiny().stages, stage)


def tiny_consistency() -> Recipe:
    """The same, by consistency."""
    method = ConsistencyConfig(**TINY.student, grid=4, shift=3.0, guidance=2.0, optim=OptimConfig(lr=1e-3, ema=0.9))
    stage = Stage(name="consistency", method=method, data=TINY_CLIPS, steps=2, batch=2, init="causal")
    return TINY.recipe("causal_forcing.tiny_consistency", *tiny_teacher().stages, stage, teacher="causal")


def shapes() -> Recipe:
    """The embedded causal teacher, from the bidirectional one, and the student's start by regression of its ODE."""
    causal = CausalTeacherConfig(**_chunks(SHAPES), shift=SHAPES_SHIFT, weighting="none", optim=SHAPES_OPTIM)
    method = CausalODEConfig(**SHAPES.student, optim=SHAPES_OPTIM)
    paths = _paths(SHAPES, count=1024, steps=16, guidance=SHAPES_GUIDANCE)
    stages = (
        Stage(name="causal", method=causal, data=SHAPES_CLIPS, steps=1000, batch=16, init=SHAPES.teacher),
        Stage(name="ode", method=method, data=paths, steps=600, batch=16, init="causal"),
    )
    return SHAPES.recipe("causal_forcing.shapes", *stages, teacher="causal", runtime=SHAPES_RUNTIME)


def shapes_consistency() -> Recipe:
    """The embedded student's start by consistency along the ODE of the causal teacher that `shapes` leaves."""
    method = ConsistencyConfig(
        **SHAPES.student, grid=16, shift=SHAPES_SHIFT, guidance=SHAPES_GUIDANCE, optim=SHAPES_OPTIM
    )
    stage = Stage(name="consistency", method=method, data=SHAPES_CLIPS, steps=600, batch=16, init=SHAPES_TEACHER)
    name = "causal_forcing.shapes_consistency"
    return SHAPES.recipe(name, stage, teacher=SHAPES_TEACHER, runtime=SHAPES_RUNTIME)


def wan_1_3b() -> Recipe:
    """Causal Forcing's first two stages: 2000 and 1000 updates of 64 clips."""
    clips = ShardData(paths=("shards",))
    prompts = {"prompts": "prompts.txt", "negative_prompt": WAN.clip.negative_prompt}
    paths = _paths(WAN, count=6000, steps=48, guidance=6.0, **prompts)
    causal, method = CausalTeacherConfig(**_chunks(WAN)), CausalODEConfig(**WAN.student)
    base = WAN.components
    stages = (
        Stage(name="causal", method=causal, data=clips, steps=2000, batch=1, accumulate=64, init=base),
        Stage(name="ode", method=method, data=paths, steps=1000, batch=1, accumulate=64, init="causal"),
    )
    return WAN.recipe("causal_forcing.wan_1_3b", *stages, teacher="causal", runtime=WAN_RUNTIME)


def wan_1_3b_consistency() -> Recipe:
    """Causal Forcing++'s second stage: 3000 updates of 64 clips."""
    clips = ShardData(paths=("shards",), negative_prompt=WAN.clip.negative_prompt)
    method = ConsistencyConfig(**WAN.student, batch_guidance=False)
    stage = Stage(name="consistency", method=method, data=clips, steps=3000, batch=1, accumulate=64, init=WAN_TEACHER)
    return WAN.recipe("causal_forcing.wan_1_3b_consistency", stage, teacher=WAN_TEACHER, runtime=WAN_RUNTIME)


def _chunks(size: Size) -> dict[str, Any]:
    """What the causal teacher has in common with its students."""
    return {"latent_shape": size.latent_shape, "layout": ChunkLayout(chunk=size.chunk), "context": Context()}


def _paths(size: Size, *, steps: int, guidance: float, **settings: Any) -> TrajectoryData:
    """Trajectories of the causal teacher at the student's levels."""
    fixed: dict[str, Any] = {"levels": size.levels, "world": size.world, "shift": size.clip.shift}
    return TrajectoryData(**_chunks(size), **fixed, steps=steps, guidance=guidance, **settings)
