"""Compute precision of a run: weights stay fp32, matrix products run in the dtype that suits the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def computing(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """A context in which matrix products run in `dtype`.

    Autocast's cache of cast weights is off: a no-grad rollout would fill it with casts that carry no graph, and the
    forward with gradient that follows would find those and lose its parameter gradients. On a CPU attention is spelt
    out in matrix products: its fused bfloat16 backward pass is several times slower than they are.
    """
    if dtype is torch.float32:
        yield
        return
    with torch.autocast(device.type, dtype=dtype, cache_enabled=False):
        if device.type != "cpu":
            yield
            return
        with sdpa_kernel(SDPBackend.MATH):
            yield
