"""A model out, into the files that others read: diffusers' folder, one safetensors file, Wan's own names.

Weights are written as the network has them: open it in the number format that is wanted.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fewstep.checkpoints.folders import read_json
from fewstep.checkpoints.lora import LowRankLinear
from fewstep.checkpoints.model_files import ModelFiles
from fewstep.checkpoints.open import CONFIG_KEY, PASSPORT_KEY
from fewstep.models.checkpoint_dir import PARTS, PASSPORT, PIPELINE, Passport, atomic_folder
from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.shards import save_shards, tensor_output
from fewstep.models.weights import CONFIG, ORIGINAL_CLASSES, WEIGHTS, save_transformer, to_diffusers_config

GENERATOR, INNER = "generator", "model."
"""Where Self Forcing's files have the student, and what its wrapper puts before the names."""


def export_diffusers(folder: Path | str, net: VideoDiT, model: ModelFiles) -> Path:
    """Write diffusers' folder, which is ours too: the network, the passport, and the model's other parts as they are.

    Parts that the model has not are left out, and Wan's own `.pth` are rewritten. With all of them, diffusers opens the
    folder as a WanPipeline; its loop denoises whole clips, as a teacher does and a student does not. An older model of
    that path is replaced.

    Raises OutputError when it cannot be written, or when the path holds something that is no model.
    """
    _require_whole(net)
    with atomic_folder(folder) as scratch:
        save_transformer(net, scratch / PARTS[0])
        there = {part: model.parts[part] for part in PARTS[1:] if part in model.parts and model.parts[part].exists()}
        for part, place in there.items():
            if place.is_dir():
                shutil.copytree(place, scratch / part)
            elif part == "vae":
                model.vae().save(scratch / part)
            else:
                model.text_encoder().model.save_pretrained(scratch / part)
        (scratch / PASSPORT).write_text(_alone(model.passport), encoding="utf-8")
        if there.keys() == set(PARTS[1:]):
            _make_pipeline(scratch, model)
    return Path(folder)


def export_safetensors(path: Path | str, net: VideoDiT, passport: Passport) -> Path:
    """Write one file: Wan's own names, with the config and the passport in its metadata. Raises OutputError."""
    _require_whole(net)
    config = json.dumps(to_diffusers_config(net.cfg))
    told = {CONFIG_KEY: config, PASSPORT_KEY: _alone(passport)}
    with tensor_output(path) as scratch:
        save_file(_state(net), scratch, metadata={"format": "pt", **told})
    return Path(path)


def export_original(path: Path | str, net: VideoDiT) -> Path:
    """Write weights under Wan's own names: a `.safetensors`, a `.pt` as Self Forcing reads it, else Wan's folder.

    The folder holds the transformer with Wan's config; something else in its place is left alone. Raises OutputError.
    """
    _require_whole(net)
    path = Path(path)
    if path.suffix == ".safetensors":
        with tensor_output(path) as scratch:
            save_file(_state(net), scratch, metadata={"format": "pt"})
    elif path.suffix == ".pt":
        with tensor_output(path) as scratch:
            torch.save({GENERATOR: {INNER + name: tensor for name, tensor in _state(net).items()}}, scratch)
    else:
        with atomic_folder(path) as folder:
            save_shards(net.state_dict(), folder, WEIGHTS)
            (folder / CONFIG).write_text(json.dumps(_original_config(net.cfg), indent=2) + "\n", encoding="utf-8")
    return path


def _alone(passport: Passport) -> str:
    """The passport of a model that shares no parts."""
    return replace(passport, components={}).to_json()


def _state(net: VideoDiT) -> dict[str, Tensor]:
    """The weights, on the host."""
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in net.state_dict().items()}


def _require_whole(net: VideoDiT) -> None:
    """Raise ValueError for a network that computes with more than its weights."""
    if any(isinstance(module, LowRankLinear) for module in net.modules()):
        raise ValueError("weights are exported with their LoRAs in them, got some beside them: merge or remove them")


def _make_pipeline(folder: Path, model: ModelFiles) -> None:
    """What diffusers needs to open the folder as a whole: the model's sampler, or that which Wan is published with."""
    import diffusers

    index_file, scheduler = PIPELINE
    if (model.path / scheduler).is_dir():
        shutil.copytree(model.path / scheduler, folder / scheduler)
    else:
        shifted: dict[str, Any] = {"flow_shift": model.passport.shift, "use_flow_sigmas": True}
        sampler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", **shifted)
        sampler.save_pretrained(folder / scheduler)
    kind = read_json(folder / scheduler / "scheduler_config.json")["_class_name"]
    index = {
        "_class_name": "WanPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", kind],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", _tokenizer_class(folder / "tokenizer")],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (folder / index_file).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _tokenizer_class(folder: Path) -> str:
    """What diffusers is to open a tokenizer with: Wan's is a T5 one."""
    config = read_json(folder / "tokenizer_config.json")
    is_t5 = str(config.get("tokenizer_class")).startswith("T5")
    return "T5TokenizerFast" if is_t5 else "PreTrainedTokenizerFast"


def _original_config(cfg: DiTConfig) -> dict[str, Any]:
    """The `config.json` of Wan's own class."""
    return {
        "_class_name": ORIGINAL_CLASSES[0],
        "model_type": "t2v",
        "dim": cfg.dim,
        "ffn_dim": cfg.ffn_dim,
        "freq_dim": cfg.freq_dim,
        "in_dim": cfg.in_channels,
        "out_dim": cfg.out_channels,
        "num_heads": cfg.num_heads,
        "num_layers": cfg.num_layers,
        "text_dim": cfg.text_dim,
        "text_len": cfg.text_len,
        "eps": cfg.eps,
    }
