"""Checkpoints: written whole or not at all, the newest readable one found again, older ones dropped."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fewstep.models.shards import tensor_output

NAME = "cycle-{:08d}.pt"
PATTERN = re.compile(r"cycle-(\d{8})\.pt")


def saved_steps(folder: Path) -> list[int]:
    """Cycles of which `folder` holds a checkpoint, oldest first."""
    found = (PATTERN.fullmatch(path.name) for path in folder.glob("*.pt")) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)


def save_checkpoint(folder: Path, state: dict[str, Any], step: int, keep: int) -> Path:
    """Write `state` as the checkpoint of `step` and keep the newest `keep`; a kill at any moment leaves the older ones.

    Raises OutputError when the file cannot be written.
    """
    path = folder / NAME.format(step)
    save_state(path, state)
    for old in saved_steps(folder)[:-keep]:
        (folder / NAME.format(old)).unlink(missing_ok=True)
    return path


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`, whole or not at all. Raises OutputError when it cannot be written."""
    with tensor_output(path) as scratch:
        torch.save(state, scratch)
        _flush(scratch)
    _flush(path.parent)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU."""
    return torch.load(path, map_location="cpu", weights_only=True)


def load_newest(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """State of the newest checkpoint that can be read, or None; unreadable ones are set aside as `.broken`.

    Scratch files that a kill left behind are removed.
    """
    if not folder.is_dir():
        return None
    for scratch in folder.glob(".cycle-*.pt"):
        scratch.unlink(missing_ok=True)
    for step in reversed(saved_steps(folder)):
        path = folder / NAME.format(step)
        try:
            return load_state(path)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            warn(f"{path} cannot be read ({reason}): falling back to the checkpoint before it")
            path.rename(path.with_suffix(".broken"))
    return None


def _flush(path: Path) -> None:
    """Force a file's, or a folder's, content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
