"""The bidirectional teacher, from nothing."""

from __future__ import annotations

from fewstep.methods.base import OptimConfig
from fewstep.methods.teacher import TeacherConfig
from fewstep.recipes.worlds import SHAPES, SHAPES_SHIFT, TINY
from fewstep.training.data import LatentData
from fewstep.training.recipe import Recipe, Runtime, Stage

SHAPES_PICTURES, SHAPES_CLIPS = 24576, 4096
"""In the banks of the stages: first frames, and clips."""


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = TeacherConfig(shift=3.0, optim=OptimConfig(lr=1e-3, ema=0.9))
    data = LatentData(world=TINY.world, count=4, paraphrases=2)
    return TINY.recipe("teacher.tiny", Stage(name="teacher", method=method, data=data, steps=2, batch=2))


def shapes() -> Recipe:
    """The embedded teacher: pictures, then clips, and both once more at lower rates.

    A clip shows one arrangement of shapes nine times over, so pictures teach shapes, colours and words at a ninth of
    the cost; clips then teach motion. Muon for the hidden matrices learns in fewer updates than AdamW alone.
    """
    pictures = LatentData(world=SHAPES.world, count=SHAPES_PICTURES, frames=1, paraphrases=1)
    clips = LatentData(world=SHAPES.world, count=SHAPES_CLIPS)
    stages = (
        Stage(name="pictures", method=_matching(lr=2e-3), data=pictures, steps=4000, batch=128),
        Stage(name="clips", method=_matching(lr=2e-3), data=clips, steps=6500, batch=16, init="pictures"),
        Stage(name="pictures_again", method=_matching(lr=1.5e-3), data=pictures, steps=3000, batch=128, init="clips"),
        Stage(name="teacher", method=_matching(lr=1e-3), data=clips, steps=3000, batch=16, init="pictures_again"),
    )
    return SHAPES.recipe("teacher.shapes", *stages, runtime=Runtime(checkpoint_every=250, sample_every=500))


def _matching(lr: float) -> TeacherConfig:
    optim = OptimConfig(
        lr=lr, muon_lr=10 * lr, betas=(0.9, 0.98), weight_decay=0.01, clip=1.0, warmup=50, decay=True, ema=0.997
    )
    return TeacherConfig(shift=SHAPES_SHIFT, text_drop=0.1, optim=optim)
