"""The causal student's start: regression of the teacher's ODE trajectories."""

from __future__ import annotations

from fewstep.methods.base import OptimConfig
from fewstep.methods.ode_init import ODEInitConfig
from fewstep.recipes import teacher
from fewstep.recipes.worlds import SHAPES, SHAPES_GUIDANCE, SHAPES_SHIFT, TINY, WAN, WAN_RUNTIME, WAN_SHIFT
from fewstep.training.data import TrajectoryData
from fewstep.training.recipe import Recipe, Runtime, Stage


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = ODEInitConfig(**TINY.student, optim=OptimConfig(lr=1e-3))
    data = TrajectoryData(**TINY.trajectories, world=TINY.world, count=4, steps=4, shift=3.0, guidance=2.0)
    stage = Stage(name="ode", method=method, data=data, steps=2, batch=2, init="teacher")
    return TINY.recipe("ode.tiny", *teacher.tiny().stages, stage, teacher="teacher")


def shapes() -> Recipe:
    """The embedded start, for students of any number of steps."""
    method = ODEInitConfig(
        **SHAPES.student,
        optim=OptimConfig(lr=3e-4, betas=(0.9, 0.99), clip=1.0, warmup=50, decay=True, ema=0.99),
    )
    data = TrajectoryData(
        **SHAPES.trajectories, world=SHAPES.world, count=1024, steps=16, shift=SHAPES_SHIFT, guidance=SHAPES_GUIDANCE
    )
    stage = Stage(name="ode", method=method, data=data, steps=600, batch=16, init="shapes-teacher")
    runtime = Runtime(checkpoint_every=200, sample_every=300)
    return SHAPES.recipe("ode.shapes", stage, teacher="shapes-teacher", runtime=runtime)


def wan_1_3b() -> Recipe:
    """CausVid's protocol at Wan 1.3B, with trajectories on the student's own shift."""
    method = ODEInitConfig(**WAN.student)
    data = TrajectoryData(
        **WAN.trajectories,
        count=1500,
        steps=48,
        shift=WAN_SHIFT,
        guidance=6.0,
        prompts="prompts.txt",
        negative_prompt=WAN.clip.negative_prompt,
    )
    base = "Wan2.1-T2V-1.3B-Diffusers"
    stage = Stage(name="ode", method=method, data=data, steps=3000, batch=2, accumulate=64, init=base)
    return WAN.recipe("ode.wan_1_3b", stage, components=base, teacher=base, runtime=WAN_RUNTIME)
