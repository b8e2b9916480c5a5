"""Attention of a block: projections, RoPE, and the views that decide who attends to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fewstep.models.cache import KV, Past, Plan, View
from fewstep.models.rope import Rotary, rotary_table, rotate

Heads = Float[Tensor, "b n k e"]
SeenHeads = Float[Tensor, "b _n k e"]
SeenRotary = Float[Tensor, "_n 1 pairs 2"]
"""Of the tokens that answer, as many or as few as they are."""


SMALL_SCORES = 2**20
"""Scores per head up to which CPUs may hold them all."""


def attend(q: Heads, k: SeenHeads, v: SeenHeads, mask: Bool[Tensor, "n _n"] | None = None) -> Float[Tensor, "b n d"]:
    """Softmax attention, heads merged.

    CPUs write small bfloat16 attention out: PyTorch's fused kernel is 3 to 7 times slower there in backward.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    small = q.shape[2] * k.shape[2] <= SMALL_SCORES
    if small and mask is None and q.dtype is torch.bfloat16 and q.device.type == "cpu":
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        y = scores.softmax(-1) @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class Sight:
    """A `Plan` made concrete: what every block of one forward shares."""

    views: tuple[View, ...]
    tokens: int
    """Tokens per frame."""
    queries: Rotary
    keys: SeenRotary
    sinks: tuple[SeenRotary | None, ...]
    """Per view, the rotations of re-phased sink keys."""

    @classmethod
    def of(cls, plan: Plan, rows: int, cols: int, head_dim: int, device: torch.device) -> Sight:
        def table(positions: tuple[int, ...]) -> Rotary:
            return rotary_table(positions, rows, cols, head_dim, device)

        sinks = tuple(None if view.sink_positions is None else table(view.sink_positions) for view in plan.views)
        return cls(plan.views, rows * cols, table(plan.query_positions), table(plan.positions), sinks)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the full width, fp32 inside, in x's dtype."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """The parameters that self- and cross-attention share."""

    def __init__(self, dim: int, num_heads: int, eps: float):
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim, eps), RMSNorm(dim, eps)

    def queries(self, x: Float[Tensor, "b n d"]) -> Heads:
        return self.norm_q(self.q(x)).unflatten(-1, (self.num_heads, -1))

    def keys_values(self, x: Float[Tensor, "b n d"]) -> KV:
        k, v = self.norm_k(self.k(x)), self.v(x)
        return k.unflatten(-1, (self.num_heads, -1)), v.unflatten(-1, (self.num_heads, -1))


class SelfAttention(Attention):
    """Attention over [past | current] frames, chunk by chunk."""

    def forward(self, x: Float[Tensor, "b n d"], sight: Sight, past: Past) -> tuple[Float[Tensor, "b n d"], KV]:
        """The output and the current tokens' unrotated keys and values."""
        q, (k, v) = self.queries(x), self.keys_values(x)
        q = rotate(q, sight.queries)
        unrotated, values = past.extend(k, v)
        keys = rotate(unrotated, sight.keys)
        seen = []
        for view, sink in zip(sight.views, sight.sinks, strict=True):
            k_seen, v_seen = _frames(keys, view.keys, sight.tokens), _frames(values, view.keys, sight.tokens)
            if sink is not None:
                k_seen[0] = rotate(_frames(unrotated, view.keys[:1], sight.tokens)[0], sink)
            (asking,) = _frames(q, (view.queries,), sight.tokens)
            seen.append(attend(asking, _join(k_seen), _join(v_seen)))
        return self.o(_join(seen)), (k, v)


class CrossAttention(Attention):
    """Attention to the prompt; its keys and values depend on nothing else, so they may be given."""

    def forward(self, x: Float[Tensor, "b n d"], text: KV) -> Float[Tensor, "b n d"]:
        return self.o(attend(self.queries(x), *text))


def _frames(x: Tensor, intervals: Sequence[tuple[int, int]], tokens: int) -> list[Tensor]:
    return [x[:, a * tokens : b * tokens] for a, b in intervals]


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
