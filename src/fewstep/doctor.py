"""What this machine can do: versions, devices, number formats, memory, and which presets fit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fewstep.hardware import can_compile, device_name, has_fast_bf16, pick_device, total_memory
from fewstep.models.presets import PRESETS
from fewstep.planning.flops import cache_bytes
from fewstep.planning.sizes import CLIPS, transformer_numbers

GB = 1e9
SLACK = 1.25
"""Activations, the VAE and the allocator on top of weights and cache, as a factor; an estimate."""
TRAINED_BYTES = 16
"""float32 weight, gradient and two AdamW moments of each trained parameter."""
OPTIONAL = {
    "tensorboard": "training curves in a browser",
    "beartype": "shape checks at run time",
    "pytest": "the tests",
}
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


@dataclass(frozen=True)
class Fit:
    """What one preset needs, in GB, and whether the device has it."""

    preset: str
    parameters: int
    generate_gb: float
    """Weights in the device's best format and the cache of the preset's clip."""
    distil_gb: float
    """Student and fake score with AdamW in float32, a frozen teacher, and the cache."""
    generates: bool
    distils: bool


@dataclass(frozen=True)
class Device:
    """One place to compute."""

    device: str
    name: str
    memory_gb: float
    fast_bf16: bool
    features: tuple[str, ...]
    """CPU instruction sets or CUDA attention kernels that matter here."""
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class Examination:
    """Everything found."""

    versions: dict[str, str]
    missing: dict[str, str]
    """Optional packages that are not there, and what they are for."""
    cores: int
    threads: int
    disk_free_gb: float
    backends: tuple[str, ...]
    """Libraries that torch computes with here, and devices that it can compile for."""
    devices: tuple[Device, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def examine(folder: Path | str = ".") -> Examination:
    """Look at this machine; `folder` is where results would be written."""
    needed = ("torch", "diffusers", "transformers", "numpy", "av")
    versions = {"python": platform.python_version()} | {name: _version(name) or "missing" for name in needed}
    versions |= {name: version for name in OPTIONAL if (version := _version(name))}
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    places = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return Examination(
        versions=versions,
        missing={name: use for name, use in OPTIONAL.items() if not _version(name)},
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        disk_free_gb=shutil.disk_usage(folder).free / GB,
        backends=_backends(places),
        devices=tuple(_device(pick_device(place)) for place in places),
    )


def fit(preset: str, memory: int, bytes_per_weight: int) -> Fit:
    """Whether a preset's weights and cache fit into `memory` bytes, to generate and to distil."""
    cfg = PRESETS[preset]
    _, (frames, height, width), _ = CLIPS[preset]
    _, ph, pw = cfg.patch
    tokens = frames * (height // 8 // ph) * (width // 8 // pw)
    parameters = transformer_numbers(cfg)
    cache = cache_bytes(cfg, tokens, bytes_per_weight)
    generate = SLACK * (parameters * bytes_per_weight + cache)
    distil = SLACK * (parameters * (2 * TRAINED_BYTES + bytes_per_weight) + cache)
    return Fit(preset, parameters, generate / GB, distil / GB, generate <= memory, distil <= memory)


def _device(device: torch.device) -> Device:
    memory, fast = total_memory(device), has_fast_bf16(device)
    return Device(
        device=str(device),
        name=device_name(device),
        memory_gb=memory / GB,
        fast_bf16=fast,
        features=_attention_kernels() if device.type == "cuda" else _instruction_sets(),
        fits=tuple(fit(preset, memory, 2 if fast else 4) for preset in PRESETS if preset in CLIPS),
    )


def _backends(places: list[str]) -> tuple[str, ...]:
    libraries = {
        "oneDNN": torch.backends.mkldnn.is_available(),
        "MKL": torch.backends.mkl.is_available(),
        "OpenMP": torch.backends.openmp.is_available(),
        "cuDNN": torch.backends.cudnn.is_available(),
    }
    kinds = dict.fromkeys(place.split(":")[0] for place in places)
    compiled = [f"torch.compile for {kind}" for kind in kinds if can_compile(torch.device(kind))]
    return (*(name for name, there in libraries.items() if there), *compiled)


def _instruction_sets() -> tuple[str, ...]:
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.is_file() else set()
    return tuple(flag for flag in CPU_FLAGS if flag in words)


def _attention_kernels() -> tuple[str, ...]:
    enabled = {
        "flash": torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.is_flash_attention_available(),
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
    }
    return tuple(name for name, on in enabled.items() if on)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
