"""The result of a stage as a model folder that sampling, evaluation and other stages can load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewstep.checkpoints.folders import find_parts
from fewstep.methods.autoencoder import measure_latent_stats
from fewstep.models.checkpoint_dir import BeginsWith, Passport, save_model, shared_parts
from fewstep.models.dit import VideoDiT
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.revision import git_commit
from fewstep.training.data import Source
from fewstep.training.materials import Materials
from fewstep.training.recipe import Beginning, Chunkwise, Recipe, Respaceable, Stage, Streaming

BEGINS_WITH: Mapping[str, BeginsWith] = {"generated": "text", "given": "image", "either": "either"}
"""What a clip may begin with, by where a method's first frame comes from."""
STATS_CLIPS = 24
"""Clips over which an autoencoder's latents are made zero-mean and unit-variance."""


def export_model(
    folder: Path, recipe: Recipe, stage: Stage, generator: nn.Module, steps: int, materials: Materials, source: Source
) -> Path:
    """Write the generator, as it is, as a model folder: a transformer with its passport, or a part for others to share.

    Parts named by the recipe are referred to by relative paths; untrained ones are stored in the folder. An
    autoencoder's latent statistics are measured on clips of `source` first. Raises OutputError.
    """
    dtype = None if recipe.storage == "float32" else getattr(torch, recipe.storage)
    if isinstance(generator, VideoVAE):
        clips = source.reference(STATS_CLIPS).frames.to(materials.device).split(1)
        generator.set_latent_stats(*measure_latent_stats(generator, clips))
        return save_model(folder, None, vae=generator, dtype=dtype)
    if isinstance(generator, TextEncoder):
        return save_model(folder, None, text_encoder=generator, dtype=dtype)
    if not isinstance(generator, VideoDiT):
        raise TypeError(f"a stage's generator is a VideoDiT, VideoVAE or TextEncoder, got {type(generator).__name__}")
    if recipe.components is None:
        parts: dict[str, Any] = {"vae": materials.vae, "text_encoder": materials.text.encoder}
        return save_model(folder, make_passport(recipe, stage, steps, {}), transformer=generator, **parts, dtype=dtype)
    shared = shared_parts(folder, find_parts(materials.networks.folder(recipe.components)))
    return save_model(folder, make_passport(recipe, stage, steps, shared), transformer=generator, dtype=dtype)


def make_passport(recipe: Recipe, stage: Stage, steps: int, components: dict[str, str]) -> Passport:
    """How the stage's generator is meant to be sampled, and where it comes from."""
    clip, method = recipe.clip, stage.method
    facts: dict[str, Any] = {
        "name": recipe.name,
        "latent_frames": clip.latent_frames,
        "height": clip.height,
        "width": clip.width,
        "fps": clip.fps,
        "shift": clip.shift,
        "guidance": clip.guidance,
        "negative_prompt": clip.negative_prompt,
        "components": components,
        "trained_by": recipe.name,
        "seed": recipe.seed,
        "steps": steps,
        "commit": git_commit(),
    }
    if isinstance(method, Chunkwise):
        facts |= {"latent_frames": method.latent_shape[0], "layout": method.layout, "context": method.context}
    if not isinstance(method, Streaming):
        return Passport(kind="teacher", causal_teacher=isinstance(method, Chunkwise), **facts)
    facts |= {
        "guidance": 1.0,
        "levels": tuple(method.levels),
        "schedule": method.sampling if isinstance(method, Respaceable) else "prefix",
        "begins_with": BEGINS_WITH[method.first_frame if isinstance(method, Beginning) else "generated"],
    }
    return Passport(kind="student", **facts)
