"""What a transformer's weights and configs are called by Wan (and us) and by diffusers; strict accounting; saving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.shards import save_shards

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
NAMED = 4
"""Tensors of a kind that a message names, where hundreds may be amiss."""

_RENAMES: tuple[tuple[str, str], ...] = (
    # ours, diffusers'; the first that matches a part of the name wins
    ("time_embedding.0.", "condition_embedder.time_embedder.linear_1."),
    ("time_embedding.2.", "condition_embedder.time_embedder.linear_2."),
    ("text_embedding.0.", "condition_embedder.text_embedder.linear_1."),
    ("text_embedding.2.", "condition_embedder.text_embedder.linear_2."),
    ("time_projection.1.", "condition_embedder.time_proj."),
    ("head.modulation", "scale_shift_table"),
    ("head.head.", "proj_out."),
)
_BLOCK_RENAMES: tuple[tuple[str, str], ...] = (
    ("self_attn.norm_", "attn1.norm_"),
    ("self_attn.o.", "attn1.to_out.0."),
    ("self_attn.", "attn1.to_"),
    ("cross_attn.norm_", "attn2.norm_"),
    ("cross_attn.o.", "attn2.to_out.0."),
    ("cross_attn.", "attn2.to_"),
    ("modulation", "scale_shift_table"),
    ("norm3.", "norm2."),
    ("ffn.0.", "ffn.net.0.proj."),
    ("ffn.2.", "ffn.net.2."),
)


class WeightsError(ValueError):
    """A model file is missing, damaged, or not of the expected shape."""


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our (Wan's) parameter names to those of diffusers' WanTransformer3DModel."""
    return {diffusers_name(name): tensor for name, tensor in state.items()}


def diffusers_name(name: str) -> str:
    """Diffusers' name of a parameter that has Wan's."""
    return _rename(name, forward=True)


def original_name(name: str) -> str:
    """Wan's name of a parameter that has diffusers'; one that has Wan's already keeps it."""
    return _rename(name, forward=False)


def _rename(name: str, *, forward: bool) -> str:
    prefix, table = "", _RENAMES
    if name.startswith("blocks."):
        _, index, name = name.split(".", 2)
        prefix, table = f"blocks.{index}.", _BLOCK_RENAMES
    for pair in table:
        old, new = pair if forward else pair[::-1]
        if name.startswith(old):
            return prefix + new + name[len(old) :]
    return prefix + name


def save_transformer(net: VideoDiT, directory: str | Path, dtype: torch.dtype | None = None) -> None:
    """Writes config.json and safetensors (large ones cut), as diffusers loads them; `dtype` is that of storage."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_shards(to_diffusers(net.state_dict()), directory, WEIGHTS, dtype)
    (directory / CONFIG).write_text(json.dumps(to_diffusers_config(net.cfg), indent=2) + "\n")


def fill(
    module: nn.Module,
    source: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> None:
    """Give a module on the meta device the tensors of `source`, in `dtype` or as stored, one at a time.

    Every tensor is copied to its place, so nothing of `source` is held; account for names and shapes before.
    """
    for name, placeholder in module.state_dict(keep_vars=True).items():
        placed = _copy(source[name], dtype, device)
        owner, _, leaf = name.rpartition(".")
        if isinstance(placeholder, nn.Parameter):
            placed = nn.Parameter(placed, placeholder.requires_grad)
        setattr(module.get_submodule(owner), leaf, placed)


def _copy(tensor: Tensor, dtype: torch.dtype | None, device: torch.device | str) -> Tensor:
    return torch.empty(tensor.shape, dtype=dtype or tensor.dtype, device=device).copy_(tensor)


def check_state(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], *, where: str, means: str = "its config.json"
) -> None:
    """Strict accounting of a checkpoint's tensors by name and shape; `means` says what tells them.

    Raises:
        WeightsError: naming the first missing, unexpected and reshaped tensors, and how many there are.
    """
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    reshaped = [
        f"{name} (need {list(expected[name].shape)}, found {list(found[name].shape)})"
        for name in sorted(expected.keys() & found.keys())
        if expected[name].shape != found[name].shape
    ]
    problems = [
        f"{len(names)} {kind}: {_first(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("reshaped", reshaped))
        if names
    ]
    if problems:
        raise WeightsError(
            f"{where} does not hold the {len(expected)} tensors of {means}; {'; '.join(problems)}. "
            "Use the folder of the matching model."
        )


def _first(names: Sequence[str]) -> str:
    """What a message has room for."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def read_transformer_config(path: Path) -> DiTConfig:
    """Shape of the transformer that a `config.json` of diffusers, or of Wan's own folders, describes.

    Raises WeightsError for a file that is missing or damaged, or for a transformer that is not Wan 2.1 text-to-video.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"no {path.name} at {path}; expected the folder of a transformer") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON ({error}); fetch or save it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} must describe a transformer, got {config!r}; fetch or save it again")
    return transformer_config(config, str(path))


def transformer_config(config: Mapping[str, Any], where: str) -> DiTConfig:
    """`read_transformer_config` of a config that is read already."""
    kind = config.get("_class_name")
    if kind not in (*DIFFUSERS_CLASSES, *ORIGINAL_CLASSES):
        raise WeightsError(
            f"{where} must describe a text-to-video WanTransformer3DModel, got {kind}: give a Wan 2.1 transformer"
        )
    original = kind in ORIGINAL_CLASSES
    fixed = _FIXED_ORIGINAL if original else _FIXED
    if foreign := {name: config[name] for name, value in fixed.items() if config.get(name, value) != value}:
        raise WeightsError(f"{where} must describe a text-to-video transformer of Wan 2.1, got {kind} with {foreign}")
    try:
        return _from_original_config(config) if original else _from_diffusers_config(config)
    except KeyError as error:
        raise WeightsError(f"{where} lacks {error}; fetch or save it again") from error


def to_diffusers_config(cfg: DiTConfig) -> dict[str, Any]:
    """The `config.json` of a WanTransformer3DModel of this shape."""
    return {
        "_class_name": DIFFUSERS_CLASSES[0],
        "_fewstep": asdict(cfg),  # text_len has no place in diffusers, which ignores underscored keys
        "num_attention_heads": cfg.num_heads,
        "attention_head_dim": cfg.head_dim,
        "in_channels": cfg.in_channels,
        "out_channels": cfg.out_channels,
        "patch_size": list(cfg.patch),
        "text_dim": cfg.text_dim,
        "freq_dim": cfg.freq_dim,
        "ffn_dim": cfg.ffn_dim,
        "num_layers": cfg.num_layers,
        **_FIXED,
        "eps": cfg.eps,
        "rope_max_seq_len": 1024,
    }


DIFFUSERS_CLASSES = ("WanTransformer3DModel", "CausalWanTransformer3DModel")
"""Diffusers' own class, and FastVideo's causal students in the same folder layout."""
ORIGINAL_CLASSES = ("WanModel", "CausalWanModel")
"""Wan's own class, and Self Forcing's and Krea's causal one."""

_FIXED = {"cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "image_dim": None, "added_kv_proj_dim": None}
_FIXED_ORIGINAL = {"model_type": "t2v", "cross_attn_norm": True, "qk_norm": True}
"""What a text-to-video Wan 2.1 is; other members of the family need other blocks."""


def _from_diffusers_config(config: Mapping[str, Any]) -> DiTConfig:
    return DiTConfig(
        dim=config["num_attention_heads"] * config["attention_head_dim"],
        ffn_dim=config["ffn_dim"],
        num_heads=config["num_attention_heads"],
        num_layers=config["num_layers"],
        text_dim=config["text_dim"],
        text_len=config.get("_fewstep", {}).get("text_len", 512),
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        patch=tuple(config["patch_size"]),
        freq_dim=config["freq_dim"],
        eps=config["eps"],
    )


def _from_original_config(config: Mapping[str, Any]) -> DiTConfig:
    return DiTConfig(
        dim=config["dim"],
        ffn_dim=config["ffn_dim"],
        num_heads=config["num_heads"],
        num_layers=config["num_layers"],
        text_dim=config.get("text_dim", 4096),  # Wan's own files leave what never changes to the class
        text_len=config.get("text_len", 512),
        in_channels=config["in_dim"],
        out_channels=config["out_dim"],
        freq_dim=config["freq_dim"],
        eps=config["eps"],
    )
