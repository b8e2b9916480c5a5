"""The autoregressive loop, once: for training, sampling and streaming.

Per chunk: few-step denoising behind the clean past, and, when another chunk follows, the commit of its clean latents to
the cache (Self Forcing Alg. 1; ASD Alg. 2 with a `StepPlan` whose first chunk takes more steps).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch

from fewstep.diffusion.flow import add_noise, euler_step, x0_from_v
from fewstep.diffusion.steps import StepPlan
from fewstep.models.cache import Cache, Context, KVCache
from fewstep.models.dit import TextKV, VideoDiT
from fewstep.models.guided import Guided
from fewstep.models.layout import ChunkLayout
from fewstep.models.ring import RingKVCache
from fewstep.types import Latents, MoreLatents, TextEmbeds

Commit = Literal["sequential", "packed"]
"""A pass of its own for every commit, or each commit in one pass with the next chunk's first denoising step."""

Renoising: TypeAlias = "torch.Generator | Sequence[torch.Generator]"
"""Where fresh noise comes from: one stream for all clips, as training draws, or one for each, so that none depends on
the others of its batch."""

OnStep = Callable[[int, int, Latents], None]
"""Observer (chunk index, step index, prediction of x0)."""


@dataclass(frozen=True)
class Chunk:
    """Pure noise to be turned into frames, and the prompt they follow."""

    noise: Latents
    text: TextEmbeds


@dataclass(frozen=True)
class _Prompt:
    """A prompt, and its projection for the passes without gradient."""

    embeds: TextEmbeds
    kv: TextKV


@dataclass(frozen=True)
class _Seen:
    """Finished chunks that later ones still see, with the clip positions where they begin."""

    chunks: tuple[tuple[int, MoreLatents], ...] = ()

    def then(self, start: int, chunk: MoreLatents, following: int, context: Context) -> _Seen:
        """With `chunk` at `start`, without those that the `following` frames after it see nothing of."""
        stop = start + chunk.shape[1]
        sink, local = context.sees(stop, stop + following)
        kept = ((at, x) for at, x in (*self.chunks, (start, chunk)) if at < len(sink) or at + x.shape[1] > local.start)
        return _Seen(tuple(kept))

    def commit(self, net: VideoDiT | Guided, text: TextKV, cache: Cache, context: Context) -> Cache:
        """A cache of these chunks alone, committed in their order under one prompt, each at its own position."""
        cache = cache.seek(0)
        for start, chunk in self.chunks:
            cache = net.prefill(chunk, _level(chunk, 0.0), text, cache.seek(start), context)
        return cache


def stream(
    net: VideoDiT | Guided,
    chunks: Iterable[Chunk],
    plan: StepPlan,
    *,
    context: Context = Context(),
    rng: Renoising | None,
    prefix: MoreLatents | None = None,
    commit: Commit = "sequential",
    ring: bool = False,
    recache: bool = False,
    on_step: OnStep | None = None,
) -> Iterator[Latents]:
    """Clean latents of each chunk, as soon as they are ready; the next chunk is asked for only when its turn comes.

    `prefix` (an image or clip, clean) precedes the first chunk as a chunk of its own and is not yielded. A chunk is
    committed, under its own prompt, when its successor is asked for. With `recache` a new prompt commits all that its
    first chunk sees anew, under itself (LongLive's KV recache, but causally, chunk by chunk). When gradient is enabled
    it flows through the last step of each chunk, never from one chunk into another. `ring` keeps the past in
    preallocated memory, for inference; an offloaded network keeps it on the host instead. `rng` is one stream, or one
    for each clip. Without it each step keeps the noise that it came with in place of fresh noise: many steps then solve
    each chunk's ODE.

    Raises:
        ValueError: unknown `commit`, a ring without a window, a window too small for sink and chunk, or another number
            of streams than clips.
    """
    if commit not in ("sequential", "packed"):
        raise ValueError(f"commit must be 'sequential' or 'packed', got {commit!r}")
    cache: Cache | None = None
    pending, said, seen = prefix, None, _Seen()
    for index, chunk in enumerate(chunks):
        prompt = said if said and said.embeds is chunk.text else _Prompt(chunk.text, net.encode_text(chunk.text))
        if cache is None:
            cache = net.placement.cache(net.cfg.num_layers)
        if cache is None:
            cache = _ring(net, chunk.noise, prompt.kv, context, commit) if ring else KVCache.empty(net.cfg.num_layers)
        said, sigmas = said or prompt, plan.sigmas(index)
        if recache and pending is not None:
            seen = seen.then(cache.num_frames, pending, chunk.noise.shape[1], context)
            if said is not prompt:
                cache, pending = seen.commit(net, prompt.kv, cache, context), None
        carries_gradient = torch.is_grad_enabled() and len(sigmas) == 1
        if pending is not None and (commit == "sequential" or said is not prompt or carries_gradient):
            cache, pending = net.prefill(pending, _level(pending, 0.0), said.kv, cache, context), None
        observe = on_step and _numbered(on_step, index)
        x0, cache = _denoise(net, chunk.noise, prompt, sigmas, cache, pending, context, rng, observe)
        yield x0
        pending, said = x0.detach(), prompt


def rollout(
    net: VideoDiT | Guided,
    noise: Latents,
    text: TextEmbeds,
    plan: StepPlan,
    *,
    layout: ChunkLayout,
    context: Context = Context(),
    rng: Renoising | None,
    prefix: MoreLatents | None = None,
    commit: Commit = "sequential",
    ring: bool = False,
    on_step: OnStep | None = None,
) -> MoreLatents:
    """The whole clip, its `prefix` included, from the noise of the frames to be generated; see `stream`.

    A prefix takes the place of the first chunk, so the noise behind it divides into chunks of `layout.chunk`. The last
    chunk is not committed.
    """
    layout = layout if prefix is None else ChunkLayout(layout.chunk)
    if ring and context.window is None:
        context = replace(context, window=noise.shape[1] + (0 if prefix is None else prefix.shape[1]))
    pieces = (Chunk(piece, text) for piece in noise.split(layout.sizes(noise.shape[1]), dim=1))
    clip = stream(net, pieces, plan, context=context, rng=rng, prefix=prefix, commit=commit, ring=ring, on_step=on_step)
    return torch.cat(([] if prefix is None else [prefix]) + list(clip), dim=1)


def _denoise(
    net: VideoDiT | Guided,
    noise: Latents,
    prompt: _Prompt,
    sigmas: tuple[float, ...],
    cache: Cache,
    pending: MoreLatents | None,
    context: Context,
    rng: Renoising | None,
    on_step: Callable[[int, Latents], None] | None,
) -> tuple[Latents, Cache]:
    """One chunk from pure noise: predict x0, renoise to the next level with fresh noise, predict again.

    Without a generator it keeps the noise that it came with, which is Euler's step down the ODE.
    `pending` is the clean chunk before this one when its commit rides with the first step.
    """
    x, with_grad = noise, torch.is_grad_enabled()
    for step, sigma in enumerate(sigmas):
        level = _level(x, sigma)
        grad = with_grad and step == len(sigmas) - 1
        with torch.set_grad_enabled(grad):
            if pending is None:
                v = net(x, level, prompt.embeds if grad else prompt.kv, cache=cache, context=context)
            else:
                v, cache = net.forward_packed(pending, x, level, prompt.kv, cache, context)
                pending = None
            x0 = x0_from_v(x, v, level)
        if on_step:
            on_step(step, x0)
        if step + 1 < len(sigmas):
            lower = _level(x, sigmas[step + 1])
            if rng is None:
                x = euler_step(x, v, level, lower)
            else:
                x = add_noise(x0, _fresh(x, rng), lower)
    return x0, cache


def _fresh(like: Latents, rng: Renoising) -> Latents:
    """Noise of the shape of `like`. A stream of its own gives a clip what it would give it alone."""
    if isinstance(rng, torch.Generator):
        return torch.randn(like.shape, generator=rng, device=rng.device).to(like)
    if len(rng) != len(like):
        raise ValueError(f"each clip needs a random stream of its own, got {len(rng)} for {len(like)} clips")
    return torch.stack([torch.randn(like.shape[1:], generator=each, device=each.device) for each in rng]).to(like)


def _ring(net: VideoDiT | Guided, like: Latents, text: TextKV, context: Context, commit: Commit) -> RingKVCache:
    if context.window is None:
        raise ValueError("ring=True needs a bound on the past, got a Context without window; give it one")
    slots = context.window + (like.shape[1] if commit == "packed" else 0)
    return RingKVCache.allocate(net.cfg, like, text.layers[0], slots)


def _level(x: Latents, sigma: float) -> torch.Tensor:
    return torch.full(x.shape[:2], sigma, dtype=torch.float32, device=x.device)


def _numbered(on_step: OnStep, index: int) -> Callable[[int, Latents], None]:
    return lambda step, x0: on_step(index, step, x0)
