"""Large frames in overlapping tiles, so that memory is that of one tile; the seams are blended."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

Span = tuple[int, int]
"""First and behind the last."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How frames are cut. Raises ValueError for tiles that could not overlap."""

    height: int = 256
    """Pixels of a tile; frames that are no larger stay whole in this direction."""
    width: int = 256
    """Pixels of a tile."""
    overlap: int = 64
    """Pixels that neighbours share at least; over these one fades into the other."""

    def __post_init__(self) -> None:
        if not 0 < self.overlap <= min(self.height, self.width) // 2:
            raise ValueError(
                f"tiles must overlap by a pixel or more, and by half a tile at most, got {self.overlap} for tiles of "
                f"{self.width}x{self.height}: choose larger tiles or a smaller overlap"
            )

    @classmethod
    def square(cls, side: int | None) -> Tiling | None:
        """Tiles of `side` pixels, the usual overlap; None for None, which is no tiling."""
        return None if side is None else cls(height=side, width=side)

    def tiles(self, size: tuple[int, int], pixels: int) -> list[Tile]:
        """Tiles of a frame of `size` rows and columns, each of which stands for `pixels` pixels; one if it fits.

        Raises ValueError for tiles or an overlap smaller than that.
        """
        if self.overlap < pixels:
            raise ValueError(f"an overlap must be at least {pixels} pixels, one latent, got {self.overlap}")
        overlap = self.overlap // pixels
        rows, columns = (
            spans(total, side // pixels, overlap) for total, side in zip(size, (self.height, self.width), strict=True)
        )
        return [Tile((up, left), size) for up in rows for left in columns]


@dataclass(frozen=True)
class Tile:
    """One tile of a grid: the rows and columns that it covers of a frame of `size`."""

    spans: tuple[Span, Span]
    size: tuple[int, int]

    def cut(self, frames: Tensor, scale: int = 1) -> Tensor:
        """This tile of `... H W` frames that are `scale` times larger than the grid."""
        (up, down), (left, right) = ((start * scale, stop * scale) for start, stop in self.spans)
        return frames[..., up:down, left:right]

    def weight(self, scale: int, overlap: int, device: torch.device) -> Tensor:
        """`H W` weights of the tile at `scale`: they rise and fall over `overlap` except at the frame's own edges."""
        sides = []
        for (start, stop), total in zip(self.spans, self.size, strict=True):
            length = (stop - start) * scale
            way = torch.arange(length, device=device, dtype=torch.float32) + 0.5
            side = torch.ones_like(way)
            if start > 0:
                side = torch.minimum(side, way / overlap)
            if stop < total:
                side = torch.minimum(side, (length - way) / overlap)
            sides.append(side)
        return sides[0][:, None] * sides[1]


class Blend:
    """Adds up tiles, each faded out where others continue."""

    def __init__(self, size: tuple[int, int], overlap: int):
        """`size` and `overlap` in the units of the tiles that will be added."""
        self.size, self.overlap = size, overlap
        self._sum: Tensor | None = None
        self._weights: Tensor | None = None

    def add(self, tile: Tile, content: Tensor, scale: int) -> None:
        """Put `... h w` content where the tile is, `scale` times the tile's own size."""
        if self._sum is None or self._weights is None:
            self._sum = torch.zeros(*content.shape[:-2], *self.size, device=content.device)
            self._weights = torch.zeros(self.size, device=content.device)
        weight = tile.weight(scale, self.overlap, content.device)
        tile.cut(self._sum, scale).add_(content.float() * weight)
        tile.cut(self._weights, scale).add_(weight)

    def result(self) -> Tensor:
        """The whole, in fp32."""
        assert self._sum is not None
        assert self._weights is not None
        return self._sum / self._weights


def spans(total: int, size: int, overlap: int) -> list[Span]:
    """Evenly spaced spans of length `size` that cover 0..total and overlap by at least `overlap`."""
    if total <= size:
        return [(0, total)]
    count = ceil((total - overlap) / (size - overlap))
    starts = [round(index * (total - size) / (count - 1)) for index in range(count)]
    return [(start, start + size) for start in starts]
