"""Many-step sampling of a bidirectional teacher: Euler steps down the probability-flow ODE, with guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewstep.diffusion.flow import shift_sigma
from fewstep.diffusion.guidance import VelocityField, guided_velocity
from fewstep.diffusion.steps import StepPlan
from fewstep.types import Latents, TextEmbeds

Trajectory = Float[Tensor, "b s t c h w"]
"""States of one ODE solution at s levels, noisy to clean."""

SAME_LEVEL = 1e-6
"""A grid point this close to a recorded level is that level."""


def ode_grid(steps: int, shift: float, levels: Sequence[float] = ()) -> tuple[float, ...]:
    """Noise levels from 1 to 0: `steps` warped uniform steps, with every one of `levels` an exact member."""
    if steps < 1:
        raise ValueError(f"an ODE sampler needs at least 1 step, got steps={steps}")
    regular = [shift_sigma(1 - i / steps, shift) for i in range(steps + 1)]
    kept = [sigma for sigma in regular if all(abs(sigma - level) > SAME_LEVEL for level in levels)]
    return tuple(sorted({*kept, *levels}, reverse=True))


def integrate(
    net: VelocityField,
    noise: Latents,
    text: TextEmbeds,
    null_text: TextEmbeds | None,
    *,
    sigmas: Sequence[float],
    guidance: float,
    batched: bool = True,
) -> Iterator[tuple[float, Latents]]:
    """Each level of the descending grid and the fp32 state there, (1, noise) to (0, sample), by Euler; no gradient."""
    x = noise.float()
    yield sigmas[0], x
    for high, low in pairwise(sigmas):
        sigma = torch.full(noise.shape[:2], high, device=noise.device)
        with torch.no_grad():
            v = guided_velocity(net, x.to(noise.dtype), sigma, text, null_text, guidance, batched=batched)
            x = x + (low - high) * v.float()
        yield low, x


def sample_ode(
    net: VelocityField,
    noise: Latents,
    text: TextEmbeds,
    null_text: TextEmbeds | None = None,
    *,
    steps: int = 50,
    shift: float,
    guidance: float,
    batched: bool = True,
    on_step: Callable[[int, Latents], None] | None = None,
) -> Latents:
    """Samples of the teacher; `on_step(i, x0)` sees the clean clip that the velocity of step i points to."""
    x = noise
    path = integrate(net, noise, text, null_text, sigmas=ode_grid(steps, shift), guidance=guidance, batched=batched)
    for step, ((high, before), (low, x)) in enumerate(pairwise(path)):
        if on_step is not None:
            on_step(step, before + (x - before) * high / (high - low))
    return x.to(noise.dtype)


def record_trajectory(
    net: VelocityField,
    noise: Latents,
    text: TextEmbeds,
    null_text: TextEmbeds | None = None,
    *,
    levels: Sequence[float],
    steps: int = 50,
    shift: float,
    guidance: float,
    batched: bool = True,
) -> Trajectory:
    """States of one ODE solution at each of `levels`, noisy to clean, then its endpoint: len(levels) + 1 states.

    The pairs that ODE initialisation regresses (CausVid 4.2). The levels descend from 1.0 and are exact grid members,
    so state and level agree; the lineage took the nearest step of a grid that was warped differently.
    """
    wanted = set(StepPlan.uniform(levels).rest) | {0.0}
    sigmas = ode_grid(steps, shift, tuple(levels))
    path = integrate(net, noise, text, null_text, sigmas=sigmas, guidance=guidance, batched=batched)
    return torch.stack([x.to(noise.dtype) for sigma, x in path if sigma in wanted], dim=1)


def states_at(path: Trajectory, index: Int[Tensor, "b t"]) -> Latents:
    """For each clip and frame the state at position `index` of its trajectory."""
    clips = torch.arange(path.shape[0], device=path.device)[:, None]
    frames = torch.arange(path.shape[2], device=path.device)[None, :]
    return path[clips, index.to(path.device), frames]
