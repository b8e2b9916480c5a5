"""Compute precision of a run: weights stay fp32, matrix products run in the dtype that suits the machine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def computing(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products run in `dtype`.

    Autocast's cache of cast weights is off: a no-grad rollout would fill it with casts that carry no graph, and the
    forward with gradient that follows would find those and lose its parameter gradients.
    """
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)
