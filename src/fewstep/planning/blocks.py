"""Blocks that are rehearsed once for inputs of a shape, which networks and rollouts repeat a thousandfold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fewstep.models.attention import Sight
from fewstep.models.block import Block
from fewstep.models.cache import KV, Past
from fewstep.planning.rehearsal import Tally, backward, meta, rehearsal_here

Spec = tuple[tuple[int, ...], torch.dtype]
Step = tuple[float, int]
"""FLOPs, and bytes alive at most beyond those before."""


@dataclass(frozen=True)
class Known:
    """What a block takes for inputs of some shapes."""

    made: tuple[Spec, ...]
    """Of its output, keys and values."""
    lean: Step
    """A forward pass of which nothing is kept."""
    kept: Step | None = None
    """One whose activations are kept, as a backward pass makes it again."""
    back: Step | None = None
    """That backward pass, the activations counted."""


class KnownBlock(torch.autograd.Function):
    """A checkpointed block that is known: its inputs and outputs, and its cost where it arises."""

    @staticmethod
    def forward(ctx: Any, tally: Tally, known: Known, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*inputs)
        ctx.tally, ctx.known = tally, known
        assert known.kept is not None  # it was learned with gradient
        tally.surge(*(known.kept if tally.is_backward else known.lean))
        return _outputs(known)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.tally.surge(*ctx.known.back)
        needs = ctx.needs_input_grad[2:]
        return None, None, *(torch.empty_like(x) if n else None for x, n in zip(ctx.saved_tensors, needs, strict=True))


def remember(block: Block, is_checkpointed: Callable[[], bool]) -> None:
    """Rehearse a block only once for inputs of a shape, unless its activations are kept."""
    inside = block.forward

    def forward(x: Tensor, e: Tensor, text: Tensor | KV, sight: Sight, past: Past) -> tuple[Tensor, KV]:
        here = rehearsal_here()
        inputs = (x, e, text) if isinstance(text, Tensor) else (x, e, *text)
        weight = block.ffn[0].weight
        learns = torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, weight))
        if here is None or (learns and not is_checkpointed()):
            return inside(x, e, text, sight, past)
        shapes = tuple((each.shape, each.dtype, learns and each.requires_grad) for each in (*inputs, weight))
        key = (here.products, type(past), sight.views, sight.tokens, shapes)
        if key not in _known:

            def run(*given: Tensor) -> tuple[Tensor, KV]:
                return inside(given[0], given[1], given[2] if isinstance(text, Tensor) else given[2:], sight, past)

            _known[key] = learn(run, inputs, here.tally, learns=learns)
        known = _known[key]
        if learns:
            y, k, v = KnownBlock.apply(here.tally, known, *inputs)
        else:
            here.tally.surge(*known.lean)
            y, k, v = _outputs(known)
        return y, (k, v)

    block.forward = forward  # type: ignore[method-assign]


_known: dict[Any, Known] = {}


def learn(run: Callable[..., tuple[Tensor, KV]], inputs: Sequence[Tensor], tally: Tally, *, learns: bool) -> Known:
    """Rehearse one block aside: without gradient and, if it `learns`, with a backward pass."""
    with tally.aside():
        copies = [torch.empty_like(each).requires_grad_(learns and each.requires_grad) for each in inputs]
        with torch.no_grad():
            begin = tally.mark()
            y, (k, v) = run(*copies)
            lean, made = tally.since(begin), tuple((tuple(each.shape), each.dtype) for each in (y, k, v))
            del y, k, v
        if not learns:
            return Known(made, lean)
        begin = tally.mark()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):  # not those of a checkpoint around it
            y, _ = run(*copies)
        kept, total = tally.since(begin), y.sum()
        before_back = tally.flops
        tally.highest = tally.alive
        backward(total)
        return Known(made, lean, kept, (tally.flops - before_back, tally.since(begin)[1]))


def _outputs(known: Known) -> tuple[Tensor, ...]:
    return tuple(meta(*shape, dtype=dtype) for shape, dtype in known.made)
