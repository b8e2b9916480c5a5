"""The cache for inference: memory allocated once, written in place, equal to `KVCache`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fewstep.models.cache import KV, Context, Past, Plan, Runs, plan_views, runs
from fewstep.models.dit import DiTConfig
from fewstep.types import Latents

FREE = -1


@dataclass(frozen=True)
class Slots:
    """One block's buffers, and the part of them that the current frames are written to."""

    k: Tensor
    v: Tensor
    written: Runs
    """Token intervals that take the current tokens, in their order."""
    used: int
    """Tokens in use once they are written."""

    def extend(self, k: Tensor, v: Tensor) -> KV:
        if torch.is_grad_enabled():
            raise ValueError("RingKVCache writes in place and serves inference only; use KVCache, or torch.no_grad()")
        for buffer, current in ((self.k, k), (self.v, v)):
            offset = 0
            for a, b in self.written:
                buffer[:, a:b].copy_(current[:, offset : offset + b - a])
                offset += b - a
        return self.k[:, : self.used], self.v[:, : self.used]


class RingKVCache:
    """Every frame has a slot; a new frame takes the slot of one that no query reaches any more.

    With a window's worth of slots attention reads the buffers as they lie. A packed pass needs room for its second
    chunk besides, and gathers. Noisy passes write too; the commit overwrites what they wrote.
    """

    def __init__(self, layers: Sequence[KV], slots: int):
        self.layers = tuple(layers)
        self.slots = [FREE] * slots
        self.tokens = self.layers[0][0].shape[1] // slots
        self.num_frames = 0

    @classmethod
    def allocate(cls, cfg: DiTConfig, like: Latents, kv: KV, slots: int) -> RingKVCache:
        """Buffers of `slots` frames of the size of `like`, for the batch and in the dtypes and on the device of `kv`.

        Latents may be finer than the network computes, and guidance takes two clips for each: any keys and values that
        the network made say how it does.
        """
        rows, cols = like.shape[3] // cfg.patch[1], like.shape[4] // cfg.patch[2]
        k, v = kv
        shape = (len(k), slots * rows * cols, cfg.num_heads, cfg.head_dim)
        return cls([(k.new_empty(shape), v.new_empty(shape)) for _ in range(cfg.num_layers)], slots)

    def open(self, sizes: Sequence[int], context: Context) -> tuple[Plan, Sequence[Past]]:
        slots, taken = self._place(sizes, context)
        used = max(i for i, frame in enumerate(slots) if frame != FREE) + 1
        written = tuple((a * self.tokens, b * self.tokens) for a, b in runs(taken))
        plan = plan_views(slots[:used], self.num_frames, sizes, context)
        return plan, [Slots(k, v, written, used * self.tokens) for k, v in self.layers]

    def append(self, kvs: Sequence[KV], frames: int, context: Context) -> RingKVCache:
        """Writes in place and returns itself."""
        self.slots, taken = self._place((frames,), context)
        written = tuple((a * self.tokens, b * self.tokens) for a, b in runs(taken))
        for (k_buffer, v_buffer), (k, v) in zip(self.layers, kvs, strict=True):
            Slots(k_buffer, v_buffer, written, 0).extend(k, v)
        self.num_frames += frames
        return self

    def seek(self, frame: int) -> RingKVCache:
        """Forgets in place and returns itself."""
        self.slots = [held if held < frame else FREE for held in self.slots]
        self.num_frames = frame
        return self

    def _place(self, sizes: Sequence[int], context: Context) -> tuple[list[int], list[int]]:
        """Frames by slot once the next chunks are placed, and the slots these take; the same for every pass."""
        sink, local = context.sees(self.num_frames, self.num_frames + sizes[0])
        slots = [frame if frame in sink or frame in local else FREE for frame in self.slots]
        free = [i for i, frame in enumerate(slots) if frame == FREE]
        count = sum(sizes)
        if count > len(free):
            raise ValueError(
                f"RingKVCache has {len(slots)} slots, {len(free)} of them free, and needs {count} more frames; "
                "allocate more frames, or give Context a smaller window"
            )
        for i, slot in enumerate(free[:count]):
            slots[slot] = self.num_frames + i
        return slots, free[:count]
