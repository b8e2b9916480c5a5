"""The ways of making a clip's latents, and the noise that all start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fewstep.diffusion.flow import euler_step, v_from_x0
from fewstep.diffusion.ode import Trajectory, ode_grid, record_trajectory, sample_ode
from fewstep.diffusion.steps import StepPlan
from fewstep.hardware import total_memory
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.guided import Guided
from fewstep.models.layout import ChunkLayout
from fewstep.rollout import Chunk, OnStep, Renoising, stream
from fewstep.types import Latents, MoreLatents, TextEmbeds

HOST = torch.device("cpu")
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Causal:
    """A student's: chunk by chunk, in the steps of a plan."""

    plan: StepPlan
    layout: ChunkLayout
    context: Context
    needs_null = False

    def num_steps(self, frames: int) -> int:
        """Denoising steps of a clip of latent frames."""
        return self.plan.num_evaluations(len(self.layout.sizes(frames)))

    def cost(self, frames: int) -> tuple[int, int]:
        """Network evaluations and commits of a clip."""
        return self.num_steps(frames), len(self.layout.sizes(frames)) - 1

    def stream(
        self,
        net: VideoDiT,
        noise: Latents,
        text: TextEmbeds,
        null_text: TextEmbeds | None,
        rng: Renoising | None,
        on_step: OnStep | None,
        prefix: MoreLatents | None = None,
    ) -> Iterator[Latents]:
        """Latents of each chunk from its noise, behind `prefix`; `rng` renoises between steps.

        The past lies in memory that is taken once, for the window or for the whole clip.
        """
        del null_text  # guidance is distilled in
        context, frames = self.context, noise.shape[1] + (0 if prefix is None else prefix.shape[1])
        if context.window is None or context.window > frames:  # nothing leaves the clip's own length
            context = replace(context, sink=0, window=frames)
        chunks = (Chunk(piece, text) for piece in noise.split(self.layout.sizes(noise.shape[1]), dim=1))
        yield from stream(net, chunks, self.plan, context=context, rng=rng, prefix=prefix, ring=True, on_step=on_step)


@dataclass(frozen=True)
class ManySteps:
    """A teacher's: the whole clip at once, down the ODE, under guidance."""

    steps: int
    shift: float
    guidance: float

    @property
    def needs_null(self) -> bool:
        """Whether an unconditional branch is evaluated."""
        return self.guidance != 1.0

    def num_steps(self, frames: int) -> int:
        """Euler steps, whatever the length."""
        del frames
        return self.steps

    def cost(self, frames: int) -> tuple[int, int]:
        """Network evaluations and commits of a clip; guidance evaluates twice a step."""
        return self.num_steps(frames) * (2 if self.needs_null else 1), 0

    def stream(
        self,
        net: VideoDiT,
        noise: Latents,
        text: TextEmbeds,
        null_text: TextEmbeds | None,
        rng: Renoising | None,
        on_step: OnStep | None,
        prefix: MoreLatents | None = None,
    ) -> Iterator[Latents]:
        """All latents at once from their noise; nothing else is random, and nothing may precede them."""
        del rng, prefix
        observe = None if on_step is None else lambda step, x0: on_step(0, step, x0)
        yield sample_ode(
            net,
            noise,
            text,
            null_text,
            steps=self.steps,
            shift=self.shift,
            guidance=self.guidance,
            on_step=observe,
        )

    def record(
        self,
        net: VideoDiT,
        noise: Latents,
        text: TextEmbeds,
        null_text: TextEmbeds | None,
        levels: Sequence[float],
    ) -> Trajectory:
        """States of the clip's ODE at each of `levels`, then the clip."""
        steps, shift, guidance = self.steps, self.shift, self.guidance
        return record_trajectory(
            net, noise, text, null_text, levels=levels, steps=steps, shift=shift, guidance=guidance
        )


@dataclass(frozen=True)
class CausalManySteps:
    """A causal teacher's: chunk by chunk, each down the ODE under guidance, behind what it made before."""

    each: ManySteps
    """How a chunk is made."""
    layout: ChunkLayout
    context: Context

    @property
    def needs_null(self) -> bool:
        """Whether an unconditional branch is evaluated."""
        return self.each.needs_null

    def num_steps(self, frames: int) -> int:
        """Euler steps of all chunks of a clip of latent frames."""
        return self.each.steps * len(self.layout.sizes(frames))

    def cost(self, frames: int) -> tuple[int, int]:
        """Network evaluations and commits of a clip; guidance doubles both."""
        branches = 2 if self.needs_null else 1
        return branches * self.num_steps(frames), branches * (len(self.layout.sizes(frames)) - 1)

    def stream(
        self,
        net: VideoDiT,
        noise: Latents,
        text: TextEmbeds,
        null_text: TextEmbeds | None,
        rng: Renoising | None,
        on_step: OnStep | None,
        prefix: MoreLatents | None = None,
    ) -> Iterator[Latents]:
        """Latents of each chunk from its noise, behind `prefix`; nothing else is random. No gradient."""
        del rng
        sigmas = ode_grid(self.each.steps, self.each.shift)
        yield from self.descend(net, noise, text, null_text, sigmas, on_step, prefix)

    @torch.no_grad()
    def descend(
        self,
        net: VideoDiT,
        noise: Latents,
        text: TextEmbeds,
        null_text: TextEmbeds | None,
        sigmas: Sequence[float],
        on_step: OnStep | None = None,
        prefix: MoreLatents | None = None,
    ) -> Iterator[Latents]:
        """`stream` on a grid of its own, which ends at 0."""
        guided: VideoDiT | Guided = net
        if self.needs_null:
            if null_text is None:
                raise ValueError(f"guidance {self.each.guidance} needs an unconditional prompt, got null_text=None")
            guided = Guided(net, null_text, self.each.guidance)
        plan = StepPlan.uniform(sigmas[:-1])
        chunks = (Chunk(piece, text) for piece in noise.split(self.layout.sizes(noise.shape[1]), dim=1))
        yield from stream(guided, chunks, plan, context=self.context, rng=None, prefix=prefix, on_step=on_step)

    def record(
        self,
        net: VideoDiT,
        noise: Latents,
        text: TextEmbeds,
        null_text: TextEmbeds | None,
        levels: Sequence[float],
    ) -> Trajectory:
        """States of every chunk's ODE at each of `levels`, then the clip.

        Each chunk's solution is that behind the ends of those before it, which are so the clean past of its states.
        """
        sigmas, wanted = ode_grid(self.each.steps, self.each.shift, levels), set(StepPlan.uniform(levels).rest)
        starts = noise.split(self.layout.sizes(noise.shape[1]), dim=1)
        states: dict[float, list[Latents]] = {sigma: [] for sigma in sigmas if sigma in wanted}
        x = noise

        def observe(chunk: int, step: int, x0: Latents) -> None:
            nonlocal x
            x = starts[chunk] if step == 0 else x
            high, low = (torch.full(x.shape[:2], sigma, device=x.device) for sigma in sigmas[step : step + 2])
            if sigmas[step] in wanted:
                states[sigmas[step]].append(x)
            x = euler_step(x, v_from_x0(x, x0, high), high, low)

        clip = torch.cat(list(self.descend(net, noise, text, null_text, sigmas, observe)), dim=1)
        return torch.stack([*(torch.cat(pieces, dim=1) for pieces in states.values()), clip], dim=1)


Sampling = Causal | ManySteps | CausalManySteps
"""How a model makes a clip."""


def require_room(net: VideoDiT, sampling: Sampling, frames: int, tokens: int) -> None:
    """Raise ValueError where the keys and values that `frames` latent frames of `tokens` keep fit into no memory."""
    if isinstance(sampling, ManySteps):
        return
    weight, branches = net.head.head.weight, 2 if sampling.needs_null else 1
    seen = min(sampling.context.window or frames, frames) * (tokens // frames)
    needed = 2 * branches * net.cfg.num_layers * net.cfg.dim * seen * weight.element_size()
    there = max(map(total_memory, {weight.device, HOST}))
    if needed > there:
        raise ValueError(
            f"the past of a clip of {frames} latent frames takes {needed / 1e9:.0f} GB, this machine has "
            f"{there / 1e9:.0f}: make it shorter, or behind a window, as `fewstep long` does"
        )


def require_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ValueError unless `value` is a whole number from `least` to `most`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        bounds = f"from {least} to {most}" if most is not None else f"of {least} or more"
        raise ValueError(f"{name} must be a whole number {bounds}, got {value!r}")


def clip_noise_source(seed: int, index: int) -> torch.Generator:
    """Where the initial noise of clip `index` under `seed` comes from, whatever else is sampled."""
    return _generator(seed, index, purpose=0)


def renoising_source(seed: int, index: int) -> torch.Generator:
    """Where clip `index` under `seed` takes the noise between its steps, whatever else is sampled."""
    return _generator(seed, index, purpose=1)


def draw_noise(source: torch.Generator, frames: int, shape: tuple[int, int, int]) -> Latents:
    """`1 t c h w` noise. Each latent frame is a draw of its own, so that a clip's prefix has the prefix's noise."""
    return torch.stack([torch.randn(shape, generator=source) for _ in range(frames)])[None]


def _generator(seed: int, index: int, *, purpose: int) -> torch.Generator:
    require_whole("seed", seed, 0, LARGEST_SEED)
    require_whole("index", index, 0)
    # SeedSequence spreads near seeds far apart: the noise of one clip is no shift of another's
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, index, purpose]).generate_state(1)[0]))
