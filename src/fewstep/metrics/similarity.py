"""How alike the predictions of one chunk are at each of its denoising steps (ASD Figures 4 and 9).

S_b[i, j] is the cosine of x̂0 of chunk b at steps i and j, averaged over clips. The first chunk has no past to lean on,
and changes most from step to step. That is why ASD gives it more steps (ASD 3.3).

The paper does not say whether b counts latent frames or chunks, nor whether anything is subtracted first, so there are
matrices of both, raw and centred: what all clips have in common makes any two predictions look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fewstep.types import Latents

Unit = Literal["chunk", "frame"]


class StepRecorder:
    """An observer of rollouts, `on_step(chunk, step, x0)`, that keeps every prediction of every clip in fp16.

    Batches follow each other; each begins with step 0 of chunk 0. `recorder.chunks()` gives what was seen.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], list[np.ndarray]] = {}

    def __call__(self, chunk: int, step: int, x0: Latents) -> None:
        """See one step of one chunk of a batch of clips."""
        self._seen.setdefault((chunk, step), []).append(x0.detach().to("cpu", torch.float16).numpy())

    def chunks(self) -> list[np.ndarray]:
        """Predictions `[clips, steps, frames, c, h, w]` fp16 of each chunk; chunks may differ in steps and frames.

        Raises ValueError when nothing was seen, or a rollout was left unfinished.
        """
        if not self._seen:
            raise ValueError("no step was recorded: pass the recorder as on_step to a rollout")
        steps: dict[int, list[np.ndarray]] = {}
        for chunk, step in sorted(self._seen):
            steps.setdefault(chunk, []).append(np.concatenate(self._seen[chunk, step]))
        counts = {len(values) for chunk in steps.values() for values in chunk}
        if len(counts) > 1:
            raise ValueError(f"every step needs the same clips, got {sorted(counts)}: let each rollout finish")
        return [np.stack(values, axis=1) for values in steps.values()]


@dataclass(frozen=True)
class StepSimilarity:
    """Cosines of the predictions of each block at each pair of its steps."""

    blocks: tuple[np.ndarray, ...]
    """`[clips, steps, steps]` for each chunk, or each frame, in order."""

    @property
    def matrices(self) -> list[np.ndarray]:
        """S_b, the mean over clips `[steps, steps]` of each block."""
        return [cosines.mean(0) for cosines in self.blocks]

    @property
    def first_last(self) -> np.ndarray:
        """S_b[1, N] of every clip `[clips, blocks]`: what all steps after the first one changed. NaN for one step."""
        return self._of_each(lambda cosines: cosines[:, 0, -1])

    @property
    def off_diagonal(self) -> np.ndarray:
        """Mean over pairs of different steps, of every clip `[clips, blocks]`. NaN for blocks of one step."""

        def mean(cosines: np.ndarray) -> np.ndarray:
            return cosines[:, ~np.eye(cosines.shape[1], dtype=bool)].mean(1)

        return self._of_each(mean)

    def _of_each(self, scalar: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        values = [scalar(cosines) if cosines.shape[1] > 1 else np.full(len(cosines), np.nan) for cosines in self.blocks]
        return np.stack(values, axis=1)


def step_similarity(chunks: Sequence[np.ndarray], *, by: Unit = "chunk", centred: bool = False) -> StepSimilarity:
    """Cosines of predictions `[clips, steps, frames, …]`, one array per chunk: latents, or decoded pictures.

    `centred` first takes the mean over clips and steps away from each block. Raises ValueError where that leaves
    nothing, which is where there is one clip.
    """
    blocks = []
    for chunk in chunks:
        pieces = chunk.reshape(*chunk.shape[:3], -1)
        pieces = pieces.astype(np.float32) - (pieces.mean((0, 1), dtype=np.float64) if centred else 0.0)
        products = np.einsum("nifd,njfd->nfij", pieces, pieces, dtype=np.float64, optimize=True)
        for gram in products.swapaxes(0, 1) if by == "frame" else [products.sum(1)]:
            norms = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
            if not norms.all():
                raise ValueError("a prediction that is zero, or the same in all clips, has no direction: record more")
            blocks.append(gram / (norms[:, :, None] * norms[:, None]))
    return StepSimilarity(tuple(blocks))
