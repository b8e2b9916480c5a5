"""The video diffusion transformer of Wan 2.1, once: bidirectional, block-causal and cached are arguments.

Axes: b clip, t latent frame, s tokens of a frame, d width. Tokens are ordered frame, row, column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fewstep.models.attention import Sight
from fewstep.models.block import Block, Head, Modulation, Tokens, sinusoid
from fewstep.models.cache import KV, Cache, Context, KVCache, Past
from fewstep.models.forcing import TeacherForcing
from fewstep.models.layout import ChunkLayout
from fewstep.types import Latents, MoreLatents, Sigma, TextEmbeds

TIMESTEPS = 1000
"""Wan conditions on t = 1000 sigma; no other part of the package multiplies."""


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Shape of a `VideoDiT`."""

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    text_dim: int
    """Width of the text encoder's output."""
    text_len: int = 512
    """Prompts are zero-padded to this many tokens; padding is attended to (Wan)."""
    in_channels: int = 16
    out_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    """Frames, rows and columns per token."""
    freq_dim: int = 256
    """Width of the sinusoidal time embedding."""
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"DiTConfig.dim must split into num_heads heads of even width, got {self}")
        if self.patch[0] != 1:
            raise ValueError(f"DiTConfig.patch must not join frames, for each has its own sigma; got {self.patch}")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


@dataclass(frozen=True)
class TextKV:
    """Cross-attention keys and values of a prompt, per block. Made once per prompt; carries no gradient."""

    layers: tuple[KV, ...]


@dataclass(frozen=True)
class Given:
    """What the blocks of one forward are given besides their tokens."""

    time: Float[Tensor, "b t 1 1 d"]
    e: Modulation
    texts: Sequence[Tensor | KV]
    """Per block: the embedded prompt, or its keys and values."""
    sight: Sight
    pasts: Sequence[Past]


class Placement(Protocol):
    """Where blocks and the past are while nobody computes with them."""

    def visit(self, blocks: Sequence[Block]) -> Iterable[Block]:
        """The blocks in order, each on the network's device while it is its turn."""
        ...

    def cache(self, num_layers: int) -> Cache | None:
        """A cache that has seen nothing, where the past has a place of its own; None leaves the choice to the loop."""
        ...


class Resident:
    """On the network's device, always; `fewstep.models.offload` has the other way."""

    def visit(self, blocks: Sequence[Block]) -> Iterable[Block]:
        return blocks

    def cache(self, num_layers: int) -> Cache | None:
        return None


class VideoDiT(nn.Module):
    """Velocity of noisy latents, one noise level per frame. Parameter names are those of Wan's own checkpoints."""

    def __init__(self, cfg: DiTConfig):
        super().__init__()
        self.cfg = cfg
        self.gradient_checkpointing = False
        self.placement: Placement = Resident()
        self.patch_embedding = nn.Conv3d(cfg.in_channels, cfg.dim, cfg.patch, cfg.patch)
        self.text_embedding = nn.Sequential(
            nn.Linear(cfg.text_dim, cfg.dim), nn.GELU(approximate="tanh"), nn.Linear(cfg.dim, cfg.dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(cfg.freq_dim, cfg.dim), nn.SiLU(), nn.Linear(cfg.dim, cfg.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(cfg.dim, 6 * cfg.dim))
        self.blocks = nn.ModuleList(Block(cfg.dim, cfg.ffn_dim, cfg.num_heads, cfg.eps) for _ in range(cfg.num_layers))
        self.head = Head(cfg.dim, cfg.out_channels * math.prod(cfg.patch), cfg.eps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Wan's initialisation: Xavier everywhere, small embeddings, small modulation, silent head."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        nn.init.zeros_(self.patch_embedding.bias)
        for embedding in (self.text_embedding, self.time_embedding):
            for layer in (embedding[0], embedding[2]):
                nn.init.normal_(layer.weight, std=0.02)
        for module in (*self.blocks, self.head):
            nn.init.normal_(module.modulation, std=self.cfg.dim**-0.5)
        nn.init.zeros_(self.head.head.weight)

    def forward(
        self,
        x: Latents,
        sigma: Sigma,
        text: TextEmbeds | TextKV,
        *,
        layout: ChunkLayout | None = None,
        cache: Cache | None = None,
        context: Context = Context(),
    ) -> Latents:
        """Velocity eps - x0 of every frame.

        With `layout` the clip is cut into chunks that see themselves and, within `context`, the chunks before them, at
        whatever noise those carry. With `cache` the frames continue the cached ones. With neither all see all.
        Gradient reaches weights and x; never the cache, and text weights only through `TextEmbeds`.
        """
        sizes = layout.sizes(x.shape[1]) if layout else (x.shape[1],)
        h, given = self._enter(x, sigma, text, sizes, cache, context)
        h, _ = self._blocks(h, given)
        return self._leave(h, given.time, x)

    def forward_with_features(
        self, x: Latents, sigma: Sigma, text: TextEmbeds | TextKV, *, layers: Sequence[int]
    ) -> tuple[Latents, tuple[Float[Tensor, "b n d"], ...]]:
        """Bidirectional velocity, and the tokens after the 0-based blocks `layers`."""
        h, given = self._enter(x, sigma, text, (x.shape[1],), None, Context())
        h, taps = self._blocks(h, given, layers)
        return self._leave(h, given.time, x), taps

    def features(
        self,
        x: Latents,
        sigma: Sigma,
        text: TextEmbeds | TextKV,
        *,
        layers: Sequence[int],
        layout: ChunkLayout | None = None,
        context: Context = Context(),
    ) -> tuple[Float[Tensor, "b n d"], ...]:
        """Tokens after the 0-based blocks `layers`; the blocks past the last of them are not run. See `forward`."""
        sizes = layout.sizes(x.shape[1]) if layout else (x.shape[1],)
        h, given = self._enter(x, sigma, text, sizes, None, context)
        return self._blocks(h, given, layers, stop=max(layers) + 1)[1]

    @torch.no_grad()
    def prefill(
        self, x: Latents, sigma: Sigma, text: TextEmbeds | TextKV, cache: Cache, context: Context = Context()
    ) -> Cache:
        """The commit: the cache with this chunk in it. Stops once the last block's keys and values are known."""
        h, given = self._enter(x, sigma, text, (x.shape[1],), cache, context)
        kvs, last = [], self.blocks[-1]
        for block, text_of, past in zip(self._in_turn(), given.texts, given.pasts, strict=True):
            if block is last:
                kvs.append(block.keys_values(h, given.e))
            else:
                h, kv = block(h, given.e, text_of, given.sight, past)
                kvs.append(kv)
        return cache.append(kvs, x.shape[1], context)

    @torch.no_grad()
    def forward_packed(
        self,
        clean: MoreLatents,
        noisy: Latents,
        sigma_noisy: Sigma,
        text: TextEmbeds | TextKV,
        cache: Cache,
        context: Context = Context(),
    ) -> tuple[Latents, Cache]:
        """Commit of `clean` at sigma 0 and velocity of the chunk `noisy` after it, in one pass over [clean | noisy]."""
        frames = clean.shape[1]
        sigma = torch.cat((torch.zeros_like(sigma_noisy[:, :1]).expand(-1, frames), sigma_noisy), dim=1)
        h, given = self._enter(torch.cat((clean, noisy), dim=1), sigma, text, (frames, noisy.shape[1]), cache, context)
        kvs, committed = [], frames * given.sight.tokens
        for block, text_of, past in zip(self._in_turn(), given.texts, given.pasts, strict=True):
            h, (k, v) = block(h, given.e, text_of, given.sight, past)
            kvs.append((k[:, :committed].clone(), v[:, :committed].clone()))  # the cache must not keep the noisy half
        return self._leave(h[:, frames:], given.time[:, frames:], noisy), cache.append(kvs, frames, context)

    def forward_forced(
        self, clean: Latents, x: Latents, sigma: Sigma, text: TextEmbeds, *, layout: ChunkLayout, context: Context
    ) -> Latents:
        """Velocity of x, each chunk behind the chunks before it as they are in `clean`, at level 0.

        Teacher forcing, in one pass over [clean | x]: equal to each chunk's pass behind a cache of its clean past, but
        gradient reaches the weights through that past too.
        """
        frames, forced = x.shape[1], TeacherForcing(self.cfg.num_layers)
        levels = torch.cat((torch.zeros_like(sigma), sigma), dim=1)
        h, given = self._enter(torch.cat((clean, x), dim=1), levels, text, layout.sizes(frames), forced, context)
        h, _ = self._blocks(h, given)
        return self._leave(h[:, frames:], given.time[:, frames:], x)

    @torch.no_grad()
    def encode_text(self, text: TextEmbeds) -> TextKV:
        """Cross-attention keys and values of a prompt, to be used for as long as the weights stay."""
        embedded = self._embed_text(text)
        return TextKV(tuple(block.cross_attn.keys_values(embedded) for block in self._in_turn()))

    def _in_turn(self, stop: int | None = None) -> Iterable[Block]:
        """The first `stop` blocks, or all, each where it computes while it is its turn."""
        return self.placement.visit(list(self.blocks[:stop]))

    def _enter(
        self,
        x: Latents,
        sigma: Sigma,
        text: TextEmbeds | TextKV,
        sizes: Sequence[int],
        cache: Cache | TeacherForcing | None,
        context: Context,
    ) -> tuple[Tokens, Given]:
        """Tokens, and all that the blocks are given besides."""
        _, p, q = self.cfg.patch
        rows, cols = x.shape[3] // p, x.shape[4] // q
        plan, pasts = (cache or KVCache.empty(self.cfg.num_layers)).open(sizes, context)
        sight = Sight.of(plan, rows, cols, self.cfg.head_dim, x.device)
        texts = text.layers if isinstance(text, TextKV) else (self._embed_text(text),) * self.cfg.num_layers

        weight = self.patch_embedding.weight
        h = rearrange(x.to(weight.dtype), "b t c (r p) (s q) -> b t (r s) (c p q)", p=p, q=q)
        h = F.linear(h, weight.flatten(1), self.patch_embedding.bias).to(weight.dtype)
        time = self.time_embedding(sinusoid(TIMESTEPS * sigma, self.cfg.freq_dim).to(weight.dtype))
        e = self.time_projection(time).float()
        return h, Given(
            rearrange(time.float(), "b t d -> b t 1 1 d"),
            rearrange(e, "b t (m d) -> b t m 1 d", m=6),
            texts,
            sight,
            pasts,
        )

    def _blocks(
        self, h: Tokens, given: Given, layers: Sequence[int] = (), stop: int | None = None
    ) -> tuple[Tokens, tuple[Tensor, ...]]:
        """Tokens after the blocks, and those after each of `layers`, frames merged."""
        taps = {}
        for i, block in enumerate(self._in_turn(stop)):
            inputs = (h, given.e, given.texts[i], given.sight, given.pasts[i])
            if self.gradient_checkpointing and torch.is_grad_enabled():
                h = checkpoint(_tokens_of, block, *inputs, use_reentrant=False)
            else:
                h, _ = block(*inputs)
            if i in layers:
                taps[i] = h.flatten(1, 2)
        return h, tuple(taps[i] for i in layers)

    def _leave(self, h: Tokens, time: Tensor, x: Latents) -> Latents:
        _, p, q = self.cfg.patch
        rows = x.shape[3] // p
        v = self.head(h, time)
        return rearrange(v, "b t (r s) (p q c) -> b t c (r p) (s q)", r=rows, p=p, q=q).to(x.dtype)

    def _embed_text(self, text: TextEmbeds) -> Float[Tensor, "b _l _d"]:
        length = text.shape[1]
        if length > self.cfg.text_len:
            raise ValueError(f"prompts are limited to text_len={self.cfg.text_len} tokens, got {length}; truncate them")
        padded = F.pad(text, (0, 0, 0, self.cfg.text_len - length)) if length < self.cfg.text_len else text
        return self.text_embedding(padded.to(self.text_embedding[0].weight.dtype))


def _tokens_of(block: Block, *args) -> Tokens:
    return block(*args)[0]
