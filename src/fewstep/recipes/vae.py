"""The video autoencoder of the embedded world, from nothing."""

from __future__ import annotations

from dataclasses import replace

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
    """The embedded autoencoder: pictures, windows of nine and of five frames, noisy latents, then the decoder alone.

    Muon, because AdamW rests on the clip's mean colour for longer than all of this takes. Noise on the latents of both
    halves makes near latents mean near pictures, which a diffusion model learns more easily and errs in more mildly
    (latent denoising, Yang and others 2025); the decoder then sharpens alone, and leaves the latents as they are.
    """
    muon = OptimConfig(lr=1e-3, muon_lr=0.02, betas=(0.9, 0.99), weight_decay=0.0, clip=1.0, warmup=20, decay=True)
    finer = replace(muon, lr=5e-4, muon_lr=0.01)
    blurred, crisp = AutoencoderConfig(squares=4.0, edges=0.5, optim=muon), AutoencoderConfig(edges=0.5, optim=muon)
    noisy = AutoencoderConfig(edges=0.5, kl=1e-4, latent_noise=0.8, optim=finer)
    decoder = AutoencoderConfig(edges=0.5, learns="decoder", latent_noise=0.3, optim=finer)
    stages = (
        _stage("pictures", replace(blurred, optim=replace(muon, decay=False)), frames=1, steps=200, batch=8),
        _stage("windows", blurred, frames=9, steps=800, batch=8, init="pictures"),
        _stage("fine", crisp, frames=5, steps=2200, batch=3, init="windows"),
        _stage("noisy", noisy, frames=5, steps=3400, batch=4, init="fine"),
        _stage("decoder", decoder, frames=9, steps=2500, batch=4, init="noisy"),
    )
    return SHAPES.recipe("vae.shapes", *stages, components=None, runtime=Runtime(checkpoint_every=250))


def _stage(
    name: str, method: AutoencoderConfig, *, frames: int, steps: int, batch: int, init: str | None = None
) -> Stage:
    data = PixelData(world=SHAPES.world, frames=frames)
    return Stage(name=name, method=method, data=data, steps=steps, batch=batch, init=init)
