"""What this machine has: devices, fast number formats, memory."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import torch

Precision = Literal["auto", "float32", "bfloat16"]
Format = Literal["auto", "float32", "bfloat16", "float8"]
"""Of a network that only makes clips; float8 is that of its blocks' weights, beside bfloat16."""
FLOAT8_SINCE = (8, 9)
"""CUDA compute capability from which float8 products run natively."""
T = TypeVar("T")


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or CUDA where there is one, else the CPU. Raises ValueError for one that is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be cpu, cuda or cuda:N, got '{device}': choose one of these") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu, cuda or cuda:N, got '{device}': choose one of these")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' was asked for, this machine has {torch.cuda.device_count()} CUDA devices: "
            "use cpu, or install a torch build with CUDA where there is a GPU"
        )
    return chosen


def pick_dtype(precision: Precision | torch.dtype, device: torch.device) -> torch.dtype:
    """The number format asked for; "auto" is bfloat16 where the hardware multiplies it natively, else float32."""
    if isinstance(precision, torch.dtype):
        return precision
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"dtype must be auto, float32 or bfloat16, got '{precision}': choose one of these")
    if precision == "auto":
        precision = "bfloat16" if has_fast_bf16(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products run natively on `device`; emulated ones are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return any(map(_cpu_has, ("avx512_bf16", "amx_tile")))


def require_float8(device: torch.device) -> None:
    """Raise ValueError unless `device` multiplies float8 numbers natively, and torchao is there to make it."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < FLOAT8_SINCE:
        raise ValueError(
            f"float8 needs a GPU of compute capability {'.'.join(map(str, FLOAT8_SINCE))} or more (Ada, Hopper, "
            f"Blackwell), got {device} ({device_name(device)}): choose bfloat16, with offload where memory is short"
        )
    if importlib.util.find_spec("torchao") is None:
        raise ValueError("float8 needs torchao, which is not installed: pip install 'fewstep[float8]'")


def _cpu_has(feature: str) -> bool:
    """Whether the CPU has an instruction set; torch and Linux call those asked for here by the same names."""
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get(feature, False))
    info = Path("/proc/cpuinfo")  # an older torch says it by private names only, which come and go
    return info.is_file() and feature in info.read_text().split()


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile finds what it builds with: triton for a GPU, a C++ compiler for the CPU."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None


def require_compiler(device: torch.device) -> None:
    """Raise ValueError unless code can be compiled for `device`."""
    if not can_compile(device):
        needed = "triton" if device.type == "cuda" else "a C++ compiler (g++, or the one that CXX names)"
        raise ValueError(f"compiling for {device} needs {needed}, found none: install it, or leave compile off")


def synchronize(device: torch.device) -> None:
    """Wait until `device` has finished what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def total_memory(device: torch.device) -> int:
    """Bytes of memory of the device, as far as this process may use it."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(physical, int(text)) if text.isdigit() else physical


def peak_memory(device: torch.device) -> int:
    """Bytes: most ever allocated on a CUDA device, or the process's largest resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_now(device: torch.device) -> dict[str, int]:
    """Bytes held: by the `process`, and on a GPU by tensors on the `device`.

    The process's resident size, after free memory that the allocator keeps at hand has been given back where it can
    be; the largest size so far where the system does not tell the present one.
    """
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    status = Path("/proc/self/statm")
    known = status.is_file()
    pages = int(status.read_text().split()[1]) if known else 0
    held = pages * os.sysconf("SC_PAGE_SIZE") if known else peak_memory(torch.device("cpu"))
    return {"process": held} | ({"device": torch.cuda.memory_allocated(device)} if device.type == "cuda" else {})


def device_name(device: torch.device) -> str:
    """The name that its maker gave it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")


class Stopwatch:
    """Adds up the wall clock of named blocks, waiting for the device at each end."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time that it takes to make them."""
        source = iter(items)
        while True:
            with self(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item
