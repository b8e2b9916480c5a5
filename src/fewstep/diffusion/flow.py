"""The rectified-flow path x_sigma = (1 - sigma) x0 + sigma eps, whose velocity is v = eps - x0.

All maths runs in at least fp32 and is cast back to the dtype of the first argument.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from fewstep.types import Latents, Sigma

Level = TypeVar("Level", float, Tensor)


def add_noise(x0: Latents, eps: Latents, sigma: Sigma) -> Latents:
    """The point of the path at `sigma`: (1 - sigma) x0 + sigma eps."""
    level = _spread(sigma, x0)
    return ((1 - level) * x0.to(level) + level * eps.to(level)).to(x0.dtype)


def x0_from_v(x: Latents, v: Latents, sigma: Sigma) -> Latents:
    """The clean end of the straight line through x with velocity v: x - sigma v."""
    level = _spread(sigma, x)
    return (x.to(level) - level * v.to(level)).to(x.dtype)


def v_from_x0(x: Latents, x0: Latents, sigma: Sigma) -> Latents:
    """The velocity that leads from x to x0: (x - x0) / sigma, for sigma above 0."""
    level = _spread(sigma, x)
    return ((x.to(level) - x0.to(level)) / level).to(x.dtype)


def euler_step(x: Latents, v: Latents, sigma: Sigma, lower: Sigma) -> Latents:
    """Where velocity v leads from level `sigma` down to `lower`: x + (lower - sigma) v. At lower = 0 it is x0."""
    distance = _spread(lower - sigma, x)
    return (x.to(distance) + distance * v.to(distance)).to(x.dtype)


def shift_sigma(u: Level, shift: float) -> Level:
    """The Wan time warp k u / (1 + (k - 1) u): for shift k > 1 it moves uniform levels towards noise, 0 and 1 stay."""
    return shift * u / (1 + (shift - 1) * u)


def guide(cond: Latents, uncond: Latents, scale: float) -> Latents:
    """Classifier-free guidance uncond + g (cond - uncond): g = 1 is conditional. Self Forcing's weight 3.0 is g = 4."""
    return uncond + scale * (cond - uncond)


def _spread(sigma: Sigma, x: Latents) -> Tensor:
    """Sigma `b t` as `b t 1 1 1` on x's device, in x's precision but at least fp32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return sigma.to(device=x.device, dtype=dtype)[:, :, None, None, None]
