"""The Fréchet distance of two sets of features, and what it would be with endless samples."""

from __future__ import annotations

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import half_sampled

SUBSETS = 12
"""Sizes at which the distance is measured to extrapolate it."""
SMALLEST_SHARE = 0.25
"""The smallest of them, as a share of the whole."""
LEAST = 2
"""Samples that have a covariance."""
LEAST_EXTRAPOLATED = 48
"""Samples below which the sizes to extrapolate from lie too close together."""


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of features `[n, d]` and `[m, d]`, in float64.

    Biased upwards by about d (d + 4) / (2 N) for N samples of either side: only distances at equal N compare, and N
    should be ten times d. Where a set has fewer samples than features, no d x d matrix is made.
    """
    (x, mean_x), (y, mean_y) = _centred(one), _centred(other)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both sets need features of one width, got {x.shape[1]} and {y.shape[1]}: extract again")
    shift = float(((mean_x - mean_y) ** 2).sum())
    spread = float((x**2).sum() + (y**2).sum())
    narrow = min(len(x), len(y)) < x.shape[1]
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum() if narrow else _root_trace(x.T @ x, y.T @ y)
    return max(0.0, shift + spread - 2 * float(cross))


def gaussian_frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """The same of two Gaussians that are known by their means `[d]` and covariances `[d, d]`."""
    shift = float(((mean1 - mean2) ** 2).sum())
    return max(0.0, shift + float(np.trace(cov1) + np.trace(cov2)) - 2 * _root_trace(cov1, cov2))


def frechet_infinity(one: np.ndarray, other: np.ndarray, subsets: int = SUBSETS, seed: int = 0) -> float:
    """The distance extrapolated to endless samples: the intercept of a line through it against 1 / N.

    `subsets` sizes, evenly spaced in 1 / N, of both sets alike, each drawn without replacement (Chong & Forsyth 2020).
    Small distances may come out below 0.
    """
    most = min(len(one), len(other))
    if most < LEAST_EXTRAPOLATED:
        raise ValueError(
            f"extrapolating a Fréchet distance needs {LEAST_EXTRAPOLATED} clips or more on both sides, got {most}"
        )
    sizes = np.rint(1 / np.linspace(1 / most, 1 / (SMALLEST_SHARE * most), subsets)).astype(int)
    rng = np.random.default_rng([seed, most])
    distances = [frechet_distance(_some(one, size, rng), _some(other, size, rng)) for size in sizes]
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def estimate_frechet(one: np.ndarray, other: np.ndarray) -> Estimate:
    """`frechet_distance` with its interval."""
    return half_sampled(frechet_distance, one, other)


def estimate_frechet_infinity(one: np.ndarray, other: np.ndarray) -> Estimate:
    """`frechet_infinity` with its interval."""
    return half_sampled(frechet_infinity, one, other)


def _root_trace(cov1: np.ndarray, cov2: np.ndarray) -> float:
    """tr (S1 S2)^(1/2) as the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric."""
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return float(np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(0)).sum())


def _centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features minus their mean, over the root of n - 1, so that their products are covariances; and the mean."""
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < LEAST or not np.isfinite(values).all():
        raise ValueError(
            f"a distance of sets needs finite features [n, d] of {LEAST} clips or more, got shape {values.shape}"
        )
    mean = values.mean(0)
    return (values - mean) / np.sqrt(len(values) - 1), mean


def _some(rows: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return rows[rng.permutation(len(rows))[:size]]
