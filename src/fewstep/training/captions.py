"""Text embeddings by caption, computed when first asked for and kept in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fewstep.models.text import TextEncoder
from fewstep.types import TextEmbeds

CAPACITY = 50_000
"""Captions kept, in half precision; the oldest go first."""


class Captions:
    """A text encoder with a memory. Each caption is encoded alone, so its embedding does not depend on its batch."""

    def __init__(self, encoder: TextEncoder, negative_prompt: str = ""):
        self.encoder, self.negative_prompt = encoder, negative_prompt
        self.known: dict[str, Tensor] = {}
        self.unconditional: Tensor | None = None

    @torch.no_grad()
    def embed(self, captions: Sequence[str]) -> TextEmbeds:
        """Embeddings of the captions, padded with zeros to the encoder's length, on the CPU in fp32."""
        return torch.stack([self._padded(self._one(caption)) for caption in captions])

    @torch.no_grad()
    def null(self, batch: int) -> TextEmbeds:
        """The unconditional, or negative, prompt's embedding, `batch` times."""
        if self.unconditional is None:
            self.unconditional = self.encoder.null(self.negative_prompt).float().cpu()
        return self.unconditional.expand(batch, -1, -1)

    def _one(self, caption: str) -> Tensor:
        """`l d`, without the zero rows past the caption's end."""
        if caption not in self.known:
            if len(self.known) >= CAPACITY:
                del self.known[next(iter(self.known))]
            embedding = self.encoder.encode([caption])[0].float().cpu()
            self.known[caption] = trimmed(embedding).half()
        return self.known[caption].float()

    def _padded(self, embedding: Tensor) -> Tensor:
        return torch.nn.functional.pad(embedding, (0, 0, 0, self.encoder.text_len - embedding.shape[0]))


def trimmed(embedding: Tensor) -> Tensor:
    """An `l d` embedding without the rows past its last one that is not zero."""
    filled = embedding.abs().sum(-1).nonzero()
    return embedding[: int(filled[-1]) + 1 if len(filled) else 1]
