"""A rollout of any length: what every chunk costs, and what becomes of the picture on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Unpack

import numpy as np
import torch

from fewstep.bench.flatness import Flatness, at_the_end, flatness
from fewstep.hardware import device_name, memory_now
from fewstep.metrics.base import Clip
from fewstep.metrics.drift import LEAST_SEGMENTS, SEGMENT_SECONDS, Drift, drift
from fewstep.metrics.imaging import imaging_of_frames
from fewstep.metrics.motion import dynamic_degree_of, motion_of
from fewstep.models.cache import Context
from fewstep.models.fingerprint import module_fingerprint
from fewstep.pipeline import Pipeline
from fewstep.shot import ShotOptions, rolling_context
from fewstep.types import Frames

MEMORY_BOUND, TIME_BOUND = 0.02, 0.10
"""Largest change, as a share, of what is called flat."""


@dataclass(frozen=True)
class ChunkCost:
    """One chunk, from asking for it to its pictures on the host."""

    start: float
    """Seconds into the clip."""
    frames: int
    """Pictures."""
    prompt: int
    """Number of the prompt that it follows."""
    seconds: float
    processor_seconds: float
    """Of all threads: other programs on the machine disturb it less."""


@dataclass(frozen=True)
class Segment:
    """Two seconds of the clip, and the memory held at its end."""

    start: float
    """Seconds into the clip."""
    prompt: int
    """Number of the prompt that its end follows."""
    quality: float
    """Mean imaging quality, 0 … 100."""
    dynamic: bool
    """Dynamic degree."""
    motion: float
    """Speed of what moves fastest, in short sides per second."""
    memory_mb: dict[str, float]
    """As `memory_now` names its kinds."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for, and of what."""

    model: str
    fingerprint: str
    """Of the transformer."""
    device: str
    dtype: str
    threads: int
    torch: str
    levels: tuple[tuple[float, ...], tuple[float, ...]]
    """Noise levels of the enhanced chunk and of the others."""
    enhanced: int = 0
    """Number of the enhanced chunk, from 0."""
    context: Context
    recache: bool
    prompts: tuple[str, ...]
    seed: int
    fps: float
    size: tuple[int, int]
    """Height and width in pixels."""

    @property
    def told_steps(self) -> str:
        """`1 step a chunk, 4 for the first`."""
        enhanced, rest = map(len, self.levels)
        each = f"{rest} step{'s' * (rest > 1)} a chunk"
        return each if enhanced == rest else f"{each}, {enhanced} for the {'second' if self.enhanced else 'first'}"


@dataclass
class LongRollout:
    """All that was measured, and what follows from it."""

    settings: Settings
    given_frames: int = 0
    """Pictures that the clip was given to begin with."""
    chunks: list[ChunkCost] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    """One behind the other; what is left at the end is not judged."""
    quality: list[float] = field(default_factory=list)
    """Imaging quality of each of their pictures, 0 … 100."""

    @property
    def frames(self) -> int:
        """Pictures of the whole clip."""
        return self.given_frames + sum(chunk.frames for chunk in self.chunks)

    @property
    def flat(self) -> dict[str, Flatness]:
        """Whether memory and time stayed what they were after the warm-up.

        Of memory the most later on counts, of time the median of the end.
        """
        times = {
            "time per picture": [chunk.seconds / chunk.frames for chunk in self.chunks],
            "processor time per picture": [chunk.processor_seconds / chunk.frames for chunk in self.chunks],
        }
        held = {
            f"memory of the {kind}": [segment.memory_mb[kind] for segment in self.segments]
            for kind in (self.segments[0].memory_mb if self.segments else ())
        }
        found = {name: flatness(series, max, MEMORY_BOUND) for name, series in held.items()}
        return found | {name: flatness(series, at_the_end, TIME_BOUND) for name, series in times.items()}

    @property
    def dynamic_degree(self) -> float:
        """Share of the segments that are dynamic; NaN without any."""
        return sum(segment.dynamic for segment in self.segments) / len(self.segments) if self.segments else math.nan

    @property
    def told_dynamic_degree(self) -> str:
        """In percent, where there is a segment."""
        return f"{self.dynamic_degree:.0%}" if self.segments else "too short to tell"

    @property
    def drift(self) -> Drift | None:
        """Of the imaging quality over the segments; None where they are too few."""
        few = len(self.segments) < LEAST_SEGMENTS
        return None if few else drift(np.array(self.quality), len(self.quality) // len(self.segments))

    def to_json(self) -> dict[str, Any]:
        """Plain values, conclusions first; what cannot be told is null."""
        seconds = [chunk.seconds for chunk in self.chunks]
        found = {
            "frames": self.frames,
            "frames_per_second": sum(chunk.frames for chunk in self.chunks) / sum(seconds),
            "chunk_ms_p50": 1000 * median(seconds),
            "flat": {name: asdict(each) | {"held": each.held} for name, each in self.flat.items()},
            "dynamic_degree": self.dynamic_degree,
            "drift": None if self.drift is None else asdict(self.drift),
        }
        return without_nan({"found": found, **asdict(self)})


def long_rollout(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seconds: float,
    *,
    seed: int = 0,
    context: Context | None = None,
    recache: bool = False,
    see: Callable[[Frames], None] = lambda frames: None,
    **options: Unpack[ShotOptions],
) -> LongRollout:
    """A student's clip of `seconds` of new pictures, or up to a chunk more, measured while it is made.

    Each of the `prompts` takes an equal share of the chunks. Without a `context` it is `rolling_context`. `see` gets
    the pictures as they come; nothing else keeps them. The options are those of `Pipeline.shot`, length aside. Raises
    ValueError for what cannot be asked for.
    """
    if not prompts or not 0 < seconds < math.inf:
        raise ValueError(f"a prompt and a time are required, got {len(prompts)} prompts and {seconds} seconds")
    context = context or rolling_context(pipeline.passport)
    behind = options.get("image") is not None or options.get("video") is not None
    count = chunks_of(pipeline, seconds, behind=behind)
    if count < len(prompts):
        least = seconds_of(pipeline, len(prompts), behind=behind)
        raise ValueError(
            f"each prompt needs a chunk of its own, {seconds:g} seconds are {count} for {len(prompts)} prompts: ask "
            f"for {least:.1f} seconds or more, or for fewer prompts"
        )
    numbers = [index * len(prompts) // count for index in range(count)]
    session = pipeline.stream(
        (prompts[number] for number in numbers), seed=seed, endless=True, context=context, recache=recache, **options
    )
    made = LongRollout(_settings(pipeline, prompts, seed, context, recache, options))
    judge = _Judge(made, pipeline.device)
    if behind:
        given = next(session)
        made.given_frames = len(given)
        judge.add(given, 0)
        see(given)
    for number in numbers:
        begun, worked = time.perf_counter(), time.process_time()
        frames = next(session)
        spent = time.perf_counter() - begun, time.process_time() - worked
        made.chunks.append(ChunkCost(made.frames / made.settings.fps, len(frames), number, *spent))
        judge.add(frames, number)
        see(frames)
    return made


def chunks_of(pipeline: Pipeline, seconds: float, *, behind: bool = False) -> int:
    """Chunks of a student that show `seconds` or more of new pictures, `behind` an image or a clip or on their own."""
    first, later = _pictures(pipeline, behind)
    return 1 + max(0, math.ceil((seconds * pipeline.passport.fps - first) / later))


def seconds_of(pipeline: Pipeline, chunks: int, *, behind: bool = False) -> float:
    """What so many chunks of a student show, up to a whole tenth."""
    first, later = _pictures(pipeline, behind)
    return math.floor(10 * (first + (chunks - 1) * later) / pipeline.passport.fps) / 10


def _pictures(pipeline: Pipeline, behind: bool) -> tuple[int, int]:
    """Pictures of the first chunk and of each later one; a clip's own beginning is shorter than what goes on."""
    layout = pipeline.passport.layout
    later = layout.chunk * pipeline.vae.temporal_stride
    return (later if behind else pipeline.vae.pixel_frames(layout.first or layout.chunk)), later


class _Judge:
    """Judges a clip's pictures segment by segment, in memory that is taken once."""

    def __init__(self, made: LongRollout, device: torch.device):
        self.made, self.device, self.filled = made, device, 0
        self.fps = made.settings.fps
        self.frames = np.empty((max(1, round(SEGMENT_SECONDS * self.fps)), *made.settings.size, 3), np.uint8)

    def add(self, frames: Frames, prompt: int) -> None:
        """The next pictures of the clip."""
        while len(frames):
            part = frames[: len(self.frames) - self.filled]
            self.frames[self.filled : self.filled + len(part)] = part
            self.filled, frames = self.filled + len(part), frames[len(part) :]
            if self.filled == len(self.frames):
                self._close(prompt)

    def _close(self, prompt: int) -> None:
        clip, made = Clip(self.frames, self.fps), self.made
        quality = imaging_of_frames(clip)
        start = len(made.quality) / self.fps
        dynamic = dynamic_degree_of(clip, gated=True) == 1
        motion, held = motion_of(clip), {kind: size / 2**20 for kind, size in memory_now(self.device).items()}
        made.segments.append(Segment(start, prompt, float(quality.mean()), dynamic, motion, held))
        made.quality += quality.tolist()
        self.filled = 0


def _settings(
    pipeline: Pipeline, prompts: Sequence[str], seed: int, context: Context, recache: bool, options: ShotOptions
) -> Settings:
    passport = pipeline.passport
    plan = pipeline.plan(options.get("steps"), options.get("first"), options.get("second"))
    return Settings(
        model=passport.name,
        fingerprint=module_fingerprint(pipeline.net),
        device=device_name(pipeline.device),
        dtype=str(pipeline.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        levels=(plan.first, plan.rest),
        enhanced=plan.enhanced,
        context=context,
        recache=recache,
        prompts=tuple(prompts),
        seed=seed,
        fps=passport.fps,
        size=(options.get("height") or passport.height, options.get("width") or passport.width),
    )


def without_nan(value: Any) -> Any:
    """Plain values in which no number is NaN, which JSON does not know: null stands for it."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
