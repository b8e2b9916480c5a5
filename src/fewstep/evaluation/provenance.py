"""Names for what a number came from: hashes of models, the commit of the code."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from fewstep.pipeline import Pipeline

SAMPLING = ("kind", "layout", "levels", "schedule", "shift", "guidance", "context", "negative_prompt", "latent_frames")
"""Fields of the passport that a clip depends on."""
DIGITS = 12


def fingerprint(pipeline: Pipeline) -> str:
    """Twelve hexadecimal digits that name a model's weights and the settings that it samples with."""
    settings = [(name, getattr(pipeline.passport, name)) for name in SAMPLING]
    parts = [repr(settings), *map(module_fingerprint, (pipeline.net, pipeline.vae, pipeline.text_encoder))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]


def module_fingerprint(module: nn.Module) -> str:
    """Twelve hexadecimal digits that name the tensors of one module."""
    digest = hashlib.sha256()
    for whole, value in sorted(module.state_dict().items()):
        for name, each in _plain_tensors(whole, value):
            digest.update(f"{name} {each.dtype} {tuple(each.shape)}".encode())
            digest.update(each.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:DIGITS]


def _plain_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """What a tensor is made of: quantised ones are numbers and scales."""
    if not is_traceable_wrapper_subclass(value):
        yield name, value
        return
    for part in value.__tensor_flatten__()[0]:
        yield from _plain_tensors(f"{name}.{part}", getattr(value, part))


def git_commit() -> str | None:
    """Commit of this package's code, with a plus where its files have changed since; None outside a repository."""
    package = Path(__file__).parents[1]
    try:
        commit = _git(package, "rev-parse", f"--short={DIGITS}", "HEAD")
        return commit + ("+" if _git(package, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
