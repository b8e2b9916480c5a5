"""The name of what a number came from: a hash of the model."""

from __future__ import annotations

import hashlib

from fewstep.models.fingerprint import DIGITS, module_fingerprint
from fewstep.pipeline import Pipeline

SAMPLING = ("kind", "layout", "levels", "schedule", "shift", "guidance", "context", "negative_prompt", "latent_frames")
"""Fields of the passport that a clip depends on."""


def fingerprint(pipeline: Pipeline) -> str:
    """Twelve hexadecimal digits that name a model's weights and the settings that it samples with."""
    settings = [(name, getattr(pipeline.passport, name)) for name in SAMPLING]
    parts = [repr(settings), *map(module_fingerprint, (pipeline.net, pipeline.vae, pipeline.text_encoder))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]
