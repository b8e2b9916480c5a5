"""Where the parts of a model are: in our folders, in diffusers', and in Wan's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewstep.models.checkpoint_dir import PARTS, PASSPORT, ModelError, read_passport
from fewstep.models.weights import CONFIG, ORIGINAL_CLASSES, WeightsError

INDEXES = ("model_index.json", "modular_model_index.json")
"""What makes a folder one of diffusers' pipelines."""
WAN_PARTS: Mapping[str, str] = {
    "transformer": ".",
    "vae": "Wan2.1_VAE.pth",
    "text_encoder": "models_t5_umt5-xxl-enc-bf16.pth",
    "tokenizer": "google/umt5-xxl",
}
"""Where Wan's own folders keep the parts."""


def find_parts(folder: Path | str) -> dict[str, Path]:
    """Where the parts of a model folder are, or would be."""
    folder = Path(folder)
    if (folder / PASSPORT).is_file():
        shared = read_passport(folder).components
        return {part: folder / (shared.get(part) or part) for part in PARTS}
    places = WAN_PARTS if is_original(folder) else {part: part for part in PARTS}
    return {part: folder / place for part, place in places.items()}


def part_path(folder: Path | str, name: str) -> Path:
    """File or folder of one of `PARTS` in a model folder, or the path itself when it is that part's own.

    Raises ModelError where there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return folder
    parts = find_parts(folder)
    if not parts[name].exists() and (folder / CONFIG).is_file() and not is_original(folder):
        return folder
    return existing(parts, name, folder)


def existing(parts: Mapping[str, Path], name: str, folder: Path) -> Path:
    """The part `name`. Raises ModelError where there is none."""
    if not parts[name].exists():
        raise ModelError(f"no {name} at {parts[name]}: the model {folder} is not whole; fetch or save it again")
    return parts[name]


def is_pipeline(folder: Path) -> bool:
    """Whether it is a pipeline of diffusers."""
    return any((folder / index).is_file() for index in INDEXES)


def is_original(folder: Path) -> bool:
    """Whether it is one of Wan's own folders: the transformer at its top, the other parts beside it."""
    if is_pipeline(folder) or not (folder / CONFIG).is_file():
        return False
    return read_json(folder / CONFIG).get("_class_name") in ORIGINAL_CLASSES


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file. Raises WeightsError for one that is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON ({error}): fetch or save it again") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path} must hold a JSON object, got {value!r}: fetch or save it again")
    return value
