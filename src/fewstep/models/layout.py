"""How a clip's latent frames are grouped into the chunks that are denoised together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ChunkLayout:
    """Chunks of equal size, the first one possibly of its own size (AAD-1: one image frame, then chunks of 4)."""

    chunk: int = 3
    """Latent frames per chunk (Self Forcing: 3)."""
    first: int | None = None
    """Latent frames of the first chunk; None means `chunk`."""

    def __post_init__(self) -> None:
        if self.chunk < 1 or (self.first is not None and self.first < 1):
            raise ValueError(f"a chunk holds 1 latent frame or more, got {self}: Wan's students have chunks of 3")

    def endless(self) -> Iterator[int]:
        """Frames of every chunk of a clip without end."""
        yield self.first or self.chunk
        while True:
            yield self.chunk

    def sizes(self, total_frames: int) -> tuple[int, ...]:
        """Frames of every chunk of a clip.

        Raises:
            ValueError: the clip does not divide into whole chunks; the message names the nearest lengths that do.
        """
        first = self.first or self.chunk
        rest, left_over = divmod(total_frames - first, self.chunk)
        if total_frames < first or left_over:
            below = first + max(rest, 0) * self.chunk
            fits = [below] if total_frames < first else [below, below + self.chunk]
            raise ValueError(
                f"{self} cannot divide {total_frames} latent frames into whole chunks; "
                f"use {' or '.join(map(str, fits))} latent frames"
            )
        return (first,) + (self.chunk,) * rest
