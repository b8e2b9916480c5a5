"""How far raters agree beyond chance: Krippendorff's alpha."""

from __future__ import annotations

import numpy as np


def krippendorff(counts: np.ndarray, distance: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """1 minus observed over expected disagreement: 1 is perfect agreement, 0 is chance.

    `counts [u, k]` says how many raters gave unit `u` the value `k`, `distance [k, k]` is the squared difference of
    two values; the rows of `weights [b, u]` count units repeatedly or not at all and give one alpha each, `[b]`.
    Units of fewer than two raters say nothing. NaN where there is nothing to compare, or only one value.
    Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability".
    """
    counts = np.asarray(counts, np.float64)
    weights = np.ones((1, len(counts))) if weights is None else weights
    raters = counts.sum(1)
    told = raters >= 2
    counts, raters, weights = counts[told], raters[told], weights[:, told]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    coincidences = np.einsum("bu,ukl->bkl", weights, pairs / (raters - 1)[:, None, None])
    values = coincidences.sum(2)
    n = values.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.einsum("bkl,kl->b", coincidences, distance) / n
        expected = np.einsum("bk,bl,kl->b", values, values, distance) / (n * (n - 1))
        alpha = 1 - observed / expected
    return np.where(expected > 0, alpha, np.nan)


def nominal(kinds: int) -> np.ndarray:
    """Values either agree or do not."""
    return 1 - np.eye(kinds)


def interval_scale(values: np.ndarray) -> np.ndarray:
    """Values lie on a scale: squared differences."""
    return (values[:, None] - values[None, :]) ** 2
