"""From a prompt to pixels: load a model folder, generate whole clips, or stream them chunk by chunk."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from fewstep import rollout as autoregression
from fewstep.diffusion.ode import sample_ode
from fewstep.diffusion.steps import StepPlan
from fewstep.hardware import Precision, pick_device, pick_dtype, synchronize
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import ModelDir, Passport, resolve_model
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.session import StreamSession, to_pictures
from fewstep.types import Latents, TextEmbeds

MAX_SHAPES = 64
"""Context lengths and chunk sizes that a compiled block may see before it falls back to eager."""
TEACHER_STEPS = 50
"""Euler steps of a teacher when none are asked for (Wan's default)."""


@dataclass(frozen=True)
class Generation:
    """Clips and what they cost. The frames are also what `numpy.asarray(generation)` gives."""

    frames: UInt8[np.ndarray, "b f H W 3"]
    fps: float
    network_evaluations: int
    """Passes per clip that predict a velocity; guidance counts two per step, commits of clean context none."""
    commits: int
    """Passes per clip that write finished chunks to the cache."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall clock per clip of `text`, `denoise` (commits included) and `decode`, and their `total`."""

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.frames, dtype=dtype, copy=copy)


class Pipeline:
    """A text encoder, a VideoDiT and a VAE with the passport that says how they were trained to be used."""

    def __init__(self, net: VideoDiT, vae: VideoVAE, text_encoder: TextEncoder, passport: Passport):
        self.net, self.vae, self.text_encoder, self.passport = net.eval(), vae.eval(), text_encoder, passport
        self.device = next(net.parameters()).device
        self.dtype = next(net.parameters()).dtype

    @classmethod
    def load(
        cls,
        name_or_dir: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: Precision | torch.dtype = "auto",
        compile: bool = False,
    ) -> Pipeline:
        """A bundled model by name, or a folder in diffusers layout with a `fewstep.json`.

        `dtype` "auto" is bfloat16 where the hardware multiplies it natively. `compile` fuses the transformer's blocks
        and the decoder by torch.compile: slow first clips, faster ones after. Raises ValueError for models that are
        missing, truncated or foreign.
        """
        target = pick_device(device)
        number = pick_dtype(dtype, target)
        folder = ModelDir(resolve_model(name_or_dir))
        options = {"dtype": number, "device": target}
        pipeline = cls(
            folder.load_transformer(**options),
            folder.load_vae(**options),
            folder.load_text_encoder(**options),
            folder.passport,
        )
        if compile:
            compile_networks(pipeline.net, pipeline.vae)
        return pipeline

    @property
    def is_student(self) -> bool:
        """Whether the model makes clips chunk by chunk in few steps."""
        return self.passport.kind == "student"

    @property
    def pixel_frames(self) -> int:
        """Pictures of a clip of the length that the model was trained for."""
        return self.vae.pixel_frames(self.passport.latent_frames)

    def plan(self, steps: int | None = None, first: int | None = None) -> StepPlan:
        """The student's noise levels at `steps` per chunk, and `first` for the first chunk (FFE, ASD 3.3).

        Raises ValueError for counts that the model has no levels for.
        """
        levels = tuple(self.passport.levels)
        for name, count in (("steps", steps), ("first", first)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
                raise ValueError(f"{name} must be a whole number, got {count!r}")
            if count is not None and not 1 <= count <= len(levels):
                raise ValueError(
                    f"{name} must be 1 to {len(levels)}, the noise levels of '{self.passport.name}', got {count}: "
                    "ask for fewer, or load a model that was trained for more"
                )
        full = StepPlan.uniform(levels)
        plan = full.shorten(steps or len(levels), self.passport.schedule)
        return plan if first is None else plan.enhance_first(full.shorten(first, self.passport.schedule).rest)

    def latent_frames(self, frames: int | None = None) -> int:
        """Latent frames behind a clip of `frames` pictures. Raises ValueError, naming counts near it that fit."""
        if frames is None:
            return self.passport.latent_frames
        if isinstance(frames, bool) or not isinstance(frames, int):
            raise ValueError(f"frames must be a whole number, got {frames!r}")
        layout = self.passport.layout if self.is_student else ChunkLayout(1)
        first, chunk = layout.first or layout.chunk, layout.chunk
        stride = self.vae.temporal_stride
        below = max((-(-(frames - 1) // stride) + 1 - first) // chunk, 0) * chunk + first
        near = [self.vae.pixel_frames(count) for count in (below - chunk, below, below + chunk) if count >= first]
        if frames not in near:
            fitting = sorted(near, key=lambda count: abs(count - frames))[:2]
            raise ValueError(
                f"frames must be {self.vae.pixel_frames(first)} plus a multiple of {chunk * stride}, to fill whole "
                f"chunks, got {frames}: the nearest are {' and '.join(map(str, sorted(fitting)))}"
            )
        return 1 + (frames - 1) // stride

    @torch.inference_mode()
    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        steps: int | None = None,
        first: int | None = None,
        frames: int | None = None,
        seed: int = 0,
        guidance: float | None = None,
        index: int = 0,
        batch: int = 8,
        on_step: Callable[[int, int, Latents], None] | None = None,
    ) -> Generation:
        """One clip per prompt, `frames` pictures long.

        A student takes `steps` (its full list when None) per chunk and `first` in the first; a teacher takes `steps`
        (50) Euler steps under `guidance`. Clip i starts from the noise of (seed, index + i) whatever the plan, so
        plans can be compared side by side. `on_step(chunk, step, x0)` observes each step of each batch.
        """
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, Sequence) or not prompts or not all(isinstance(p, str) for p in prompts):
            raise ValueError(f"prompts must be one text or several, got {prompts!r}")
        total = self.latent_frames(frames)
        sample = self._rollout if self.is_student else self._ode
        options = self._sampling_options(steps, first, guidance)
        clock = _Clock(self.device)
        pieces = []
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            text = clock("text", self.text_encoder.encode, part).to(self.device, self.dtype)
            noise = torch.stack(
                [self._draw(self._generator(seed, index + start + i, purpose=0), total) for i in range(len(part))]
            )
            rng = self._generator(seed, index + start, purpose=1)
            latents = clock("denoise", sample, noise.to(self.device), text, rng=rng, on_step=on_step, **options)
            pieces.append(clock("decode", self._pixels, latents))
        evaluations, commits = self._cost(total, **options)
        seconds = {name: value / len(prompts) for name, value in clock.seconds.items()}
        seconds["total"] = sum(seconds.values())
        return Generation(np.concatenate(pieces), self.passport.fps, evaluations, commits, seconds)

    def stream(
        self,
        prompt: str | Iterable[str],
        *,
        steps: int | None = None,
        first: int | None = None,
        frames: int | None = None,
        seed: int = 0,
        index: int = 0,
        endless: bool = False,
        context: Context | None = None,
        on_step: Callable[[int, int, Latents], None] | None = None,
    ) -> StreamSession:
        """A student's clip as an iterator of `f H W 3` frames, one item per chunk, as soon as each is ready.

        Set `.prompt` between chunks to change what comes next; an iterable of prompts gives one per chunk and its last
        one stays. The clip is `frames` long (the trained length when None) or `endless`, which needs a `context` with
        a window. At a constant prompt the frames are those of `generate`.
        """
        if not self.is_student:
            raise ValueError(f"streaming needs a causal student, '{self.passport.name}' is a teacher: use generate()")
        if endless and frames is not None:
            raise ValueError(f"a stream is endless or has a length, got endless=True and frames={frames}: drop one")
        context = context or self.passport.context
        if endless and context.window is None:
            raise ValueError(
                "an endless stream needs a context with a window, got window=None: pass Context(window=...)"
            )
        layout, plan = self.passport.layout, self.plan(steps, first)
        sizes: Iterable[int] = (
            itertools.chain([layout.first or layout.chunk], itertools.repeat(layout.chunk))
            if endless
            else layout.sizes(self.latent_frames(frames))
        )
        source = self._generator(seed, index, purpose=0)
        rng = self._generator(seed, index, purpose=1)
        return StreamSession(
            prompt,
            encode=lambda text: self.text_encoder.encode([text]).to(self.device, self.dtype),
            noise=(self._draw(source, size)[None].to(self.device) for size in sizes),
            sample=lambda chunks: autoregression.stream(
                self.net, chunks, plan, context=context, rng=rng, on_step=on_step
            ),
            decoder=self.vae.decode_stream(),
        )

    def _sampling_options(self, steps: int | None, first: int | None, guidance: float | None) -> dict:
        if self.is_student:
            if guidance not in (None, 1, 1.0):
                raise ValueError(f"a student has its guidance distilled in, got guidance={guidance}: leave it out")
            return {"plan": self.plan(steps, first)}
        if first is not None:
            raise ValueError(
                f"a teacher makes its clip in one piece and has no first chunk, got first={first}: drop it"
            )
        steps = TEACHER_STEPS if steps is None else steps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps must be a whole number of 1 or more, got {steps!r}")
        return {"steps": steps, "guidance": float(self.passport.guidance if guidance is None else guidance)}

    def _cost(self, total: int, plan: StepPlan | None = None, steps: int = 0, guidance: float = 1.0) -> tuple[int, int]:
        if plan is None:
            return steps * (1 if guidance == 1.0 else 2), 0
        chunks = len(self.passport.layout.sizes(total))
        return plan.num_evaluations(chunks), chunks - 1

    def _rollout(self, noise: Latents, text: TextEmbeds, *, plan: StepPlan, rng: torch.Generator, on_step) -> Latents:
        passport = self.passport
        return autoregression.rollout(
            self.net, noise, text, plan, layout=passport.layout, context=passport.context, rng=rng, on_step=on_step
        )

    def _ode(
        self, noise: Latents, text: TextEmbeds, *, steps: int, guidance: float, rng: torch.Generator, on_step
    ) -> Latents:
        null = None
        if guidance != 1.0:
            null = self.text_encoder.null(self.passport.negative_prompt).to(text).expand_as(text)
        observe = None if on_step is None else lambda step, x: on_step(0, step, x)
        options = {"steps": steps, "shift": self.passport.shift, "guidance": guidance, "on_step": observe}
        return sample_ode(self.net, noise, text, null, **options)

    def _draw(self, source: torch.Generator, frames: int) -> Tensor:
        """`t c h w` noise: each latent frame is a draw of its own, so that a clip's prefix has the prefix's noise."""
        stride = self.vae.spatial_stride
        shape = (self.vae.channels, self.passport.height // stride, self.passport.width // stride)
        return torch.stack([torch.randn(shape, generator=source) for _ in range(frames)])

    @staticmethod
    def _generator(seed: int, index: int, *, purpose: int) -> torch.Generator:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ValueError(f"seed must be a whole number from 0 to {2**31 - 1}, got {seed!r}")
        # SeedSequence spreads near seeds far apart; the noise of one clip is not a shift of another's
        return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, index, purpose]).generate_state(1)[0]))

    def _pixels(self, latents: Latents) -> np.ndarray:
        frames = torch.cat([self.vae.decode(clip[None]) for clip in latents])
        return to_pictures(frames)


def compile_networks(net: VideoDiT, vae: VideoVAE) -> None:
    """Compile each transformer block and the decoder, in place; the first clip of a new shape pays for it."""
    # blocks share their code, and a clip runs it with caches of many lengths: each length is compiled once
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_SHAPES)
    for block in net.blocks:
        block.compile()
    vae.model.decoder.compile()


class _Clock:
    """Adds up the wall clock of named calls."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, {}

    def __call__(self, name: str, call: Callable, *args, **options):
        start = time.perf_counter()
        result = call(*args, **options)
        synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return result
