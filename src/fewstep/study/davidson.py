"""Strengths of models from preferences with ties: Davidson's extension of Bradley and Terry's model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PRIOR = 0.5
"""Answers of each kind that every compared pair has beforehand (Jeffreys): a model that never lost stays finite."""
MAX_STEP = 2.0
"""Of a strength in one iteration."""
ITERATIONS = 100
TOLERANCE = 1e-9


def strengths(matches: Sequence[tuple[int, int]], counts: np.ndarray, models: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the strengths `[b, models]`, whose mean is 0, and of the weight of ties `[b]`.

    `counts [b, c, 3]` are the wins of the first, the ties and the wins of the second of `matches[c]`; row by row
    they may be resamples. With strengths p and q a win has odds p, a tie v * sqrt(p * q), a loss q (Davidson
    1970, "On extending the Bradley-Terry model to accommodate ties"). NaN where no chain of matches joins the models.
    """
    counts = np.asarray(counts, np.float64) + PRIOR
    if not matches or not _joined(matches, models):
        return np.full((len(counts), models), np.nan), np.full(len(counts), np.nan)
    # utilities of the three outcomes are linear in the parameters: a logit model, with one optimum
    design = np.zeros((len(matches), 3, models + 1))
    for c, (first, second) in enumerate(matches):
        design[c, 0, first] = design[c, 2, second] = design[c, 1, -1] = 1
        design[c, 1, first] = design[c, 1, second] = 0.5
    total = counts.sum(-1)
    gauge = np.zeros((models + 1, models + 1))
    gauge[:models, :models] = 1  # strengths sum to 0; the likelihood does not see their sum
    found = np.zeros((len(counts), models + 1))
    for _ in range(ITERATIONS):
        utility = np.einsum("cop,bp->bco", design, found)
        share = np.exp(utility - utility.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        gradient = np.einsum("cop,bco->bp", design, total[..., None] * share - counts) + found @ gauge
        mean = np.einsum("cop,bco->bcp", design, share)
        hessian = np.einsum("bc,bco,cop,coq->bpq", total, share, design, design, optimize=True) + gauge
        hessian -= np.einsum("bc,bcp,bcq->bpq", total, mean, mean, optimize=True)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        found -= step * np.minimum(1, MAX_STEP / np.maximum(np.abs(step).max(-1, keepdims=True), TOLERANCE))
        if np.abs(step).max() < TOLERANCE:
            break
    return found[:, :models], found[:, models]


def _joined(matches: Sequence[tuple[int, int]], models: int) -> bool:
    """Whether every model can be reached from every other."""
    reached = {matches[0][0]}
    for _ in range(models):
        reached |= {model for match in matches if reached.intersection(match) for model in match}
    return len(reached) == models
