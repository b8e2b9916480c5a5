"""Latents to frames as they arrive: what any decoder's stream offers, and Wan's, whole or in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from einops import rearrange
from torch import Tensor

from fewstep.models.tiling import Blend, Tile, Tiling
from fewstep.types import Latents

if TYPE_CHECKING:
    from fewstep.models.vae import VideoVAE


class FrameStream(Protocol):
    """One batch of clips in the decoding."""

    def push(self, latents: Latents) -> Tensor:
        """The `b f 3 H W` frames in [-1, 1] that these latents complete: 4 each, but 1 for a clip's first latent."""
        ...


class StreamDecoder:
    """Decodes one batch of clips as their latents arrive; the frames equal those of one whole decode.

    The causal convolutions' last two frames are this object's state. Only a clip's very first latent needs a call of
    its own (the temporal upsamplers skip it); small later ones are decoded together, which is exact and faster. Frames
    that are large enough to keep a device busy alone are decoded one latent at a time: then the same calls are made
    however the latents arrive, and the frames are equal bit for bit in any number format.
    """

    def __init__(self, vae: VideoVAE):
        self.vae = vae
        self._cache: list = [None] * vae.model._cached_conv_counts["decoder"]
        self._started = False

    def copy(self) -> StreamDecoder:
        """A stream that goes on from here by itself."""
        other = StreamDecoder(self.vae)
        other._cache, other._started = list(self._cache), self._started
        return other

    def push(self, latents: Latents) -> Tensor:
        """The `b f 3 H W` frames in [-1, 1] that these latents complete: 4 each, but 1 for a clip's first latent."""
        return self.push_raw(self.vae.denormalised(latents)).clamp(-1, 1).to(latents.dtype)

    def push_raw(self, z: Tensor) -> Tensor:
        """`push` of latents that are not normalised, without clamping."""
        model = self.vae.model
        x = model.post_quant_conv(rearrange(z.to(self.vae.dtype), "b t c h w -> b c t h w"))
        pieces = [] if self._started else [x[:, :, :1]]
        rest = x if self._started else x[:, :, 1:]
        pieces += [piece for piece in rest.split(self.vae.at_once(x.shape[-2:]), dim=2) if piece.shape[2]]
        frames = []
        for piece in pieces:
            first = not self._started
            frames.append(model.decoder(piece, feat_cache=self._cache, feat_idx=[0], first_chunk=first))
            self._started = True
        return self.vae._unpatchify(torch.cat(frames, dim=2))


class TiledStream:
    """A stream for each tile, side by side: one tile's activations at a time, the state of all.

    The autoencoder's one attention layer sees a tile instead of the frame, so the frames are near those of a whole
    decode, not equal to them.
    """

    def __init__(self, vae: VideoVAE, tiling: Tiling):
        self.vae, self.tiling = vae, tiling
        self._streams: dict[Tile, StreamDecoder] = {}

    def copy(self) -> TiledStream:
        """As `StreamDecoder.copy`."""
        other = TiledStream(self.vae, self.tiling)
        other._streams = {tile: stream.copy() for tile, stream in self._streams.items()}
        return other

    def push(self, latents: Latents) -> Tensor:
        """As `StreamDecoder.push`."""
        return self.push_raw(self.vae.denormalised(latents)).clamp(-1, 1).to(latents.dtype)

    def push_raw(self, z: Tensor) -> Tensor:
        """As `StreamDecoder.push_raw`; in fp32 where there are several tiles."""
        stride, (rows, columns) = self.vae.spatial_stride, z.shape[-2:]
        if not self._streams:
            tiles = self.tiling.tiles((rows, columns), stride)
            self._streams = {tile: StreamDecoder(self.vae) for tile in tiles}
        if len(self._streams) == 1:
            return next(iter(self._streams.values())).push_raw(z)
        blend = Blend((rows * stride, columns * stride), self.tiling.overlap)
        for tile, stream in self._streams.items():
            blend.add(tile, stream.push_raw(tile.cut(z)), stride)
        return blend.result()
