"""The video autoencoder of the embedded world, from nothing."""

from __future__ import annotations

from fewstep.methods.autoencoder import AutoencoderConfig
from fewstep.methods.base import OptimConfig
from fewstep.recipes.worlds import SHAPES, TINY
from fewstep.training.data import PixelData
from fewstep.training.recipe import Recipe, Runtime, Stage


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = AutoencoderConfig(optim=OptimConfig(lr=1e-3))
    data = PixelData(world=TINY.world, frames=5)
    return TINY.recipe("vae.tiny", Stage(name="vae", method=method, data=data, steps=2, batch=1))


def shapes() -> Recipe:
    """The embedded autoencoder, on windows of nine frames: three latent frames, the first of its own kind."""
    stage = Stage(name="vae", method=AutoencoderConfig(), data=PixelData(world=SHAPES.world), steps=3000, batch=8)
    return SHAPES.recipe("vae.shapes", stage, components=None, runtime=Runtime(checkpoint_every=250, sample_every=250))
