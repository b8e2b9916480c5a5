"""Weights straight from their files to their place: meta modules, filled one tensor at a time, every key accounted for.

Peak memory is the model's size and one tensor; safetensors are mapped piece by piece, a pickle as one shard.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fewstep.checkpoints.folders import part_path
from fewstep.checkpoints.keys import Selection, Weights, select
from fewstep.checkpoints.original import read_original_t5, read_original_vae
from fewstep.checkpoints.tensors import TensorSource, open_tensors
from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.presets import PRESETS, preset_of
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import CONFIG, WeightsError, check_state, fill, read_transformer_config, transformer_config

CONFIG_KEY, PASSPORT_KEY = "config", "passport"
"""Metadata of a single safetensors file: its transformer's `config.json` (diffusers') and its passport, as JSON."""
WAN_HEAD_DIM = 128
"""Width of an attention head in every published Wan; shapes do not tell it."""


def open_transformer(
    path: Path | str,
    *,
    weights: Weights = "auto",
    cfg: DiTConfig | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> VideoDiT:
    """The transformer of a file or folder in any format of the lineage, in `dtype` or as stored, in eval mode.

    A folder is a model's (with `transformer/`), diffusers' or Wan's own. `weights` chooses among the networks of a
    training state. `cfg` is the shape, by default what the config or the tensors tell.

    Raises:
        WeightsError: the file is missing or damaged, the architecture is another, or a tensor is missing, unexpected or
            of another shape; the first of each kind are named.
    """
    path = part_path(path, "transformer")
    source = open_tensors(path)
    chosen = select(source, weights, where=str(path))
    tensors = source.renamed(chosen.names)
    shape = cfg or _told_config(path, source) or infer_config(tensors.specs, where=str(path))
    with torch.device("meta"):
        net = VideoDiT(shape)
    means = f"a transformer of width {shape.dim} with {shape.num_layers} blocks"
    check_state(net.state_dict(), tensors.specs, where=str(path), means=means)
    _report_heads(path, chosen)
    fill(net, tensors, dtype=dtype, device=device)
    return net.eval()


def transformer_config_of(path: Path | str) -> DiTConfig:
    """The shape of the transformer of a file or folder, by its config or else its tensors. Raises WeightsError."""
    path = part_path(path, "transformer")
    source = open_tensors(path)
    told = _told_config(path, source)
    return told or infer_config(source.renamed(select(source, where=str(path)).names).specs, where=str(path))


def open_vae(path: Path | str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> VideoVAE:
    """The autoencoder of a model folder, of its own folder, or of Wan's `Wan2.1_VAE.pth`; in `dtype` or fp32.

    Raises WeightsError for one that is missing, damaged or foreign.
    """
    path = part_path(path, "vae")
    if path.is_dir():
        return VideoVAE.load(path, dtype=dtype, device=device)
    return read_original_vae(open_tensors(path), dtype=dtype or torch.float32, device=device)


def open_text_encoder(
    path: Path | str,
    *,
    tokenizer: Path | str | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> TextEncoder:
    """The text encoder of a model folder, or one's own folder or Wan's `.pth`, which need the `tokenizer`'s folder.

    In `dtype`, or fp32. Raises WeightsError for one that is missing, damaged or foreign.
    """
    words = Path(tokenizer) if tokenizer else part_path(path, "tokenizer")
    path = part_path(path, "text_encoder")
    if path.is_dir():
        return TextEncoder.load(path, tokenizer=words, dtype=dtype, device=device)
    return read_original_t5(open_tensors(path), words, dtype=dtype or torch.float32, device=device)


def infer_config(specs: Mapping[str, Tensor], *, where: str) -> DiTConfig:
    """Shape of a transformer from the shapes of its tensors, under Wan's names.

    They do not tell the number of heads: it is that of the preset of the same shape, else heads have Wan's width.
    Raises WeightsError for tensors that are no Wan transformer.
    """
    try:
        dim, channels, *patch = specs["patch_embedding.weight"].shape
        layers = {int(name.split(".")[1]) for name in specs if name.startswith("blocks.")}
        pixels = patch[0] * patch[1] * patch[2]
        cfg = DiTConfig(
            dim=dim,
            ffn_dim=specs["blocks.0.ffn.0.weight"].shape[0],
            num_heads=max(dim // WAN_HEAD_DIM, 1),
            num_layers=max(layers) + 1,
            text_dim=specs["text_embedding.0.weight"].shape[1],
            in_channels=channels,
            out_channels=specs["head.head.weight"].shape[0] // pixels,
            patch=(patch[0], patch[1], patch[2]),
            freq_dim=specs["time_embedding.0.weight"].shape[1],
        )
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{where} does not hold a Wan transformer ({error}): `fewstep inspect` says what it holds"
        ) from error
    preset = preset_of(cfg, heads=False)
    return cfg if preset is None else replace(cfg, num_heads=PRESETS[preset].num_heads)


def _told_config(path: Path, source: TensorSource) -> DiTConfig | None:
    """The config beside the weights, or in their metadata."""
    if path.is_dir():
        return read_transformer_config(path / CONFIG)
    if CONFIG_KEY in source.metadata:
        return transformer_config(json.loads(source.metadata[CONFIG_KEY]), str(path))
    return None


def _report_heads(path: Path, chosen: Selection) -> None:
    if chosen.heads:
        kinds = ", ".join(sorted({name.split(".")[0] for name in chosen.heads}))
        warnings.warn(
            f"{path}: the {len(chosen.heads)} tensors of its discriminator head ({kinds}) are no part of the "
            "transformer and stay in the file",
            stacklevel=3,
        )
