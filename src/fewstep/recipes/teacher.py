"""The bidirectional teacher, from nothing."""

from __future__ import annotations

from fewstep.methods.base import OptimConfig
from fewstep.methods.teacher import TeacherConfig
from fewstep.recipes.worlds import SHAPES, SHAPES_SHIFT, TINY
from fewstep.training.data import LatentData
from fewstep.training.recipe import Recipe, Runtime, Stage

SHAPES_CLIPS = 4096
"""Clips in the teacher's bank."""


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = TeacherConfig(shift=3.0, optim=OptimConfig(lr=1e-3, ema=0.9))
    data = LatentData(world=TINY.world, count=4, paraphrases=2)
    return TINY.recipe("teacher.tiny", Stage(name="teacher", method=method, data=data, steps=2, batch=2))


def shapes() -> Recipe:
    """The embedded teacher: first on the first three latent frames, at a third of the cost, then on whole clips.

    Muon for the hidden matrices learns in fewer updates than AdamW alone.
    """
    start, whole = (
        TeacherConfig(
            shift=SHAPES_SHIFT,
            text_drop=0.1,
            optim=OptimConfig(
                lr=2e-3, muon_lr=0.02, betas=(0.9, 0.98), weight_decay=0.01, clip=1.0, warmup=50, decay=decay, ema=0.997
            ),
        )
        for decay in (False, True)
    )
    stages = (
        Stage(
            name="start",
            method=start,
            data=LatentData(world=SHAPES.world, count=SHAPES_CLIPS, frames=3),
            steps=1800,
            batch=32,
        ),
        Stage(
            name="teacher",
            method=whole,
            data=LatentData(world=SHAPES.world, count=SHAPES_CLIPS),
            steps=4600,
            batch=16,
            init="start",
        ),
    )
    return SHAPES.recipe("teacher.shapes", *stages, runtime=Runtime(checkpoint_every=250, sample_every=500))
