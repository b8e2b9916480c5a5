"""What a model's name says about the sizes of its parts, without its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from transformers import UMT5Config, UMT5EncoderModel

from fewstep.checkpoints.hub import PUBLISHED
from fewstep.checkpoints.model_files import WAN_TEACHER, read_model
from fewstep.checkpoints.open import transformer_config_of
from fewstep.diffusion.steps import shifted_levels
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import ModelError, Passport, resolve_model
from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TEXT_PRESETS, VOCAB_SIZE
from fewstep.planning.blocks import remember
from fewstep.planning.rehearsal import META

CLIPS: dict[str, tuple[str, tuple[int, int, int], float]] = {
    "tiny": ("tiny", (9, 64, 64), 16.0),
    "shapes": ("shapes", (9, 64, 64), 16.0),
    "wan_1_3b": ("wan", (21, 480, 832), 16.0),
    "wan_14b": ("wan", (21, 480, 832), 16.0),
}
"""DiT preset -> VAE preset, (latent frames, height, width) and frames per second of the clip it is made for."""
UMT5_XXL: dict[str, Any] = {
    "vocab_size": 256_384,
    "d_model": 4096,
    "d_ff": 10_240,
    "num_heads": 64,
    "d_kv": 64,
    "num_layers": 24,
}
"""Wan's text encoder."""


@dataclass(frozen=True)
class Model:
    """Sizes of a model, and how it makes clips."""

    name: str
    transformer: DiTConfig
    vae: str
    """Preset of the autoencoder and of the text encoder."""
    passport: Passport

    @property
    def weights(self) -> int:
        """Numbers in the transformer."""
        return transformer_numbers(self.transformer)

    @property
    def text_encoder(self) -> tuple[int, int]:
        """Numbers in the text encoder, and those of its embedding table, which take no part in products."""
        return text_numbers(self.vae)


def model_of(name: str) -> Model:
    """The sizes of a preset, a bundled model, a folder, or one of Wan's published models.

    Raises ModelError for any other name.
    """
    if name in PRESETS:
        return _preset(name, name)
    try:
        folder = resolve_model(name)
    except ModelError as error:
        known = name.rsplit("/", 1)[-1]
        if known not in PUBLISHED:
            presets = ", ".join(PRESETS)
            raise ModelError(f"{error}; to plan without weights, name a preset ({presets})") from error
        size = _preset("wan_14b" if "14B" in known else "wan_1_3b", name)
        return replace(size, passport=Passport(name=name, kind="teacher", **WAN_TEACHER))
    cfg = transformer_config_of(folder)
    small = next((vae for vae, text in TEXT_PRESETS.items() if text["d_model"] == cfg.text_dim), "wan")
    return Model(name, cfg, small, read_model(folder).passport)


@cache
def transformer_numbers(cfg: DiTConfig) -> int:
    """Weights of a transformer."""
    return sum(parameter.numel() for parameter in network(cfg).parameters())


@cache
def block_numbers(cfg: DiTConfig) -> int:
    """Weights of all blocks of a transformer."""
    return sum(parameter.numel() for parameter in network(cfg).blocks.parameters())


def network(cfg: DiTConfig, dtype: torch.dtype = torch.float32) -> VideoDiT:
    """A transformer without data, in eval mode and frozen."""
    with META:
        net = VideoDiT(cfg).to(dtype).eval().requires_grad_(False)
    for block in net.blocks:
        remember(block, lambda: net.gradient_checkpointing)
    return net


@cache
def text_numbers(vae: str) -> tuple[int, int]:
    """Weights of the text encoder that goes with a VAE preset: all, and its embedding table's."""
    shape = UMT5_XXL if vae == "wan" else {"vocab_size": VOCAB_SIZE, **TEXT_PRESETS[vae]}
    with META:
        model = UMT5EncoderModel(UMT5Config(**shape))
    total = sum(parameter.numel() for parameter in model.parameters())
    return total, shape["vocab_size"] * shape["d_model"]


def _preset(preset: str, name: str) -> Model:
    vae, (frames, height, width), fps = CLIPS[preset]
    passport = Passport(
        name=name,
        kind="student",
        latent_frames=frames,
        height=height,
        width=width,
        fps=fps,
        layout=ChunkLayout(3),
        levels=shifted_levels(),
        context=Context(),
    )
    return Model(name, PRESETS[preset], vae, passport)
