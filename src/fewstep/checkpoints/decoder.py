"""A small decoder from the file that the user names."""

from __future__ import annotations

from pathlib import Path

import torch

from fewstep.checkpoints.tensors import open_tensors
from fewstep.models.taehv import TinyDecoder
from fewstep.models.vae import VideoVAE

RAW = "lighttae"
"""Files of this name (LightX2V's) were trained on latents as the autoencoder has them; taew2_1 on normalised ones."""


def open_decoder(
    path: Path | str,
    *,
    like: VideoVAE,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> TinyDecoder:
    """TAEHV weights (`taew2_1.pth`, `lighttaew2_1.safetensors`) for latents `like` those of the autoencoder.

    In `dtype` or fp32. Raises WeightsError for a file that is missing, damaged or foreign, ValueError for one whose
    latents have not as many channels.
    """
    stats = like.latent_stats() if RAW in Path(path).name.lower() else None
    model = TinyDecoder.from_tensors(
        open_tensors(path), where=str(path), latent_stats=stats, dtype=dtype, device=device
    )
    if model.channels != like.channels:
        raise ValueError(
            f"the decoder {path} reads latents of {model.channels} channels, the model's have {like.channels}: name a "
            "decoder of the same autoencoder (Wan 2.1: taew2_1)"
        )
    return model
