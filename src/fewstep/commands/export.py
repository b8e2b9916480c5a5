"""`fewstep export`: a model into the files that diffusers, ComfyUI and Self-Forcing read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from fewstep.commands.console import progress
from fewstep.files import require_writable

if TYPE_CHECKING:
    from fewstep.checkpoints.model_files import ModelFiles
    from fewstep.models.dit import VideoDiT

Target = Literal["diffusers", "safetensors", "original"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a model for other programs."""

    model: Positional[str]
    """A bundled model, a folder or a hub id; or a file of weights alone."""
    dest: Positional[Path]
    """A folder for diffusers; a .safetensors; with original, a .safetensors, a .pt or a folder."""
    to: Target
    """diffusers: its folder, which is ours too. safetensors: one file with the passport in it. original: Wan's own
    names, as ComfyUI (.safetensors), Self-Forcing (.pt) and Wan's code (a folder) read them."""
    student: str | None = None
    """A causal student's file or folder, whose transformer takes the model's place."""
    weights: Literal["auto", "ema", "live"] = "auto"
    """Which network of a training state: its average, the live one, or the average if there is one."""
    revision: str | None = None
    """Branch, tag or commit of a repository on the hub."""
    lora: Annotated[tuple[str, ...], UseAppendAction] = ()
    """FILE or FILE:SCALE, folded into the weights; may be given several times."""
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
    """Number format of the transformer."""


def main(argv: Sequence[str]) -> None:
    """Write the model, and say what was written."""
    options = tyro.cli(Options, prog="fewstep export", args=list(argv))
    _check_dest(options)

    import torch

    from fewstep.checkpoints.lora import merge
    from fewstep.checkpoints.lora_file import parse_lora, read_loras

    with progress().status(f"reading {options.student or options.model}"):
        model = _find(options)
        net = model.transformer(dtype=None if options.dtype == "stored" else getattr(torch, options.dtype))
        if loras := read_loras(map(parse_lora, options.lora)):
            merge(net, loras)
    with progress().status(f"writing {options.dest}"):
        _write(options, model, net)
    tensors = list(net.state_dict().values())
    formats = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}))
    size = sum(tensor.nbytes for tensor in tensors)
    print(f"{options.dest}: {len(tensors)} tensors of the transformer, {formats}, {size / 1e9:.3g} GB")


def _check_dest(options: Options) -> None:
    """Refuse, before anything is loaded, a destination that cannot be what is asked for."""
    suffix = options.dest.suffix.lower()
    needed, fits = {
        "diffusers": ("a folder", suffix not in (".safetensors", ".pt", ".pth")),
        "safetensors": ("a .safetensors", suffix == ".safetensors"),
        "original": ("a .safetensors, a .pt, or a folder without an ending", suffix in (".safetensors", ".pt", "")),
    }[options.to]
    if not fits:
        raise ValueError(f"--to {options.to} writes {needed}, got '{options.dest}': change the destination")
    if options.to != "diffusers" and suffix:
        require_writable(options.dest)


def _find(options: Options) -> ModelFiles:
    from fewstep.checkpoints.model_files import find_model, find_weights

    if Path(options.model).is_file():
        if options.student or options.revision:
            raise ValueError(f"{options.model} is a file of weights, which needs no --student and no --revision")
        return find_weights(options.model, options.weights)
    return find_model(options.model, revision=options.revision, student=options.student, weights=options.weights)


def _write(options: Options, model: ModelFiles, net: VideoDiT) -> None:
    from fewstep.checkpoints.export import export_diffusers, export_original, export_safetensors

    if options.to == "diffusers":
        export_diffusers(options.dest, net, model)
    elif options.to == "safetensors":
        export_safetensors(options.dest, net, model.passport)
    else:
        export_original(options.dest, net)
