"""What is computed once and read often: banks of tensors on disk, checksummed, resumable; or made at each reading."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fewstep.files import atomic_output
from fewstep.models.shards import tensor_output
from fewstep.training.log import Display

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """Some consecutive items of a bank: tensors stacked over the items, and one JSON label for each."""

    tensors: Tensors
    labels: list[Any]


class Bank:
    """A finished bank, read item by item from its parts without loading them."""

    def __init__(self, paths: Sequence[Path]):
        self.parts = [safe_open(str(path), framework="pt") for path in paths]
        self.labels: list[Any] = []
        self.starts: list[int] = []
        for part in self.parts:
            self.starts.append(len(self.labels))
            self.labels += json.loads(part.metadata()["labels"])

    def __len__(self) -> int:
        return len(self.labels)

    def item(self, name: str, index: int) -> Tensor:
        """Tensor `name` of one item."""
        part = bisect_right(self.starts, index) - 1
        return self.parts[part].get_slice(name)[index - self.starts[part]]

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        """Tensor `name` of several items, stacked, in fp32."""
        return torch.stack([self.item(name, index) for index in indices]).float()


class Unstored:
    """What a bank of `count` items would hold, made whenever it is read; nothing is on disk."""

    def __init__(self, make: Callable[[Sequence[int]], Part], count: int):
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        """Tensor `name` of several items, stacked, in fp32, rounded as a bank would have kept it."""
        return self.make(indices).tensors[name].float()


def build_bank(
    cache: Path,
    kind: str,
    spec: Mapping[str, Any],
    count: int,
    make: Callable[[range], Part],
    *,
    part_size: int,
    display: Display,
) -> Bank:
    """The bank of `count` items that `spec` describes: parts on disk are verified and kept, missing ones are made.

    `make` must be a pure function of the items' indices and of what `spec` records; then an interrupted build
    continues with the same result. Raises OutputError when a part cannot be written.
    """
    folder = cache / f"{kind}-{digest(spec)}"
    ranges = [range(start, min(start + part_size, count)) for start in range(0, count, part_size)]
    paths = [folder / f"part-{part.start:06d}-{part.stop:06d}.safetensors" for part in ranges]
    with atomic_output(folder / "spec.json") as scratch:
        scratch.write_text(json.dumps(spec, indent=1, sort_keys=True), encoding="utf-8")
    broken = [index for index, path in enumerate(paths) if not _is_whole(path, display)]
    if broken:
        done = count - sum(len(ranges[index]) for index in broken)
        display.begin(f"preparing {kind}", done, count)
        for index in broken:
            _write(paths[index], make(ranges[index]))
            done += len(ranges[index])
            display.advance(done)
    return Bank(paths)


def digest(spec: Any) -> str:
    """Twelve hexadecimal digits that name a JSON value."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]


def fingerprint(module: nn.Module) -> str:
    """Twelve hexadecimal digits that name a module's weights."""
    return _checksum({name: value.detach().cpu() for name, value in module.state_dict().items()})[:12]


def _write(path: Path, part: Part) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in part.tensors.items()}
    metadata = {"sha256": _checksum(tensors), "labels": json.dumps(part.labels)}
    with tensor_output(path) as scratch:
        save_file(tensors, scratch, metadata)


def _is_whole(path: Path, display: Display) -> bool:
    """Whether a part exists and its content matches its checksum; one that does not is reported and made again."""
    if not path.is_file():
        return False
    try:
        with safe_open(str(path), framework="pt") as part:
            tensors = {name: part.get_tensor(name) for name in part.keys()}  # noqa: SIM118
            if part.metadata()["sha256"] == _checksum(tensors):
                return True
    except (SafetensorError, KeyError, TypeError, OSError):
        pass
    display.say(f"{path} is damaged: making it again")
    return False


def _checksum(tensors: Tensors) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        total.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()
