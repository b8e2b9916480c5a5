"""What a piece of work needs, phase by phase, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GB = 1e9
CONTEXT = 1.0e9
"""Bytes of a CUDA context and the workspaces of its libraries; an estimate."""
SLACK = 0.05
"""Share of what comes and goes that the allocator cannot use again, for its pieces do not fit; an estimate."""
SHARE = 0.4
"""Share of the rate of large matrix products that whole steps reach: 300 of 790 TFLOP/s is usual on an H200."""


@dataclass(frozen=True)
class Phase:
    """A part of the work, and what is on the device at its worst moment."""

    name: str
    lasting: Mapping[str, float]
    """Bytes of what stays from phase to phase, by role."""
    passing: Mapping[str, float]
    """Bytes of what comes and goes."""
    flops: float = 0.0
    """Of one time through."""
    times: float = 1.0
    """How often it comes in one unit of work."""

    @property
    def memory(self) -> dict[str, float]:
        """All bytes by part, with what the device's own software takes."""
        passing = sum(self.passing.values())
        parts = {**self.lasting, **self.passing, "context, fragmentation": CONTEXT + SLACK * passing}
        return {name: size for name, size in parts.items() if size}

    @property
    def peak(self) -> float:
        """Bytes at the worst moment."""
        return sum(self.memory.values())


@dataclass(frozen=True)
class Plan:
    """What one run needs. Nothing was loaded to make it."""

    name: str
    unit: str
    """What is counted: a clip, a cycle."""
    units: int
    """How many of them the run has."""
    phases: tuple[Phase, ...]
    once: float = 0.0
    """FLOPs before the first unit."""
    host: Mapping[str, float] = field(default_factory=dict)
    """Bytes of host memory by part."""
    disk: Mapping[str, float] = field(default_factory=dict)
    """Bytes by part."""
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> float:
        """Bytes of device memory at the worst moment of all."""
        return max(phase.peak for phase in self.phases)

    @property
    def flops(self) -> float:
        """Of one unit."""
        return sum(phase.flops * phase.times for phase in self.phases)

    def seconds(self, rate: float, gpus: int = 1, share: float = SHARE) -> float:
        """Of the whole run, where large matrix products run at `rate` FLOP/s and whole steps at a share of it."""
        return (self.once + self.units * self.flops) / (rate * share * gpus)

    def fits(self, memory: float) -> bool:
        """Whether every phase fits into `memory` bytes."""
        return self.peak <= memory

    def to_json(self) -> dict[str, Any]:
        """Plain values; sizes in GB, work in TFLOP."""
        return {
            "name": self.name,
            "unit": self.unit,
            "units": self.units,
            "peak_gb": self.peak / GB,
            "tflop_per_unit": self.flops / 1e12,
            "tflop_once": self.once / 1e12,
            "phases": [
                {
                    "name": phase.name,
                    "peak_gb": phase.peak / GB,
                    "memory_gb": _gb(phase.memory),
                    "tflop": phase.flops / 1e12,
                    "times": phase.times,
                }
                for phase in self.phases
            ],
            "host_gb": _gb(self.host),
            "disk_gb": _gb(self.disk),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Switch:
    """A change that makes a plan smaller."""

    say: str
    """As it is given on the command line."""
    plan: Plan


def _gb(sizes: Mapping[str, float]) -> dict[str, float]:
    return {name: size / GB for name, size in sizes.items()}
