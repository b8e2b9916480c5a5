"""Blocks, and the past that they attend to, in host memory; each is on the device while it is its turn.

While a block computes, the next one's weights, keys and values are on their way. Two buffers of each kind take turns,
so the device never holds more than two blocks, however far the host runs ahead.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from fewstep.models.block import Block
from fewstep.models.cache import KV, Cache, Context, KVCache, Past, Pieces, Plan
from fewstep.models.dit import VideoDiT

ALIGNMENT = 256
"""Bytes that every tensor in a buffer starts at a multiple of, as CUDA's own allocations do."""


class Ferry:
    """Two device buffers that take turns: one is computed with while the other is filled from host memory."""

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.berths = [torch.empty(0, dtype=torch.uint8, device=device) for _ in range(2)]
        self.turn = 0
        self.coming: object = None

    def bring(
        self, name: object, cargo: Sequence[Tensor], then: tuple[object, Sequence[Tensor]] | None
    ) -> list[Tensor]:
        """`cargo` on the device, valid until the next call; `then`, the next cargo, sets out at once."""
        if self.coming is not name:
            self._send(name, cargo)
        if self.stream is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
        self.turn, self.coming = 1 - self.turn, None
        arrived = carve(self.berths[self.turn], cargo)
        if then is not None:
            self._send(*then)
        return arrived

    def _send(self, name: object, cargo: Sequence[Tensor]) -> None:
        berth, size = 1 - self.turn, space(cargo)
        if self.berths[berth].numel() < size:
            if self.stream is not None:
                self.stream.synchronize()  # a copy that nobody waited for may still write to the old buffer
            self.berths[berth] = torch.empty(size, dtype=torch.uint8, device=self.device)
        targets = carve(self.berths[berth], cargo)
        if self.stream is None:
            for target, source in zip(targets, cargo, strict=True):
                target.copy_(source)
        else:
            # all that reads this buffer was asked for before now, and what computes with the other is asked for later
            self.stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self.stream):
                for target, source in zip(targets, cargo, strict=True):
                    target.copy_(source, non_blocking=True)
        self.coming = name


class Stowed:
    """A module whose weights live in one piece of page-locked host memory."""

    def __init__(self, module: nn.Module, device: torch.device):
        self.tensors = [*module.parameters(), *module.buffers()]
        self.hold = torch.empty(space(self.tensors), dtype=torch.uint8)
        self.ashore = carve(self.hold, self.tensors)
        for tensor, place in zip(self.tensors, self.ashore, strict=True):
            place.copy_(tensor.data)
        self.leave()
        if device.type == "cuda":
            page_lock(self.hold)

    def enter(self, ferry: Ferry, following: Stowed | None) -> None:
        """Point the module's weights at their copy on the device."""
        then = None if following is None else (following, [following.hold])
        with torch.inference_mode(False), torch.no_grad():  # a parameter's data cannot be an inference tensor
            (arrived,) = ferry.bring(self, [self.hold], then)
            for tensor, place in zip(self.tensors, carve(arrived, self.ashore), strict=True):
                tensor.data = place

    def leave(self) -> None:
        """Point them back at the host's."""
        for tensor, place in zip(self.tensors, self.ashore, strict=True):
            tensor.data = place


class Offloaded:
    """A `Placement` for inference: weights and the past wait in host memory."""

    def __init__(self, blocks: Sequence[Block], device: torch.device):
        self.stowed = {block: Stowed(block, device) for block in blocks}
        self.weights, self.past = Ferry(device), Ferry(device)

    def visit(self, blocks: Sequence[Block]) -> Iterator[Block]:
        """Raises ValueError where gradient is enabled: a backward pass would find the weights gone."""
        if torch.is_grad_enabled():
            raise ValueError("offloaded blocks serve inference only: use torch.no_grad(), or load without offload")
        for index, block in enumerate(blocks):
            stowed, following = self.stowed[block], self.stowed[blocks[(index + 1) % len(blocks)]]
            stowed.enter(self.weights, following)
            try:
                yield block
            finally:
                stowed.leave()

    def cache(self, num_layers: int) -> Cache:
        return HostKVCache(((),) * num_layers, ferry=self.past)


@dataclass(frozen=True)
class HostKVCache(KVCache):
    """A `KVCache` in host memory: each block's part of it is on the device while the block attends to it."""

    ferry: Ferry = field(kw_only=True)

    def open(self, sizes: Sequence[int], context: Context) -> tuple[Plan, Sequence[Past]]:
        plan, opened = super().open(sizes, context)
        pasts = cast(list[Pieces], opened)
        return plan, [HostPast(self.ferry, *pair) for pair in zip(pasts, [*pasts[1:], None], strict=True)]

    def append(self, kvs: Sequence[KV], frames: int, context: Context) -> KVCache:
        return super().append([to_host(kv) for kv in kvs], frames, context)


@dataclass(frozen=True)
class HostPast:
    """One block's past, and the next block's, which sets out when this one arrives."""

    ferry: Ferry
    here: Pieces
    following: Pieces | None

    def extend(self, k: Tensor, v: Tensor) -> KV:
        if not self.here.frames:
            return k, v
        then = None if self.following is None else (self.following, _flat(self.following))
        arrived = self.ferry.bring(self.here, _flat(self.here), then)
        return Pieces(tuple(zip(arrived[::2], arrived[1::2], strict=True))).extend(k, v)


def offload(net: VideoDiT, device: torch.device) -> VideoDiT:
    """Leave a network's blocks, and the past of what it makes, in host memory; everything else goes to `device`.

    The network computes on `device` as before, to the bit, without gradient. Its blocks come from the CPU.
    """
    for module in net.children():
        if module is not net.blocks:
            module.to(device)
    net.placement = Offloaded(list(net.blocks), device)  # type: ignore[arg-type]
    return net


def offload_layers(layers: Sequence[nn.Module], device: torch.device) -> None:
    """Let layers in host memory compute on `device`, one behind the other: hooks bring each in its turn.

    For a network whose layers nothing but `forward` reads, such as a text encoder; the rest of it stays on the host,
    gives the first layer its input there, and finds the last one's output there.
    """
    stowed, ferry = [Stowed(layer, device) for layer in layers], Ferry(device)
    for index, layer in enumerate(layers):
        last = index + 1 == len(stowed)
        here, following = stowed[index], None if last else stowed[index + 1]

        def enter(module, args, kwargs, here=here, following=following):
            here.enter(ferry, following)
            return _moved(args, device), {name: _moved(value, device) for name, value in kwargs.items()}

        def leave(module, args, output, here=here, last=last):
            here.leave()
            return _moved(output, torch.device("cpu")) if last else output

        layer.register_forward_pre_hook(enter, with_kwargs=True)
        layer.register_forward_hook(leave, always_call=True)


def space(tensors: Sequence[Tensor]) -> int:
    """Bytes of a buffer that holds them all."""
    return sum(_aligned(tensor) for tensor in tensors)


def carve(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of the shapes and dtypes of `like`, one behind the other in a buffer of bytes."""
    places, start = [], 0
    for tensor in like:
        stop = start + tensor.numel() * tensor.itemsize
        places.append(buffer[start:stop].view(tensor.dtype).view(tensor.shape))
        start += _aligned(tensor)
    return places


def page_lock(memory: Tensor) -> None:
    """Let the device read host memory while the host goes on; undone when the tensor goes.

    torch's own page-locked tensors round up to a power of two, which would double a large model.
    """
    runtime, address = torch.cuda.cudart(), memory.data_ptr()
    if int(runtime.cudaHostRegister(address, memory.numel(), 0)) == 0:
        weakref.finalize(memory, runtime.cudaHostUnregister, address)
    else:
        warnings.warn("host memory could not be page-locked: copies will not overlap with computing", stacklevel=2)


def to_host(kv: KV) -> KV:
    """A copy in page-locked host memory, made in the order of the device's work."""
    k, v = kv
    held = torch.empty((2, *k.shape), dtype=k.dtype, pin_memory=k.is_cuda)
    for place, tensor in zip(held, (k, v), strict=True):
        place.copy_(tensor, non_blocking=True)
    return held[0], held[1]


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors, alone or in a tuple, on `device`; everything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    return tuple(_moved(each, device) for each in value) if isinstance(value, tuple) else value


def _flat(pieces: Pieces) -> list[Tensor]:
    return [tensor for kv in pieces.frames for tensor in kv]


def _aligned(tensor: Tensor) -> int:
    return math.ceil(tensor.numel() * tensor.itemsize / ALIGNMENT) * ALIGNMENT
