"""A discriminator: learned queries read the features of a video transformer, and judge.

What the backbone's tokens see, what a query reads, and whose weights the backbone has are switches: ASD, One-Forcing,
AAD-1 and the four cells of its Table 3 differ in these alone. Page: docs/methods/aad.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fewstep.models.attention import Attention, RMSNorm, attend
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.types import Latents, Logits, Sigma, TextEmbeds

Visibility = Literal["bidirectional", "causal"]
"""Tokens of the backbone see the whole clip, or only what the student's chunks see of it."""

Granularity = Literal["clip", "frame"]
"""A query reads all tokens of a clip, or those of one latent frame."""

Backbone = Literal["shared", "own", "frozen"]
"""The fake score's weights, which the game does not move; weights of its own, which it does; or the teacher's."""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """What the discriminator sees, and how large its heads are. Wan 1.3B: layers (13, 21, 29), 12 heads, ffn 8192."""

    layers: tuple[int, ...]
    """0-based blocks whose output tokens are read."""
    num_logits: int = 4
    """Columns of the output: the step counts that are judged, N (ASD App. A); AAD-1 has 1 for all."""
    num_heads: int
    """Of the queries' attention."""
    ffn_dim: int
    """Width of the feed-forward network behind each query (Self Forcing: 8192)."""
    visibility: Visibility = "bidirectional"
    """AAD-1's asymmetry; "causal" masks the backbone as the student is masked (Table 3)."""
    granularity: Granularity = "clip"
    """One logit for the clip, or one for every latent frame, whose losses are averaged (Table 3)."""
    backbone: Backbone = "shared"
    """ASD and One-Forcing share the fake score; AAD-1 trains its own; FastGen reads the frozen teacher."""
    init_std: float = 0.02
    """Spread of the learned registers at the start."""
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 0 or len(set(self.layers)) != len(self.layers):
            raise ValueError(f"DiscriminatorConfig.layers must name distinct 0-based blocks, got {self.layers}")
        for name, known in (("visibility", Visibility), ("granularity", Granularity), ("backbone", Backbone)):
            if getattr(self, name) not in get_args(known):
                one_of = ", ".join(get_args(known))
                raise ValueError(f"DiscriminatorConfig.{name} must be one of {one_of}; got {getattr(self, name)!r}")


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

    def forward(self, features: Sequence[Float[Tensor, "b n d"]], frames: int = 1) -> Logits:
        """Logits in fp32, a column per step count, from the features after `cfg.layers`, in that order.

        One row per clip; frame by frame there is one for each of the clip's `frames`, those of a clip together.
        """
        dtype = self.judge[1].weight.dtype
        pieces = frames if self.cfg.granularity == "frame" else 1
        seen = [rearrange(x.to(dtype), "b (t s) d -> (b t) s d", t=pieces) for x in features]
        read = [readout(x) for readout, x in zip(self.readouts, seen, strict=True)]
        return self.judge(torch.cat(read, dim=-1)).float()


class Discriminator:
    """A backbone and the heads that read it; `layout` and `context` are the student's, for causal visibility."""

    def __init__(
        self, cfg: DiscriminatorConfig, backbone: VideoDiT, *, layout: ChunkLayout, context: Context = Context()
    ):
        deepest = backbone.cfg.num_layers
        if max(cfg.layers) >= deepest:
            raise ValueError(f"DiscriminatorConfig.layers must be below {deepest}, the backbone's depth; got {cfg}")
        self.cfg, self.backbone = cfg, backbone
        self.heads = DiscriminatorHeads(cfg, backbone.cfg.dim)
        self.layout = layout if cfg.visibility == "causal" else None
        self.context = context if cfg.visibility == "causal" else Context()

    @property
    def learns_features(self) -> bool:
        """Whether the game trains the backbone too."""
        return self.cfg.backbone == "own"

    @property
    def learning(self) -> nn.Module:
        """What the discriminator's player trains: the heads, and a backbone of its own under the name `backbone`."""
        return nn.ModuleDict({"backbone": self.backbone, "heads": self.heads}) if self.learns_features else self.heads

    def features(self, noisy: Sequence[Latents], sigma: Sigma, text: TextEmbeds) -> tuple[Tensor, ...]:
        """What the backbone makes of several noisy samples of the same prompts and levels, in one pass."""
        x, count = torch.cat(list(noisy)), len(noisy)
        return self.backbone.features(
            x,
            sigma.repeat(count, 1),
            text.repeat(count, 1, 1),
            layers=self.cfg.layers,
            layout=self.layout,
            context=self.context,
        )

    def __call__(self, noisy: Sequence[Latents], sigma: Sigma, text: TextEmbeds) -> Logits:
        """Logits of several noisy samples, one sample's rows after the other's."""
        return self.heads(self.features(noisy, sigma, text), frames=sigma.shape[1])
