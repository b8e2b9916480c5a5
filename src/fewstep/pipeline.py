"""From a prompt to pixels: load a model folder, generate whole clips, or stream them chunk by chunk."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from fewstep import rollout as autoregression
from fewstep.diffusion.steps import StepPlan
from fewstep.hardware import Precision, Stopwatch, pick_device, pick_dtype, require_compiler
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import ModelDir, Passport, resolve_model
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.rollout import OnStep
from fewstep.sampling import Causal, ManySteps, clip_noise_source, draw_noise, renoising_source, require_whole
from fewstep.session import StreamSession, to_pictures
from fewstep.types import TextEmbeds

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
        by torch.compile: slow first clips, faster ones after. Raises ValueError for models that are missing, truncated
        or foreign.
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
            compile_blocks(pipeline.net)
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
        levels = self.passport.levels
        for name, count in (("steps", steps), ("first", first)):
            if count is not None:
                require_whole(f"{name} (noise levels of '{self.passport.name}')", count, 1, len(levels))
        full = StepPlan.uniform(levels)
        plan = full.shorten(steps or len(levels), self.passport.schedule)
        return plan if first is None else plan.enhance_first(full.shorten(first, self.passport.schedule).rest)

    def latent_frames(self, frames: int | None = None) -> int:
        """Latent frames behind a clip of `frames` pictures. Raises ValueError, naming counts near it that fit."""
        if frames is None:
            return self.passport.latent_frames
        require_whole("frames", frames, 1)
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
        on_step: OnStep | None = None,
    ) -> Generation:
        """One clip per prompt, `frames` pictures long.

        A student takes `steps` (its full list when None) per chunk and `first` in the first; a teacher takes `steps`
        (50) Euler steps under `guidance`. Clip i starts from the noise of (seed, index + i) whatever the plan, so
        plans can be compared side by side. `on_step(chunk, step, x0)` observes each step of each batch.
        """
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, Sequence) or not prompts or not all(isinstance(p, str) for p in prompts):
            raise ValueError(f"prompts must be one text or several, got {prompts!r}")
        require_whole("batch", batch, 1)
        total, sampling = self.latent_frames(frames), self.sampling(steps, first, guidance)
        watch = Stopwatch(self.device)
        null, pieces = None, []
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            with watch("text"):
                text = self._encode(part)
                if sampling.needs_null and null is None:
                    null = self.text_encoder.null(self.passport.negative_prompt).to(text)
            sources = [clip_noise_source(seed, index + start + i) for i in range(len(part))]
            noise = torch.cat([draw_noise(source, total, self._frame_shape) for source in sources]).to(self.device)
            with watch("denoise"):
                nothing = None if null is None else null.expand_as(text)
                rng = renoising_source(seed, index + start)
                latents = sampling.sample(self.net, noise, text, nothing, rng, on_step)
            with watch("decode"):
                pieces.append(to_pictures(torch.cat([self.vae.decode(clip[None]) for clip in latents])))
        seconds = {name: value / len(prompts) for name, value in watch.seconds.items()}
        seconds["total"] = sum(seconds.values())
        return Generation(np.concatenate(pieces), self.passport.fps, *sampling.cost(total), seconds)

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
        on_step: OnStep | None = None,
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
        source, rng = clip_noise_source(seed, index), renoising_source(seed, index)
        return StreamSession(
            prompt,
            encode=lambda text: self._encode([text]),
            noise=(draw_noise(source, size, self._frame_shape).to(self.device) for size in sizes),
            sample=lambda chunks: autoregression.stream(
                self.net, chunks, plan, context=context, rng=rng, on_step=on_step
            ),
            decoder=self.vae.decode_stream(),
        )

    def sampling(self, steps: int | None, first: int | None, guidance: float | None) -> Causal | ManySteps:
        """How the model makes a clip under these options. Raises ValueError for those that it cannot follow."""
        passport = self.passport
        if self.is_student:
            if guidance not in (None, 1):
                raise ValueError(f"a student has its guidance distilled in, got guidance={guidance}: leave it out")
            return Causal(self.plan(steps, first), passport.layout, passport.context)
        if first is not None:
            raise ValueError(
                f"a teacher makes its clip in one piece, without a first chunk, got first={first}: drop it"
            )
        steps = TEACHER_STEPS if steps is None else steps
        require_whole("steps", steps, 1)
        guidance = passport.guidance if guidance is None else guidance
        if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 0 <= guidance < math.inf:
            raise ValueError(f"guidance must be a number of 0 or more, got {guidance!r}")
        return ManySteps(steps, passport.shift, float(guidance))

    def _encode(self, prompts: Sequence[str]) -> TextEmbeds:
        return self.text_encoder.encode(prompts).to(self.device, self.dtype)

    @property
    def _frame_shape(self) -> tuple[int, int, int]:
        stride = self.vae.spatial_stride
        return self.vae.channels, self.passport.height // stride, self.passport.width // stride


def compile_blocks(net: VideoDiT) -> None:
    """Compile each transformer block in place; the first clip of a new shape pays for it.

    The decoder stays eager: its cache changes kind from call to call, and each kind would be compiled anew.
    Raises ValueError where there is no compiler.
    """
    require_compiler(next(net.parameters()).device)
    # blocks share their code, and a clip runs it with caches of many lengths: each length is compiled once
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_SHAPES)
    for block in net.blocks:
        block.compile()
