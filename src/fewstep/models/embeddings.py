"""Prompts to embeddings: from memory, from a store on disk, and only else by the text encoder, loaded when needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor

from fewstep.models.prompt_store import PromptStore, embed_alone, padded
from fewstep.models.text import PromptError, TextEncoder, clean
from fewstep.types import TextEmbeds

CAPACITY = 50_000
"""Prompts kept in memory, in bytes about their tokens times the width; the oldest go first."""
LARGE = 1_000_000_000
"""Bytes of weights from which a text encoder leaves the device after use; UMT5-XXL has 11 GB in bf16."""


class PromptEmbeddings:
    """What turns prompts into embeddings. Each prompt is encoded alone, so its embedding does not depend on others.

    `load` gives the encoder on its device; it is called when a prompt is neither in memory nor in `store`. Afterwards
    the encoder stays (`keep` True), is given up and loaded again if need be (False), or, by default, moves to host
    memory if it is large and the device is not the host. `memory` is the number format of what is remembered.
    """

    def __init__(
        self,
        load: Callable[[], TextEncoder],
        *,
        store: PromptStore | None = None,
        keep: bool | None = None,
        memory: torch.dtype | None = None,
    ):
        self.store, self.keep, self.memory = store, keep, memory
        self._load = load
        self._encoder: TextEncoder | None = None
        self._home: torch.device | None = None
        self._known: dict[str, Tensor] = {}
        self._text_len = None if store is None else store.label.text_len

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder on its device, loaded if it is not there."""
        if self._encoder is None:
            self._encoder = self._load()
            self._home = next(self._encoder.parameters()).device
            self._text_len = self._encoder.text_len
        return self._encoder.to(self._home)

    @property
    def is_loaded(self) -> bool:
        """Whether the text encoder is in memory, the device's or the host's."""
        return self._encoder is not None

    @property
    def text_len(self) -> int:
        """Rows of an embedding."""
        return self._text_len or self.encoder.text_len

    def embed(self, prompts: Sequence[str]) -> TextEmbeds:
        """`b l d` embeddings with zeros past each prompt's end, on the CPU in fp32. Raises PromptError."""
        self.prepare(prompts)
        return torch.stack([self._padded(prompt) for prompt in prompts])

    def null(self, negative_prompt: str = "") -> TextEmbeds:
        """`1 l d`: the unconditional embedding, or that of what guidance should lead away from; too long is cut."""
        self.prepare([], negative_prompt)
        return self._padded(_negative(negative_prompt))[None]

    def prepare(self, prompts: Sequence[str], negative_prompt: str | None = None) -> None:
        """Encode what is not known yet in one go, so that the text encoder is needed only once. Raises PromptError."""
        wanted: dict[str, bool | None] = {} if negative_prompt is None else {_negative(negative_prompt): True}
        for prompt in prompts:
            _require_words(prompt)
            wanted.setdefault(prompt, None)
        unknown = {prompt: cut for prompt, cut in wanted.items() if not self._knows(prompt)}
        if not unknown:
            return
        encoder = self._encoder_for(next(iter(unknown)))
        for prompt, cut in unknown.items():
            rows = embed_alone(encoder, prompt, truncate=cut)
            self._known[prompt] = rows.to(self.memory or rows.dtype).clone()
        old = (prompt for prompt in self._known if prompt not in wanted)
        for prompt in list(islice(old, max(0, len(self._known) - CAPACITY))):
            del self._known[prompt]
        self._rest(encoder)

    def release(self) -> None:
        """Give up the text encoder and its memory; it is loaded again if it is needed."""
        device, self._encoder = self._home, None
        if device is not None and device.type == "cuda":
            torch.cuda.empty_cache()

    def _padded(self, prompt: str) -> Tensor:
        """`text_len d` of a prompt that is in memory or in the store."""
        if prompt in self._known or self.store is None:
            return padded(self._known[prompt], self.text_len)
        return self.store.padded(prompt)

    def _knows(self, prompt: str) -> bool:
        return prompt in self._known or (self.store is not None and prompt in self.store)

    def _encoder_for(self, prompt: str) -> TextEncoder:
        try:
            return self.encoder
        except ValueError as error:
            if self.store is None:
                raise
            raise PromptError(
                f"{prompt[:60]!r} is not in the prompt store {self.store.folder}, and the text encoder cannot be "
                f"loaded ({error}): add the prompt to the store with `fewstep encode`"
            ) from error

    def _rest(self, encoder: TextEncoder) -> None:
        """What becomes of the encoder after use."""
        if self.keep is False:
            self.release()
        elif self.keep is None and self._home is not None and self._home.type != "cpu" and _bytes(encoder) > LARGE:
            encoder.to("cpu")
            torch.cuda.empty_cache()


def _require_words(prompt: object) -> None:
    """Raise PromptError for a prompt that is no text or says nothing."""
    if not isinstance(prompt, str):
        raise PromptError(f"a prompt must be text, got {prompt!r}")
    if not prompt.strip() or not clean(prompt):
        raise PromptError(f"a prompt must say something, got {prompt!r}: describe what the clip shows")


def _negative(prompt: str) -> str:
    return prompt if clean(prompt) else ""


def _bytes(encoder: TextEncoder) -> int:
    return sum(each.numel() * each.element_size() for each in encoder.parameters())
