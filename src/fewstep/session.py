"""One clip in the making: frames come out chunk by chunk, and the prompt may change in between."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fewstep.models.decode import FrameStream
from fewstep.models.vae import to_uint8
from fewstep.rollout import Chunk
from fewstep.types import Frames, Latents, TextEmbeds


class StreamSession:
    """Iterate for `f H W 3` uint8 frames per chunk; set `prompt` to change what the next chunk shows.

    What the clip begins with (`prefix`, clean) comes first, as an item of its own.
    """

    def __init__(
        self,
        prompt: str | Iterable[str],
        *,
        encode: Callable[[str], TextEmbeds],
        noise: Iterable[Latents],
        sample: Callable[[Iterable[Chunk]], Iterator[Latents]],
        decoder: FrameStream,
        prefix: Latents | None = None,
    ):
        self._start = time.perf_counter()
        self._encode, self._decoder = encode, decoder
        self._script: Iterator[str] = iter([prompt] if isinstance(prompt, str) else prompt)
        self.prompt = next(self._script, "")
        self.seconds: list[float] = []
        """Wall clock from the start to the frames of each item so far."""
        given = [] if prefix is None else [prefix]
        self._latents: Iterator[Latents] = itertools.chain(given, sample(self._chunks(noise)))

    @property
    def prompt(self) -> str:
        """What the chunks from here on show. Setting it encodes the text; a bad one raises and changes nothing."""
        return self._prompt

    @prompt.setter
    def prompt(self, prompt: str) -> None:
        if not isinstance(prompt, str):
            raise ValueError(f"a prompt must be text, got {prompt!r}")
        with torch.inference_mode():
            self._text = self._encode(prompt)
        self._prompt = prompt

    def _chunks(self, noise: Iterable[Latents]) -> Iterator[Chunk]:
        for number, start in enumerate(noise):
            if number and (following := next(self._script, self._prompt)) != self._prompt:
                self.prompt = following
            yield Chunk(start, self._text)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frames:
        with torch.inference_mode():
            frames = to_pictures(self._decoder.push(next(self._latents)))[0]
        self.seconds.append(time.perf_counter() - self._start)
        return frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; further iteration stops at once."""
        self._latents = iter(())


def to_pictures(frames: Tensor) -> np.ndarray:
    """`b f 3 H W` in [-1, 1] to `b f H W 3` uint8 on the host."""
    return to_uint8(frames).movedim(2, -1).contiguous().cpu().numpy()
