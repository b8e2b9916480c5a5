"""The bidirectional teacher, from nothing."""

from __future__ import annotations

from fewstep.methods.base import OptimConfig
from fewstep.methods.teacher import TeacherConfig
from fewstep.recipes.worlds import SHAPES, SHAPES_SHIFT, TINY
from fewstep.training.data import LatentData
from fewstep.training.recipe import Recipe, Runtime, Stage


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = TeacherConfig(shift=3.0, optim=OptimConfig(lr=1e-3, ema=0.9))
    data = LatentData(world=TINY.world, count=4, paraphrases=2)
    return TINY.recipe("teacher.tiny", Stage(name="teacher", method=method, data=data, steps=2, batch=2))


def shapes() -> Recipe:
    """The embedded teacher. Muon for the hidden matrices halves the updates that AdamW alone needs."""
    method = TeacherConfig(
        shift=SHAPES_SHIFT,
        text_drop=0.1,
        optim=OptimConfig(
            lr=1e-3, muon_lr=0.015, betas=(0.9, 0.95), weight_decay=0.01, clip=1.0, warmup=100, decay=True, ema=0.998
        ),
    )
    data = LatentData(world=SHAPES.world, count=16_384)
    stage = Stage(name="teacher", method=method, data=data, steps=8000, batch=32)
    return SHAPES.recipe("teacher.shapes", stage, runtime=Runtime(compile=True, checkpoint_every=250, sample_every=500))
