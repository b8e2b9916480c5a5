"""Weights in float8 where the hardware multiplies float8 numbers, by torchao."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fewstep.models.dit import VideoDiT

if TYPE_CHECKING:
    from torchao.core.config import AOBaseConfig


def quantize_blocks(net: VideoDiT, device: torch.device, config: AOBaseConfig | None = None) -> VideoDiT:
    """Move a network to `device`, the matrices of its blocks in float8; one block at a time is there in full.

    By default weights and their inputs have a scale per row (e4m3), and products run in float8. Embeddings, the
    modulation and the head stay as they are: they are small, and everything depends on them. Inference only.
    """
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    config = config or Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    for module in net.children():
        if module is not net.blocks:
            module.to(device)
    for block in net.blocks:
        quantize_(block.to(device), config)
    return net.requires_grad_(False)
