"""The text encoder of the embedded world, from nothing."""

from __future__ import annotations

from fewstep.methods.text_pretrain import TextPretrainConfig
from fewstep.recipes.worlds import SHAPES, TINY
from fewstep.training.data import CaptionData
from fewstep.training.recipe import Recipe, Runtime, Stage


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    stage = Stage(name="text", method=TextPretrainConfig(), data=CaptionData(world=TINY.world), steps=2, batch=4)
    return TINY.recipe("text.tiny", stage)


def shapes() -> Recipe:
    """The embedded text encoder: it can say everything that a caption states."""
    stage = Stage(name="text", method=TextPretrainConfig(), data=CaptionData(world=SHAPES.world), steps=900, batch=32)
    return SHAPES.recipe("text.shapes", stage, components=None, runtime=Runtime(checkpoint_every=250))
