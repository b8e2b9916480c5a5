"""Tensors into safetensors files that the hub's readers take: one file, or shards and their index."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fewstep.files import OutputError, atomic_output

PROBE = 1 << 20
"""Bytes that are written where a writer has failed, to hear the reason; more than any it would have kept back."""
SHARD = 10 * 10**9
"""Bytes of a file, as diffusers cuts them."""


@contextmanager
def tensor_output(path: Path | str) -> Iterator[Path]:
    """`files.atomic_output` for writers of torch and safetensors, whose errors are their own. Raises OutputError."""
    with atomic_output(path) as scratch:
        try:
            yield scratch
        except (RuntimeError, SafetensorError) as error:
            if cause := _of_the_disk(scratch):
                raise cause from error
            reason = str(error).splitlines()[0]
            raise OutputError(f"cannot write {path}: {reason}; choose another disk") from error


def _of_the_disk(scratch: Path) -> OSError | None:
    """Why a file cannot grow any more, as the file system says itself; None where it can."""
    try:
        with scratch.open("ab") as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def save_shards(
    state: Mapping[str, Tensor], folder: Path, name: str, dtype: torch.dtype | None = None, limit: int = SHARD
) -> None:
    """Write the tensors, in `dtype` or as they are, as `name`, or as several files of `limit` bytes and an index.

    No more than one file's tensors are converted or fetched from a device at a time.
    """
    shards = _split(state, dtype, limit)
    stem = name.removesuffix(".safetensors")
    files = [f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for file, names in zip(files if len(shards) > 1 else [name], shards, strict=True):
        part = {each: state[each].detach().to("cpu", dtype).contiguous() for each in names}
        save_file(part, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        table = {each: file for file, names in zip(files, shards, strict=True) for each in names}
        total = sum(_bytes(tensor, dtype) for tensor in state.values())
        index = {"metadata": {"total_size": total}, "weight_map": table}
        (folder / f"{name}.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _split(state: Mapping[str, Tensor], dtype: torch.dtype | None, limit: int) -> list[list[str]]:
    """Names in their order, in runs that fit into `limit` bytes, or of one that does not."""
    shards: list[list[str]] = [[]]
    room = limit
    for name, tensor in state.items():
        size = _bytes(tensor, dtype)
        if size > room and shards[-1]:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def _bytes(tensor: Tensor, dtype: torch.dtype | None) -> int:
    return tensor.numel() * (dtype or tensor.dtype).itemsize
