"""A name for the weights of a module."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

DIGITS = 12


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
