"""Cost of a computation without computing it: the real code runs on the meta device, where tensors have no data.

What is counted is what eager PyTorch does: every intermediate that is alive, and every product. Attention is counted as
the fused kernels of GPUs do it, which never hold the scores; on a GPU, library workspaces and the allocator's slack
come on top.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

META = torch.device("meta")


@dataclass(frozen=True)
class Cost:
    """What a computation takes beside its inputs and weights."""

    flops: float
    """Multiplications and additions of its products."""
    peak: float
    """Bytes of the tensors that it made and that were alive at once, at most."""

    def deeper(self, more: Cost, layers: int) -> Cost:
        """The cost with `layers` more blocks, when `more` is that with one more."""
        flops, peak = (new + layers * (new - old) for new, old in ((more.flops, self.flops), (more.peak, self.peak)))
        return Cost(flops - (more.flops - self.flops), peak - (more.peak - self.peak))


@dataclass(frozen=True)
class Outcome:
    """What an operation without side effects makes of inputs of some shapes: one new tensor, for some work."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    flops: float


class Tally(TorchDispatchMode):
    """Counts products, and follows the bytes of every tensor from its making to its end.

    Networks repeat themselves: what an operation made of some shapes is remembered, for torch takes long to say it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.alive, self.peak = 0.0, 0, 0
        self.peaks: dict[str, int] = {}
        self.highest = 0
        """The most alive since it was last set back; for a block's own peak."""
        self._place, self._within = "start", ""
        self._known: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        key = (func, _shapes(args), _shapes(tuple(kwargs.items()))) if _is_pure(func) else None
        if key is not None and (found := _outcomes.get(key)) is not None:
            self.flops += found.flops
            out = torch.empty_strided(found.shape, found.stride, dtype=found.dtype, device=META)
            self._follow(out.untyped_storage())
            return out
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        flops = 0.0 if formula is None else float(formula(*args, **kwargs, out_val=out))
        self.flops += flops
        if key is not None and isinstance(out, Tensor) and out.is_meta:
            _outcomes[key] = Outcome(tuple(out.shape), out.stride(), out.dtype, flops)
        given = {id(x.untyped_storage()) for x in _tensors((args, tuple(kwargs.values())))}
        for x in _tensors(out):
            if id(x.untyped_storage()) not in given:
                self._follow(x.untyped_storage())
        return out

    def enter(self, name: str) -> None:
        """From here on peaks are noted under `name`; after `begin`, as a part of that."""
        self._place = f"{self._within}{name}"
        self._note()

    def begin(self, name: str) -> None:
        """A new section, whose parts are noted apart from those of the same names before."""
        self._within = f"{name}, "
        self.enter("start")

    @property
    def is_backward(self) -> bool:
        """Whether a section has begun, which a backward pass is."""
        return bool(self._within)

    def mark(self) -> tuple[float, int]:
        """A moment to count from."""
        self.highest = self.alive
        return self.flops, self.alive

    def since(self, begin: tuple[float, int]) -> tuple[float, int]:
        """FLOPs from that moment on, and bytes alive at most beyond those of then."""
        return self.flops - begin[0], self.highest - begin[1]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What the body does is not counted; what it makes must be gone at its end."""
        counted = self.flops, self.peak, dict(self.peaks)
        yield
        self.flops, self.peak, self.peaks = counted

    def surge(self, flops: float, size: int) -> None:
        """Work that is known already: `size` more bytes were alive while it went on."""
        self.flops += flops
        self._note(size)

    def _note(self, more: int = 0) -> None:
        alive = self.alive + more
        self.peak, self.highest = max(self.peak, alive), max(self.highest, alive)
        self.peaks[self._place] = max(self.peaks.get(self._place, 0), alive)

    def _follow(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known[storage] = None
        size = storage.nbytes()
        self.alive += size
        self._note()
        weakref.finalize(storage, self._end, size)

    def _end(self, size: int) -> None:
        self.alive -= size


_outcomes: dict[Any, Outcome] = {}


@cache
def _is_pure(func: Any) -> bool:
    """Whether an operation changes nothing and returns one tensor of its own."""
    schema = func._schema
    fresh = [each.alias_info is None for each in schema.returns]
    return fresh == [True] and not schema.is_mutable and torch.Tag.nondeterministic_seeded not in func.tags


def _shapes(value: Any) -> Any:
    """Arguments of an operation as far as its outcome depends on them, hashable."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, (list, tuple)):
        return tuple(map(_shapes, value))
    return type(value), value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


class FusedAttention(torch.autograd.Function):
    """Shapes of a fused attention kernel: it keeps its inputs and output, and a number per query."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, tally: Tally) -> Tensor:
        y = q.new_empty((*q.shape[:-1], v.shape[-1]))
        ctx.save_for_backward(q, k, v, y, q.new_empty(q.shape[:-1], dtype=torch.float32))
        ctx.tally = tally
        tally.flops += attention_flops(q, k, v)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, _, _ = ctx.saved_tensors
        ctx.tally.flops += 2 * attention_flops(q, k, v)
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None


def attention_flops(q: Tensor, k: Tensor, v: Tensor) -> float:
    """Scores and their application. A backward pass counts twice that, without the scores that kernels make again."""
    return 2.0 * q.shape[:-1].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1])


class Kernels(TorchFunctionMode):
    """Stands in for what the meta device lacks: fused attention, and autocast where `products` names a dtype."""

    def __init__(self, tally: Tally, products: torch.dtype | None):
        super().__init__()
        self.tally, self.products = tally, products

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return FusedAttention.apply(*args[:3], self.tally)
        if self.products is not None:
            if func is F.linear:
                args = tuple(x.to(self.products) if isinstance(x, Tensor) else x for x in args)
            elif func is F.layer_norm:
                args = tuple(x.float() if isinstance(x, Tensor) else x for x in args)
        return func(*args, **kwargs)


@contextmanager
def rehearsing(products: torch.dtype | None = None) -> Iterator[Tally]:
    """Counts what the body does on the meta device; `products` is autocast's dtype."""
    tally = Tally()
    with ExitStack() as stack:
        stack.enter_context(tally)
        kernels = stack.enter_context(Kernels(tally, products))
        stack.callback(_running.remove, kernels)
        _running.append(kernels)
        yield tally


_running: list[Kernels] = []
"""The rehearsals that go on, the innermost last."""


def rehearsal_here() -> Kernels | None:
    """The innermost rehearsal that goes on."""
    return _running[-1] if _running else None


def rehearse(call: Callable[[], Any], products: torch.dtype | None = None) -> Cost:
    """Cost of a call whose tensors are on the meta device."""
    with rehearsing(products) as tally:
        held = call()
    del held
    return Cost(tally.flops, tally.peak)


def backward(loss: Tensor) -> None:
    """`loss.backward()` in a rehearsal. The method itself would suspend `Kernels`, which recomputed blocks need too."""
    torch.autograd.backward(torch.autograd.graph.get_gradient_edge(loss), torch.ones_like(loss))


def at_depth(layers: int, cost: Callable[[int], Cost], shallow: int = 2) -> Cost:
    """Cost of a network of `layers` equal blocks, from those of `shallow` and one more: both grow by the block."""
    if layers <= shallow + 1:
        return cost(layers)
    return cost(shallow).deeper(cost(shallow + 1), layers - shallow)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor without data."""
    return torch.empty(shape, dtype=dtype, device=META)
