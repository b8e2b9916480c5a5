"""Clocks, and the machine's own rates to hold every figure against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from fewstep.hardware import synchronize

SLOW = 2.0
"""Seconds."""


def timed(call: Callable[[], Any], device: torch.device, repeats: int = 5, warmup: int = 2) -> float:
    """Median milliseconds of a call; CUDA events on a GPU, the wall clock on a CPU.

    A call that takes seconds on a CPU is timed once: nothing that is warmed up shows in it.
    """
    if device.type != "cuda" and (first := wall(call)) > SLOW:
        return 1000 * first
    for _ in range(warmup):
        call()
    synchronize(device)
    if device.type != "cuda":
        return 1000 * statistics.median(wall(call) for _ in range(repeats))
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, end in marks:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(start.elapsed_time(end) for start, end in marks)


def machine_rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """TFLOP/s of a large square matrix product and GB/s of a device copy (read and write counted)."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    gemm = 2 * size**3 / timed(lambda: a @ b, device, repeats=10) / 1e9
    source = torch.randn((1 << 28) if device.type == "cuda" else (1 << 24), device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * 4 / timed(lambda: target.copy_(source), device, repeats=10) / 1e6
    return gemm, copied


def wall(call: Callable[[], Any], device: torch.device | None = None) -> float:
    start = time.perf_counter()
    call()
    if device is not None:
        synchronize(device)
    return time.perf_counter() - start


def quantile(values: list[float], q: float) -> float:
    """The value at fraction q of a sorted list, nearest rank."""
    return values[min(len(values) - 1, int(q * len(values)))]
