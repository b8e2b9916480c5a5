"""Tensors of a file by name, none of them read before it is asked for: safetensors, shards of it, and pickles."""

from __future__ import annotations

import json
import math
import mmap
import pickle
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fewstep.models.weights import WeightsError

SAFETENSORS, PICKLES = (".safetensors",), (".pt", ".pth", ".ckpt", ".bin")
WEIGHT_SUFFIXES = (*SAFETENSORS, *PICKLES)
INDEX = ".safetensors.index.json"

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What a safetensors header calls the number formats."""

FileFormat = Literal["safetensors", "sharded safetensors", "pickle"]


@dataclass(frozen=True)
class TensorSource(Mapping[str, Tensor]):
    """A mapping from names to tensors of files; `source[name]` reads that tensor and nothing else."""

    path: Path
    """The file, the index of the shards, or the folder that was asked for."""
    format: FileFormat
    specs: Mapping[str, Tensor]
    """Every tensor on the meta device: its shape and number format, without its data."""
    read: Callable[[str], Tensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the file says besides tensors: the strings of a safetensors header, the numbers and texts of a pickle."""

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.specs:
            raise KeyError(name)
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def renamed(self, names: Mapping[str, str]) -> TensorSource:
        """A part of the tensors under other names: new name -> name here."""
        specs = {new: self.specs[old] for new, old in names.items()}
        return TensorSource(self.path, self.format, specs, lambda new: self.read(names[new]), self.metadata)


def open_tensors(path: Path | str) -> TensorSource:
    """The tensors of one safetensors file, of a folder of shards (or its index), or of a `.pt`, `.pth`, `.ckpt`.

    Pickles are opened by torch's reader of plain tensors, which executes nothing; nested dictionaries are joined by
    dots, so that `{"generator": {"model.head": ...}}` holds `generator.model.head`.

    Raises WeightsError for a file that is missing, cut off, of another format, or that holds code; for an index, when
    a shard is missing.
    """
    path = Path(path)
    if path.is_dir():
        path = _weights_of(path)
    if path.name.endswith(INDEX):
        return _open_shards(path)
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give a file ending in {', '.join(WEIGHT_SUFFIXES)}, or a folder")
    if path.suffix in SAFETENSORS:
        return _open_safetensors(path)
    if path.suffix in PICKLES:
        return _open_pickle(path)
    raise WeightsError(f"weights end in {', '.join(WEIGHT_SUFFIXES)}, got {path}: give the file by its full name")


def _weights_of(folder: Path) -> Path:
    """The one set of weights in a folder: an index, a safetensors file, or a pickle, in this order."""
    for pattern in (f"*{INDEX}", *(f"*{suffix}" for suffix in WEIGHT_SUFFIXES)):
        found = sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found)
            raise WeightsError(f"{folder} holds several files of weights ({names}): name one, or add their index")
    raise WeightsError(f"no weights in {folder}: expected *.safetensors (one file, or shards with their index)")


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies in its file."""

    file: Path
    start: int
    stop: int
    spec: Tensor


def _open_safetensors(path: Path) -> TensorSource:
    entries, metadata = _header(path)
    specs = {name: entry.spec for name, entry in entries.items()}
    return TensorSource(path, "safetensors", specs, lambda name: _mapped(entries[name]), metadata)


def _open_shards(index: Path) -> TensorSource:
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index} is not an index of shards ({error}): fetch it again") from error
    shards = sorted(set(table.values()))
    if missing := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise WeightsError(
            f"{len(missing)} of {len(shards)} shards are missing in {index.parent}: {', '.join(missing)}; "
            "fetch the model again, the download resumes"
        )
    entries: dict[str, _Entry] = {}
    for shard in shards:
        entries |= _header(index.parent / shard)[0]
    if strays := sorted(table.keys() ^ entries.keys()):
        raise WeightsError(f"{index} and its shards disagree about {', '.join(strays)}: fetch the model again")
    specs = {name: entry.spec for name, entry in entries.items()}
    return TensorSource(index, "sharded safetensors", specs, lambda name: _mapped(entries[name]))


def _header(path: Path) -> tuple[dict[str, _Entry], dict[str, str]]:
    """Where each tensor of a safetensors file lies, and the file's metadata."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        text = file.read(length) if 2 <= length <= size - 8 else b""
    if not text.lstrip().startswith(b"{"):
        raise WeightsError(f"{path} is not a safetensors file, but {_impostor(path)}: fetch or save it again")
    try:
        table = json.loads(text)
        metadata = table.pop("__metadata__", {})
        entries = {name: _entry(path, 8 + length, facts) for name, facts in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"the header of {path} cannot be read ({error}): fetch or save it again") from error
    end = max((entry.stop for entry in entries.values()), default=8 + length)
    if end != size:
        raise WeightsError(f"{path} should have {end} bytes and has {size}: it is half a file; fetch or save it again")
    return entries, metadata


def _entry(path: Path, base: int, facts: Mapping[str, Any]) -> _Entry:
    start, stop = facts["data_offsets"]
    spec = torch.empty(facts["shape"], dtype=DTYPES[facts["dtype"]], device="meta")
    if stop - start != spec.numel() * spec.element_size():
        raise ValueError(f"{stop - start} bytes for {facts['dtype']} {facts['shape']}")
    return _Entry(path, base + start, base + stop, spec)


def _mapped(entry: _Entry) -> Tensor:
    """The tensor as a view of its own piece of the file, mapped for as long as the tensor lives."""
    if not entry.spec.numel():
        return torch.empty_like(entry.spec, device="cpu")
    offset = entry.start % mmap.ALLOCATIONGRANULARITY
    with entry.file.open("rb") as file:
        piece = mmap.mmap(
            file.fileno(), entry.stop - entry.start + offset, access=mmap.ACCESS_COPY, offset=entry.start - offset
        )
    flat = torch.frombuffer(piece, dtype=entry.spec.dtype, count=entry.spec.numel(), offset=offset)
    return flat.view(entry.spec.shape)


def _impostor(path: Path) -> str:
    """What a file that is not what its name says looks like."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS (the file itself was not fetched)"
    if start.startswith(b"PK") or start.startswith(b"\x80"):
        return "a pickle under another name"
    if b"\x00" not in start and math.isclose(len(start.decode("utf-8", "ignore")), len(start), abs_tol=3):
        words = re.sub(r"\s+", " ", start.decode("utf-8", "ignore"))[:40].strip()
        return f"text that starts with {words!r}"
    return "other data"


def _open_pickle(path: Path) -> TensorSource:
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    _flatten(_unpickle(path), "", tensors, metadata)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors: give a checkpoint, a dictionary of names and tensors")
    specs = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    return TensorSource(path, "pickle", specs, tensors.__getitem__, metadata)


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global:?|class) ([\w.]+)", str(error))
        what = f"asks for {found[1]}" if found else f"is not one ({_impostor(path)})"
        raise WeightsError(
            f"{path} is not a plain file of tensors, it {what}: nothing in it was run and it stays closed; "
            "ask its author for safetensors"
        ) from error
    except Exception as error:  # torch raises many kinds for files that are damaged or none of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is not a whole checkpoint ({reason}): fetch or save it again") from error


def _is_zip(path: Path) -> bool:
    """Whether torch wrote it in the format that can be mapped; older files are read whole."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _flatten(value: Any, prefix: str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    if isinstance(value, Tensor):
        tensors[prefix] = value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            _flatten(inner, f"{prefix}.{name}" if prefix else str(name), tensors, metadata)
    elif isinstance(value, int | float | str):
        metadata[prefix] = value
