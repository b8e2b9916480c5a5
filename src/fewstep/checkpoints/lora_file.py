"""LoRA files as they come: peft's and diffusers', kohya's and ComfyUI's, LongLive's; all by our parameter names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewstep.checkpoints.hub import fetch_weights
from fewstep.checkpoints.keys import plain, split
from fewstep.checkpoints.lora import LoRA, LowRank, Scaled
from fewstep.checkpoints.tensors import TensorSource, open_tensors
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.weights import WeightsError, original_name, to_diffusers

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model"
"""What peft writes into a folder."""
METADATA = "lora_adapter_metadata"
"""Where diffusers keeps peft's settings in a safetensors file."""
STUDENT = "generator_lora"
"""Where LongLive's training states keep the student's LoRA, beside that of the critic."""

_PEFT, _KOHYA = "base_model.model.", "lora_unet_"
"""What peft and kohya put before the names of a network's layers."""
_PART = re.compile(
    r"(?P<layer>.+)\.(?:lora_(?P<side>A|B|down|up)(?:\.\w+)?\.(?P<leaf>weight|bias)|(?P<whole>alpha|diff|diff_b|diff_m))"
)
_DIFFERENCES = {"diff": "weight", "diff_b": "bias", "diff_m": "modulation"}
"""ComfyUI's names of whole differences -> the parameter of the layer."""
_PAIR = {("A", "weight"): "down", ("down", "weight"): "down", ("B", "weight"): "up", ("up", "weight"): "up"} | {
    ("B", "bias"): "up bias"
}
"""Side and parameter of a pair's layer -> the part that it is."""

Parts = Mapping[str, str]
"""What a file holds for one layer (down, up, up bias, alpha, diff, diff_b, diff_m) -> its key."""


def read_lora(path: Path | str) -> LoRA:
    """A LoRA from a file, or from a folder that peft or diffusers wrote.

    Understood are pairs called lora_A and lora_B (peft, diffusers) or lora_down and lora_up (kohya, ComfyUI) with their
    alphas, and differences called diff, diff_b and diff_m, of layers under Wan's names or those of diffusers, after any
    of the usual prefixes. Without an alpha it is the rank.

    Raises WeightsError for a file that cannot be read, and for keys that are no part of a LoRA, each by its name.
    """
    file = _find(Path(path))
    source = open_tensors(file)
    settings = _settings(file, source.metadata)
    layers = _layers(file, source)
    low_rank: dict[str, LowRank] = {}
    added: dict[str, Tensor] = {}
    keys: dict[str, str] = {}
    for layer, parts in layers.items():
        for name, key, change in _changes(layer, parts, source, settings):
            table: dict[str, Any] = low_rank if isinstance(change, LowRank) else added
            if name in table:
                raise WeightsError(f"{file} changes {name} twice, by {keys[name]} and {key}: remove one of them")
            table[name] = change
            keys.setdefault(name, key)
    return LoRA(file.name, low_rank, added, keys)


def read_loras(files: Iterable[tuple[str | Path, float]]) -> list[Scaled]:
    """Several LoRAs and their strengths, from files here or on the hub. Raises WeightsError and ModelError."""
    return [(read_lora(fetch_weights(path)), scale) for path, scale in files]


def parse_lora(text: str) -> tuple[Path, float]:
    """`FILE` or `FILE:SCALE`. Raises ValueError for a scale that is not a finite number."""
    name, _, scale = text.rpartition(":")
    if not name or Path(text).exists() or {"/", "\\"} & set(scale):
        return Path(text), 1.0
    try:
        value = float(scale)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"a LoRA is FILE or FILE:SCALE with a number as the scale, got '{text}'")
    return Path(name), value


def _find(path: Path) -> Path:
    """Peft's file in a folder of its making, else the path as it is."""
    named = [path / f"{ADAPTER_WEIGHTS}{suffix}" for suffix in (".safetensors", ".bin")]
    return next((file for file in named if file.is_file()), path)


def _settings(file: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Peft's settings, from diffusers' place in the header or from the file beside the weights; else none."""
    beside = (file if file.is_dir() else file.parent) / ADAPTER_CONFIG
    try:
        if METADATA in metadata:
            found = json.loads(metadata[METADATA])
            return {name.removeprefix("transformer."): value for name, value in found.items()}
        return json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"the LoRA settings of {file} cannot be read ({error}): fetch or save it again") from error


def _layers(file: Path, source: TensorSource) -> dict[str, Parts]:
    """The keys of each layer, which the file's own naming calls so. Raises WeightsError for all that is no LoRA."""
    student = [key for key in source if split(key)[0] == STUDENT]
    layers: dict[str, dict[str, str]] = {}
    strange, again = [], []
    for key in student or source:
        match = _PART.fullmatch(_bare(key))
        part = match and (match["whole"] or _PAIR.get((match["side"], match["leaf"])))
        if not match or not part:
            strange.append(key)
        elif layers.setdefault(match["layer"], {}).setdefault(part, key) != key:
            again.append(key)
    halves = [
        key
        for parts in layers.values()
        if parts.keys() - _DIFFERENCES.keys() and not parts.keys() >= {"down", "up"}
        for key in parts.values()
    ]
    problems = [
        f"{len(keys)} {kind}: {', '.join(sorted(keys))}"
        for kind, keys in (
            ("of another kind", strange),
            ("for the same part of a layer as another", again),
            ("without the other half of the pair", halves),
        )
        if keys
    ]
    if problems or not layers:
        raise WeightsError(
            f"{file} is no LoRA that can be used here; {'; '.join(problems) or 'it has no keys'}. Needed are pairs "
            "(lora_A and lora_B, or lora_down and lora_up) or differences (diff, diff_b), not DoRA, LoHa or LoKr"
        )
    return dict(layers)


def _bare(key: str) -> str:
    """A key without what wrappers and trainers put before the names of layers."""
    return plain(plain(key).removeprefix(_PEFT)).removeprefix(_KOHYA)


def _changes(
    layer: str, parts: Parts, source: TensorSource, settings: Mapping[str, Any]
) -> Iterator[tuple[str, str, LowRank | Tensor]]:
    """Parameter, key, and what the file does to it."""
    for part, leaf in _DIFFERENCES.items():
        if part in parts:
            yield _ours(layer, leaf), parts[part], source[parts[part]]
    if "down" not in parts:
        return
    down, up = (source[parts[side]].flatten(1) for side in ("down", "up"))
    if down.shape[0] != up.shape[1]:
        raise WeightsError(
            f"{parts['down']} and {parts['up']} must share their rank, got {down.shape[0]} and {up.shape[1]}: "
            "fetch or save the LoRA again"
        )
    alpha = source[parts["alpha"]].item() if "alpha" in parts else _alpha(layer, settings, down.shape[0])
    scale = float(alpha) / (math.sqrt(down.shape[0]) if settings.get("use_rslora") else down.shape[0])
    yield _ours(layer, "weight"), parts["down"], LowRank(down, up, scale)
    if "up bias" in parts:
        yield _ours(layer, "bias"), parts["up bias"], scale * source[parts["up bias"]].float()


def _alpha(layer: str, settings: Mapping[str, Any], rank: int) -> float:
    """Peft's: of the first pattern that ends the layer's name, of the file, or the rank."""
    for pattern, alpha in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return alpha
    return settings.get("lora_alpha", rank)


def _ours(layer: str, leaf: str) -> str:
    """Our name of a layer's parameter; a layer that no Wan has keeps its own."""
    block = re.fullmatch(r"blocks_(\d+)_(.+)", layer)
    known = _underscored().get(f"blocks_0_{block[2]}" if block else layer, layer)
    dotted = known.replace("blocks.0.", f"blocks.{block[1]}.") if block and known != layer else known
    return original_name(f"{dotted}.{leaf}")


@cache
def _underscored() -> dict[str, str]:
    """Layers as kohya writes them, with underscores for dots -> their names, Wan's and diffusers'."""
    with torch.device("meta"):
        state = VideoDiT(PRESETS["tiny"]).state_dict()
    layers = {name.rpartition(".")[0] for names in (state, to_diffusers(state)) for name in names}
    return {layer.replace(".", "_"): layer for layer in layers}
