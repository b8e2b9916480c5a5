"""Where a loss looks: distributions of noise levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fewstep.diffusion.flow import shift_sigma
from fewstep.diffusion.rng import Rng
from fewstep.types import Sigma


@runtime_checkable
class NoiseDistribution(Protocol):
    """A law of noise levels."""

    def sample(self, batch: int, frames: int, rng: Rng) -> Sigma:
        """One level per clip and frame, drawn from `rng.local`."""
        ...


@runtime_checkable
class FrameLayout(Protocol):
    """Anything that says how many frames each chunk of a clip has."""

    def sizes(self, total_frames: int) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class UniformNoise:
    """Uniform levels, warped by `shift`, then clamped to [low, high]: one per clip, or one per chunk of a layout.

    The law of Self Forcing's score timesteps (shift 5, [0.02, 0.98]); continuous where theirs has 1000 entries.
    """

    shift: float
    low: float = 0.02
    high: float = 0.98
    per_chunk_layout: FrameLayout | None = None
    drawn_from: tuple[float, float] = (0.0, 1.0)
    """Where the uniform numbers lie before the warp (Self Forcing's interval of an exit step)."""

    def __post_init__(self) -> None:
        start, stop = self.drawn_from
        if not (0 < self.shift < math.inf and 0 <= self.low < self.high <= 1 and 0 <= start < stop <= 1):
            raise ValueError(f"levels need a finite shift > 0 and 0 <= lowest < highest <= 1, got {self}")

    def sample(self, batch: int, frames: int, rng: Rng) -> Sigma:
        start, stop = self.drawn_from
        sizes = _chunks(self.per_chunk_layout, frames)
        u = start + (stop - start) * rng.uniform(batch, len(sizes))
        return _over_frames(shift_sigma(u, self.shift).clamp(self.low, self.high), sizes)


@dataclass(frozen=True)
class DiscreteNoise:
    """Levels drawn uniformly from a list: one per clip, or one per chunk when a layout is given."""

    sigmas: tuple[float, ...]
    per_chunk_layout: FrameLayout | None = None

    def __post_init__(self) -> None:
        if not self.sigmas or not all(0 <= sigma <= 1 for sigma in self.sigmas):
            raise ValueError(f"DiscreteNoise needs a non-empty list of levels in [0, 1], got {self.sigmas}")

    def draw(self, batch: int, frames: int, rng: Rng) -> Tensor:
        """Positions in `sigmas`, `b t`."""
        sizes = _chunks(self.per_chunk_layout, frames)
        return _over_frames((rng.uniform(batch, len(sizes)) * len(self.sigmas)).long(), sizes)

    def sample(self, batch: int, frames: int, rng: Rng) -> Sigma:
        index = self.draw(batch, frames, rng)
        return torch.tensor(self.sigmas, dtype=torch.float32, device=index.device)[index]


def _chunks(layout: FrameLayout | None, frames: int) -> tuple[int, ...]:
    """Frames that share a level."""
    return layout.sizes(frames) if layout else (frames,)


def _over_frames(per_chunk: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """One value per chunk as one per frame."""
    repeats = torch.tensor(sizes, device=per_chunk.device)
    return per_chunk.repeat_interleave(repeats, dim=1, output_size=sum(sizes))
