"""Wan's own files of the autoencoder and the text encoder, into the classes of diffusers and transformers.

They come without configs: the published sizes are told by the tensors' shapes, and so is any smaller copy of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from fewstep.checkpoints.keys import plain, t5_to_transformers, vae_to_diffusers
from fewstep.checkpoints.tensors import TensorSource
from fewstep.models.text import TextEncoder, load_tokenizer
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import WeightsError, check_state, fill


def read_original_vae(source: TensorSource, *, dtype: torch.dtype, device: torch.device | str) -> VideoVAE:
    """The autoencoder of `Wan2.1_VAE.pth` (diffusers' names are read too), normalised by Wan 2.1's statistics."""
    names = {plain(name): name for name in source}
    config = vae_config({new: source.specs[old] for new, old in names.items()}, where=str(source.path))
    with torch.device("meta"):
        model = AutoencoderKLWan(**config)
    tensors = source.renamed({vae_to_diffusers(new, config["num_res_blocks"]): old for new, old in names.items()})
    check_state(model.state_dict(), tensors.specs, where=str(source.path), means=f"a Wan autoencoder with {config}")
    fill(model, tensors, dtype=dtype, device=device)
    return VideoVAE(model).eval()


def read_original_t5(
    source: TensorSource, tokenizer: Path, *, dtype: torch.dtype, device: torch.device | str
) -> TextEncoder:
    """The encoder of `models_t5_umt5-xxl-enc-bf16.pth` with the tokenizer of a folder."""
    names = {t5_to_transformers(plain(name)): name for name in source}
    words = load_tokenizer(tokenizer)
    specs = {new: source.specs[old] for new, old in names.items()}
    tokens = {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**t5_config(specs, where=str(source.path)), **tokens))
    shared = model.state_dict().keys() - {"encoder.embed_tokens.weight"}  # the same tensor as shared.weight
    expected = {name: tensor for name, tensor in model.state_dict().items() if name in shared}
    check_state(expected, specs, where=str(source.path), means="a UMT5 encoder")
    tied = {name: names.get(name, names["shared.weight"]) for name in model.state_dict()}
    fill(model, source.renamed(tied), dtype=dtype, device=device)
    model.set_input_embeddings(model.shared)
    return TextEncoder(model, words).eval()


def vae_config(specs: Mapping[str, Tensor], *, where: str) -> dict[str, Any]:
    """Arguments of AutoencoderKLWan that the encoder's shapes, under Wan's names, tell."""
    try:
        base = specs["encoder.conv1.weight"].shape[0]
        layers = sorted({int(name.split(".")[2]) for name in specs if name.startswith("encoder.downsamples.")})
        widths, depths, temporal = [0], [0], []
        for layer in layers:
            start = f"encoder.downsamples.{layer}."
            if f"{start}residual.2.weight" in specs:
                widths[-1] = specs[f"{start}residual.2.weight"].shape[0]
                depths[-1] += 1
            else:
                temporal.append(f"{start}time_conv.weight" in specs)
                widths.append(0)
                depths.append(0)
        return {
            "base_dim": base,
            "z_dim": specs["conv2.weight"].shape[0],
            "dim_mult": [width // base for width in widths],
            "num_res_blocks": depths[0],
            "temperal_downsample": temporal,
        }
    except (KeyError, IndexError) as error:
        raise WeightsError(f"{where} does not hold Wan's autoencoder ({error}): see `fewstep inspect`") from error


def t5_config(specs: Mapping[str, Tensor], *, where: str) -> dict[str, Any]:
    """Arguments of UMT5Config that the shapes, under transformers' names, tell."""
    first = "encoder.block.0.layer"
    try:
        vocabulary, width = specs["shared.weight"].shape
        buckets, heads = specs[f"{first}.0.SelfAttention.relative_attention_bias.weight"].shape
        layers = {int(name.split(".")[2]) for name in specs if name.startswith("encoder.block.")}
        return {
            "vocab_size": vocabulary,
            "d_model": width,
            "d_kv": specs[f"{first}.0.SelfAttention.q.weight"].shape[0] // heads,
            "d_ff": specs[f"{first}.1.DenseReluDense.wi_0.weight"].shape[0],
            "num_layers": max(layers) + 1,
            "num_heads": heads,
            "relative_attention_num_buckets": buckets,
        }
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{where} does not hold a UMT5 encoder ({error}): see `fewstep inspect`") from error
