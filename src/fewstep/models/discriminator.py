"""A discriminator's heads: learned queries read a backbone's features and judge, one logit per step count (ASD 3.2).

The backbone is not part of them: ASD shares the fake score's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewstep.models.attention import Attention, RMSNorm, attend
from fewstep.types import Logits


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Where the heads read and how large they are. Wan 1.3B: layers (13, 21, 29), 12 heads, ffn_dim 8192."""

    layers: tuple[int, ...]
    """0-based blocks whose output tokens are read."""
    num_logits: int = 4
    """Columns of the output: the step counts that are judged, N (ASD App. A)."""
    num_heads: int
    ffn_dim: int
    init_std: float = 0.02
    """Spread of the learned registers at the start."""
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 0 or len(set(self.layers)) != len(self.layers):
            raise ValueError(f"DiscriminatorConfig.layers must name distinct 0-based blocks, got {self.layers}")


class Readout(nn.Module):
    """One register token that reads the tokens of one block by cross-attention."""

    def __init__(self, cfg: DiscriminatorConfig, dim: int):
        super().__init__()
        self.register = nn.Parameter(torch.empty(dim))
        self.norm_register = RMSNorm(dim, cfg.eps)
        self.norm_features = nn.LayerNorm(dim, cfg.eps)
        self.attention = Attention(dim, cfg.num_heads, cfg.eps)
        self.norm = nn.LayerNorm(dim, cfg.eps)
        self.ffn = nn.Sequential(nn.Linear(dim, cfg.ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(cfg.ffn_dim, dim))
        nn.init.normal_(self.register, std=cfg.init_std)

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        asked = self.norm_register(self.register).expand(len(features), 1, -1)
        k, v = self.attention.keys_values(self.norm_features(features))
        token = asked + self.attention.o(attend(self.attention.queries(asked), k, v))
        return (token + self.ffn(self.norm(token))).squeeze(1)


class DiscriminatorHeads(nn.Module):
    """A readout per tapped block and one small network over all of them; `dim` is the backbone's width."""

    def __init__(self, cfg: DiscriminatorConfig, dim: int):
        super().__init__()
        if dim % cfg.num_heads:
            raise ValueError(f"the backbone's width must split into num_heads={cfg.num_heads} heads, got {dim}")
        self.cfg = cfg
        self.readouts = nn.ModuleList(Readout(cfg, dim) for _ in cfg.layers)
        width = dim * len(cfg.layers)
        self.judge = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, dim), nn.SiLU(), nn.Linear(dim, cfg.num_logits)
        )

    def forward(self, features: Sequence[Float[Tensor, "b n d"]]) -> Logits:
        """Logit per clip and step count, fp32, from the features after `cfg.layers`, in that order."""
        dtype = self.judge[1].weight.dtype
        read = [readout(x.to(dtype)) for readout, x in zip(self.readouts, features, strict=True)]
        return self.judge(torch.cat(read, dim=-1)).float()
