"""One transformer block of Wan 2.1, and the head.

Axes: b clip, t latent frame, s tokens of a frame, m modulation vector, d width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fewstep.models.attention import CrossAttention, SelfAttention, Sight
from fewstep.models.cache import KV, Past

Tokens = Float[Tensor, "b t s d"]
Modulation = Float[Tensor, "b t m 1 d"]
"""Shift, scale and gate vectors of every frame, fp32."""


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward; each frame's sigma modulates the first and the last."""

    def __init__(self, dim: int, ffn_dim: int, num_heads: int, eps: float):
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.empty(1, 6, dim))
        self.self_attn = SelfAttention(dim, num_heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps)
        self.cross_attn = CrossAttention(dim, num_heads, eps)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim))

    def forward(self, x: Tokens, e: Modulation, text: Tensor | KV, sight: Sight, past: Past) -> tuple[Tokens, KV]:
        """The new tokens and the keys and values other chunks may read. `text` is embedded or already projected."""
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = self._modulation(e)
        frames = x.shape[1]
        y, kv = self.self_attn(modulate(x, shift_sa, scale_sa, self.eps).flatten(1, 2), sight, past)
        x = gated_add(x, gate_sa, y.unflatten(1, (frames, -1)))
        y = self.norm3(x).flatten(1, 2)
        y = self.cross_attn(y, self.cross_attn.keys_values(text) if isinstance(text, Tensor) else text)
        x = x + y.unflatten(1, (frames, -1))
        x = gated_add(x, gate_ff, self.ffn(modulate(x, shift_ff, scale_ff, self.eps)))
        return x, kv

    def keys_values(self, x: Tokens, e: Modulation) -> KV:
        """Only what other chunks may read."""
        shift, scale, *_ = self._modulation(e)
        return self.self_attn.keys_values(modulate(x, shift, scale, self.eps).flatten(1, 2))

    def _modulation(self, e: Modulation) -> tuple[Tensor, ...]:
        return (self.modulation.unsqueeze(2) + e).unbind(2)


class Head(nn.Module):
    """Tokens to the velocity of their patch."""

    def __init__(self, dim: int, out: int, eps: float):
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.empty(1, 2, dim))
        self.head = nn.Linear(dim, out)

    def forward(self, x: Tokens, time: Float[Tensor, "b t 1 1 d"]) -> Float[Tensor, "b t s _d"]:
        shift, scale = (self.modulation.unsqueeze(2) + time).unbind(2)
        return self.head(modulate(x, shift, scale, self.eps))


def modulate(x: Tokens, shift: Tensor, scale: Tensor, eps: float) -> Tokens:
    """Adaptive layer norm: LN(x) (1 + scale) + shift, in the wider of the two dtypes."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale).to(x.dtype)


def gated_add(x: Tokens, gate: Tensor, y: Tokens) -> Tokens:
    """x + gate y, summed in the gate's precision and kept in x's."""
    return torch.addcmul(x, gate, y).to(x.dtype)


def sinusoid(t: Float[Tensor, "b t"], width: int) -> Float[Tensor, "b t w"]:
    """Wan's embedding of a timestep: cosines, then sines, of frequencies 10000^(-j / (width/2)); fp32."""
    half = width // 2
    frequency = torch.exp(-math.log(10_000) / half * torch.arange(half, device=t.device, dtype=torch.float32))
    angle = t.float().unsqueeze(-1) * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)
