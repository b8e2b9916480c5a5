"""Compute precision of a run: weights stay fp32, matrix products run in bf16 where the machine is fast at it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products run natively on `device`; emulated ones are slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype that matrix products run in."""
    if precision == "fp32" or (precision == "auto" and not has_fast_bf16(device)):
        return torch.float32
    return torch.bfloat16


def computing(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products run in `dtype`.

    Autocast's cache of cast weights is off: a no-grad rollout would fill it with casts that carry no graph, and the
    forward with gradient that follows would find those and lose its parameter gradients.
    """
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)
