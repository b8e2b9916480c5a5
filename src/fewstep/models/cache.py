"""What a chunk sees, and the keys and values that let it.

Every way of running the network is one question: which frames may the queries of each chunk attend to? `Context`
answers it for one chunk, `plan_views` for a run of consecutive chunks behind a cache. A bidirectional clip is one
chunk behind nothing; the block-causal pass is many chunks behind nothing; a cached step is one chunk behind the past; a
packed step is two. Keys are kept unrotated, so RoPE positions are a choice made when they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

KV = tuple[Tensor, Tensor]
"""Keys and values `b n k e` of one block; keys before RoPE."""

Runs = tuple[tuple[int, int], ...]
"""Half-open frame intervals."""


@dataclass(frozen=True)
class Context:
    """Which frames a chunk sees, counted in latent frames as the field counts them."""

    sink: int | None = 0
    """First frames of the clip that stay visible for ever; None means 0."""
    window: int | None = None
    """Frames a chunk sees at most, the sink and the chunk itself included; None is unlimited."""
    rope: Literal["absolute", "relative"] = "absolute"
    """`relative` counts positions inside the window: sink first, local frames next, the queries last (AAD-1 §4)."""

    def __post_init__(self) -> None:
        if self.rope not in ("absolute", "relative"):
            raise ValueError(f"Context.rope must be 'absolute' or 'relative', got {self.rope!r}")
        if (self.sink or 0) < 0 or (self.window is not None and self.window <= (self.sink or 0)):
            raise ValueError(
                f"Context.window counts the sink and the chunk: window > sink >= 0 is required, got {self}"
            )

    def sees(self, start: int, stop: int) -> tuple[range, range]:
        """Sink frames and local frames visible to the chunk [start, stop), itself included.

        Raises:
            ValueError: the window cannot hold the sink and the chunk.
        """
        if self.window is None or stop <= self.window:
            return range(0), range(stop)
        self.require_room(stop - start)
        sink = self.sink or 0
        return range(sink), range(stop - self.window + sink, stop)

    def require_room(self, chunk: int, first: int | None = None) -> None:
        """Raise ValueError unless the window, once it slides, holds the sink and a chunk of this many frames.

        A first chunk of its own size has nothing before it, so that it only has to fit itself.
        """
        if self.window is not None and (first or 0) > self.window:
            raise ValueError(f"Context.window={self.window} cannot hold a first chunk of {first} frames; widen it")
        sink = self.sink or 0
        if self.window is not None and chunk > self.window - sink:
            raise ValueError(
                f"Context.window={self.window} cannot hold sink={sink} and a chunk of {chunk} frames; "
                f"use a window of at least {sink + chunk}"
            )

    def shift(self, start: int, stop: int) -> int:
        """How far window-relative positions lie below absolute ones for this chunk."""
        sink, local = self.sees(start, stop)
        return local.start - len(sink) if self.rope == "relative" else 0


@dataclass(frozen=True)
class View:
    """The queries of one chunk, and the frames that answer them."""

    queries: tuple[int, int]
    """Frames of the current input that ask."""
    keys: Runs
    """Frames of [past | current] that answer."""
    sink_positions: tuple[int, ...] | None = None
    """RoPE positions of the first run of `keys` where they differ from the plan's (relative RoPE, later chunks)."""


@dataclass(frozen=True)
class Plan:
    """Attention of a run of consecutive chunks."""

    positions: tuple[int, ...]
    """RoPE position of every frame of [past | current]."""
    query_positions: tuple[int, ...]
    views: tuple[View, ...]


@runtime_checkable
class Past(Protocol):
    """One block's remembered keys and values."""

    def extend(self, k: Tensor, v: Tensor) -> KV:
        """Keys and values of [past | current], in the frame order of the plan."""
        ...


@runtime_checkable
class Cache(Protocol):
    """Keys and values of the frames so far."""

    @property
    def num_frames(self) -> int: ...

    def open(self, sizes: Sequence[int], context: Context) -> tuple[Plan, Sequence[Past]]:
        """What the next chunks of `sizes` frames see, and where each block finds it."""
        ...

    def append(self, kvs: Sequence[KV], frames: int, context: Context) -> Cache:
        """The cache after these `frames` frames; what the context no longer reaches is evicted."""
        ...

    def seek(self, frame: int) -> Cache:
        """The cache that goes on at clip position `frame`: frames from there on are forgotten, a gap stays a gap."""
        ...


def runs(indices: Iterable[int]) -> Runs:
    """Ascending indices as half-open intervals: (0, 1, 2, 5) -> ((0, 3), (5, 6))."""
    found: list[list[int]] = []
    for i in indices:
        if found and found[-1][1] == i:
            found[-1][1] += 1
        else:
            found.append([i, i + 1])
    return tuple((start, stop) for start, stop in found)


def plan_views(order: Sequence[int], start: int, sizes: Sequence[int], context: Context) -> Plan:
    """Views of consecutive chunks that begin at frame `start`, when [past | current] holds the frames `order`."""
    base = context.shift(start, start + sizes[0])
    sink = context.sees(start, start + sizes[0])[0]
    views, asked = [], 0
    for size in sizes:
        first, stop = start + asked, start + asked + size
        seen_sink, seen = context.sees(first, stop)
        moved = context.shift(first, stop) - base
        sinks = [i for i, frame in enumerate(order) if frame in seen_sink]
        local = [i for i, frame in enumerate(order) if frame in seen]
        if sinks and moved:
            keys, placed = runs(sinks) + runs(local), tuple(order[i] + moved for i in sinks)
        else:
            keys, placed = runs(sorted(sinks + local)), None
        views.append(View((asked, asked + size), keys, placed))
        asked += size
    positions = tuple(frame if frame in sink else frame - base for frame in order)
    return Plan(positions, tuple(range(start - base, start + asked - base)), tuple(views))


def visible(frames: Sequence[int], start: int, size: int, context: Context) -> list[int]:
    """Indices of those of `frames` that the chunk of `size` frames at `start` sees."""
    sink, local = context.sees(start, start + size)
    return [i for i, frame in enumerate(frames) if frame in sink or frame in local]


@dataclass(frozen=True)
class Pieces:
    """Past keys and values frame by frame, joined with the current ones in a single copy."""

    frames: tuple[KV, ...] = ()

    def extend(self, k: Tensor, v: Tensor) -> KV:
        if not self.frames:
            return k, v
        keys, values = zip(*self.frames, strict=True)
        return torch.cat((*keys, k), dim=1), torch.cat((*values, v), dim=1)


@dataclass(frozen=True)
class KVCache:
    """A value: appending makes a new cache and leaves this one as it was, so that activation checkpointing recomputes
    from what the forward saw, whatever has been evicted since. Nothing in it carries gradient.

    Frames are kept apart and shared between a cache and its successors: each is in memory once, however many versions
    of the cache a graph holds.
    """

    layers: tuple[tuple[KV, ...], ...]
    """Per block, keys and values of each frame held."""
    frames: tuple[int, ...] = ()
    """Clip positions of the frames held."""
    num_frames: int = 0
    """Frames seen so far, the position of the next one."""

    @classmethod
    def empty(cls, num_layers: int) -> KVCache:
        return cls(((),) * num_layers)

    def open(self, sizes: Sequence[int], context: Context) -> tuple[Plan, Sequence[Past]]:
        stop = self.num_frames + sum(sizes)
        kept = visible(self.frames, self.num_frames, sizes[0], context)
        order = [self.frames[i] for i in kept] + list(range(self.num_frames, stop))
        pasts = [Pieces(tuple(layer[i] for i in kept)) for layer in self.layers]
        return plan_views(order, self.num_frames, sizes, context), pasts

    def append(self, kvs: Sequence[KV], frames: int, context: Context) -> KVCache:
        """Keeps exactly what the appended chunk itself saw."""
        kept = visible(self.frames, self.num_frames, frames, context)
        stop = self.num_frames + frames
        layers = tuple(
            (*(layer[i] for i in kept), *by_frame(kv, frames)) for layer, kv in zip(self.layers, kvs, strict=True)
        )
        held = (*(self.frames[i] for i in kept), *range(self.num_frames, stop))
        return replace(self, layers=layers, frames=held, num_frames=stop)

    def seek(self, frame: int) -> KVCache:
        kept = [i for i, held in enumerate(self.frames) if held < frame]
        layers = tuple(tuple(layer[i] for i in kept) for layer in self.layers)
        return replace(self, layers=layers, frames=tuple(self.frames[i] for i in kept), num_frames=frame)


def by_frame(kv: KV, frames: int) -> tuple[KV, ...]:
    """Keys and values of each of a chunk's frames, without gradient."""
    k, v = (x.detach().unflatten(1, (frames, -1)) for x in kv)
    return tuple(zip(k.unbind(1), v.unbind(1), strict=True))
