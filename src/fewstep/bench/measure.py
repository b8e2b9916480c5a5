"""Times of one subject: single passes by context length, and whole streams from prompt to pictures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch

from fewstep import rollout as autoregression
from fewstep.bench.rates import machine_rates, quantile, timed, wall
from fewstep.bench.subject import Subject
from fewstep.diffusion.steps import StepPlan
from fewstep.hardware import device_name, peak_memory, synchronize
from fewstep.models.cache import KVCache
from fewstep.planning.flops import commit_flops, forward_flops
from fewstep.session import to_pictures

Commit = Literal["sequential", "packed"]
Cache = Literal["ring", "value"]
"""Memory of the past in streams: preallocated and written in place, or a value that grows."""
STEADY = 4
"""Chunk periods at the end of a clip that count as steady."""


@dataclass
class Stream:
    """Times of whole streams at one step count, in ms unless said."""

    steps: int
    commit: Commit
    first_clip_s: float
    """The first clip of all, compilation included."""
    first_frame_ms: float
    """From the prompt's text (or embeddings) to the first chunk's pictures on the host."""
    period_ms: dict[str, float]
    """Time between chunks, after the first: p50, p90, commit and decode included; empty for clips of one chunk."""
    fps_with_decode: float
    fps_without_decode: float
    """Of the whole clip; commits included, text not."""
    floor_ratio: float
    """Denoise and commit time over the time that their FLOPs take at the matrix rate measured here."""
    peak_memory_mb: float


@dataclass
class Report:
    """Everything measured on one subject with one number format and backend."""

    model: str
    device: str
    backend: str
    cache: Cache
    dtype: str
    gemm_tflops: float
    copy_gb_s: float
    forward_ms: dict[int, float]
    """One denoising pass, by latent frames of context and chunk together."""
    commit_ms: dict[int, float]
    packed_ms: dict[int, float]
    """Commit of the chunk before and first denoising pass, in one forward."""
    decode_ms: float
    """One steady chunk to pictures on the host."""
    text_ms: float | None
    planned_memory_mb: float | None = None
    """What `fewstep plan` says of the longest stream, without the device's own software; for presets."""
    streams: list[Stream] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@torch.inference_mode()
def measure(
    subject: Subject,
    *,
    backend: str,
    steps: Sequence[int],
    commits: Sequence[Commit],
    cache: Cache = "ring",
    clips: int,
    log: Callable[[str], None] = lambda what: None,
) -> Report:
    """All figures of one subject; `log` hears what is being measured."""
    dtype = next(subject.net.parameters()).dtype
    place = device_name(subject.device)
    log("matrix and copy rates")
    gemm, copied = machine_rates(subject.device, dtype)
    report = Report(subject.name, place, backend, cache, subject.dtype, gemm, copied, {}, {}, {}, 0.0, None)
    streams = []
    for commit in commits:
        for n in steps:
            log(f"streams of {n} steps, {commit} commit")
            streams.append(_measure_streams(subject, n, commit, cache, clips, gemm))
    report.streams = streams
    log("forward, commit and decode by context length")
    _measure_passes(subject, report)
    return report


def _measure_passes(subject: Subject, report: Report) -> None:
    """Each kind of pass at each context length that a clip goes through, keys of the report counting frames."""
    net, device, context = subject.net, subject.device, subject.context
    text = net.encode_text(subject.text)
    before, clean, done = KVCache.empty(net.cfg.num_layers), subject.prefix, subject.given
    cache = before
    if clean is not None:
        cache = net.prefill(clean, torch.zeros(1, done, device=device), text, before, context)
    for size in subject.chunks:
        x, zero = subject.noise(size), torch.zeros(1, size, device=device)
        sigma, done = zero + 0.9, done + size
        report.forward_ms[done] = timed(partial(net.forward, x, sigma, text, cache=cache, context=context), device)
        if clean is not None:
            packed = partial(net.forward_packed, clean, x, sigma, text, before, context)
            report.packed_ms[done] = timed(packed, device)
        commit = partial(net.prefill, x, zero, text, cache, context)
        report.commit_ms[done] = timed(commit, device)
        before, clean, cache = cache, x, commit()
    decoder = subject.vae.decode_stream()
    decoder.push(subject.noise(subject.given or subject.chunks[0]))
    steady = subject.noise(subject.layout.chunk)
    report.decode_ms = timed(lambda: to_pictures(decoder.push(steady)), device)
    if subject.encode is not None:
        report.text_ms = timed(subject.encode, device)


def _measure_streams(
    subject: Subject, steps: int, commit: Commit, cache: Cache, clips: int, gemm_tflops: float
) -> Stream:
    plan, device = StepPlan.uniform(subject.levels).truncate(steps), subject.device
    clip = partial(_chunk_ends, subject, plan, commit, cache)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first_clip = wall(lambda: list(clip(decode=True)), device)
    list(clip(decode=True))
    runs = [list(clip(decode=True)) for _ in range(clips)]
    bare = [list(clip(decode=False))[-1] for _ in range(clips)]
    periods = sorted(after - before for run in runs for before, after in pairwise(run[-STEADY - 1 :]))
    denoise = statistics.median(bare)
    return Stream(
        steps=steps,
        commit=commit,
        first_clip_s=first_clip,
        first_frame_ms=1000 * statistics.median(run[0] for run in runs),
        period_ms={f"p{q}": 1000 * quantile(periods, q / 100) for q in (50, 90) if periods},
        fps_with_decode=subject.pictures / statistics.median(run[-1] for run in runs),
        fps_without_decode=subject.pictures / denoise,
        floor_ratio=denoise / (stream_flops(subject, plan) / (gemm_tflops * 1e12)),
        peak_memory_mb=peak_memory(device) / 2**20,
    )


def stream_flops(subject: Subject, plan: StepPlan) -> float:
    """Matrix FLOPs of one clip's denoising passes, and of the commits of what it begins with and between its chunks."""
    cfg, per_frame, done = subject.net.cfg, subject.tokens_per_frame, subject.given
    total = commit_flops(cfg, done * per_frame, done * per_frame) if done else 0.0
    for index, size in enumerate(subject.chunks):
        queries = size * per_frame
        keys = min(done + size, subject.context.window or done + size) * per_frame
        total += len(plan.sigmas(index)) * forward_flops(cfg, queries, keys)
        if index < len(subject.chunks) - 1:
            total += commit_flops(cfg, queries, keys)
        done += size
    return total


def _chunk_ends(subject: Subject, plan: StepPlan, commit: Commit, cache: Cache, *, decode: bool) -> Iterator[float]:
    """Seconds from the prompt to the end of each chunk of one clip."""
    noises, prefix = [subject.noise(size) for size in subject.chunks], subject.prefix
    rng = torch.Generator(device=subject.device).manual_seed(0)
    synchronize(subject.device)
    start = time.perf_counter()
    text = subject.encode() if subject.encode is not None and decode else subject.text
    chunks = (autoregression.Chunk(noise, text) for noise in noises)
    decoder = subject.vae.decode_stream()
    if decode and prefix is not None:
        to_pictures(decoder.push(prefix))
    context = replace(subject.context, window=subject.context.window or subject.latents[0])
    options = {"context": context, "rng": rng, "prefix": prefix, "commit": commit, "ring": cache == "ring"}
    for latents in autoregression.stream(subject.net, chunks, plan, **options):
        if decode:
            to_pictures(decoder.push(latents))
        synchronize(subject.device)
        yield time.perf_counter() - start
