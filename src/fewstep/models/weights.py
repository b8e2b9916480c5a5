"""Transformer weights in and out: our names are Wan's own, the files are diffusers'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewstep.models.dit import DiTConfig, VideoDiT

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"

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
    return {_rename(name, forward=True): tensor for name, tensor in state.items()}


def from_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_diffusers`."""
    return {_rename(name, forward=False): tensor for name, tensor in state.items()}


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
    """Writes config.json and safetensors that diffusers loads too; `dtype` is the storage precision."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in net.state_dict().items()}
    save_file(to_diffusers(state), directory / WEIGHTS, metadata={"format": "pt"})
    (directory / CONFIG).write_text(json.dumps(_to_diffusers_config(net.cfg), indent=2) + "\n")


def load_transformer(
    directory: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> VideoDiT:
    """A transformer from a diffusers folder (one file or shards), in `dtype` or as stored.

    Raises:
        WeightsError: a file is missing or damaged, the architecture is another, or a tensor is missing, unexpected or
            of another shape; every such tensor is named.
    """
    directory = Path(directory)
    cfg = _from_diffusers_config(_read_json(directory / CONFIG), directory / CONFIG)
    state = from_diffusers(_read_tensors(directory, device))
    with torch.device("meta"):
        net = VideoDiT(cfg)
    check_state(net.state_dict(), state, where=str(directory))
    net.load_state_dict({name: tensor.to(dtype=dtype or tensor.dtype) for name, tensor in state.items()}, assign=True)
    return net.requires_grad_(True)


def check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], *, where: str) -> None:
    """Strict accounting of a checkpoint's tensors by name and shape.

    Raises:
        WeightsError: naming every missing, unexpected and reshaped tensor.
    """
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    reshaped = [
        f"{name} (need {list(expected[name].shape)}, found {list(found[name].shape)})"
        for name in sorted(expected.keys() & found.keys())
        if expected[name].shape != found[name].shape
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("reshaped", reshaped))
        if names
    ]
    if problems:
        raise WeightsError(
            f"{where} does not hold the {len(expected)} tensors of its config.json; {'; '.join(problems)}. "
            "Use the folder of the matching model."
        )


def _read_tensors(directory: Path, device: torch.device | str) -> dict[str, Tensor]:
    index = directory / f"{WEIGHTS}.index.json"
    names = sorted(set(_read_json(index)["weight_map"].values())) if index.exists() else [WEIGHTS]
    state: dict[str, Tensor] = {}
    for name in names:
        path = directory / name
        try:
            state |= load_file(path, device=str(device))
        except FileNotFoundError as error:
            raise WeightsError(f"no weights at {path}; expected a diffusers transformer folder") from error
        except SafetensorError as error:
            raise WeightsError(f"{path} is not a whole safetensors file ({error}); fetch or save it again") from error
    return state


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WeightsError(f"no {path.name} at {path}; expected a diffusers transformer folder") from error
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is not valid JSON ({error}); fetch or save it again") from error


def _to_diffusers_config(cfg: DiTConfig) -> dict:
    return {
        "_class_name": "WanTransformer3DModel",
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
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": cfg.eps,
        "image_dim": None,
        "added_kv_proj_dim": None,
        "rope_max_seq_len": 1024,
    }


_FIXED = {"cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "image_dim": None, "added_kv_proj_dim": None}
"""What a text-to-video Wan 2.1 is; other members of the family need other blocks."""


def _from_diffusers_config(config: dict, path: Path) -> DiTConfig:
    foreign = {name: config[name] for name, value in _FIXED.items() if config.get(name, value) != value}
    if config.get("_class_name") != "WanTransformer3DModel" or foreign:
        raise WeightsError(
            f"{path} must describe a text-to-video WanTransformer3DModel, "
            f"got {config.get('_class_name')} with {foreign or 'no other difference'}"
        )
    try:
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
    except KeyError as error:
        raise WeightsError(f"{path} lacks {error}; fetch or save it again") from error
