"""Maximum mean discrepancy of two sets of features: unbiased at any number of samples, with an exact test."""

from __future__ import annotations

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import half_sampled

DEGREE = 3
PERMUTATIONS = 1000


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x . y / d + 1)^3 for every pair `[n, m]`, the kernel of KID (Binkowski et al. 2018)."""
    return (x @ y.T / x.shape[1] + 1) ** DEGREE


def mmd2(one: np.ndarray, other: np.ndarray) -> float:
    """Unbiased squared discrepancy of `[n, d]` and `[m, d]` (Gretton et al. 2012, Eq. 3), 0 on average for one law."""
    kernel, n = _pooled(one, other)
    return float(_mmd2(kernel, np.arange(len(kernel))[None] < n)[0])


def estimate_mmd2(one: np.ndarray, other: np.ndarray) -> Estimate:
    """`mmd2` with its interval."""
    return half_sampled(mmd2, one, other)


def permutation_p(one: np.ndarray, other: np.ndarray, count: int = PERMUTATIONS, seed: int = 0) -> float:
    """Chance of a discrepancy this large if both sets came from one law: labels are dealt anew `count` times.

    Exact at any number of samples; the least value is 1 / (count + 1).
    """
    kernel, n = _pooled(one, other)
    rng = np.random.default_rng([seed, n, len(kernel)])
    ours = np.arange(len(kernel)) < n
    found = _mmd2(kernel, np.stack([ours, *(rng.permutation(ours) for _ in range(count))]))
    # a permutation that deals the same sets again differs from the data by rounding only
    as_large = found[1:] >= found[0] - 1e-12 * np.abs(kernel).max()
    return float((1 + as_large.sum()) / (1 + count))


def _pooled(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, int]:
    """The kernel of all pairs of both sets, zero on the diagonal, and how many rows are of the first."""
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(f"a discrepancy needs 2 clips or more on both sides, of one width, got {x.shape}, {y.shape}")
    rows = np.concatenate([x, y])
    kernel = polynomial_kernel(rows, rows)
    np.fill_diagonal(kernel, 0)
    return kernel, len(x)


def _mmd2(kernel: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """The discrepancy for each row of labels `ours` `[b, n + m]`, all with the same count."""
    mine = ours.astype(np.float64)
    theirs = 1 - mine
    n, m = mine[0].sum(), theirs[0].sum()
    towards = mine @ kernel
    within, across = (towards * mine).sum(1), (towards * theirs).sum(1)
    outside = kernel.sum() - within - 2 * across
    return within / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * across / (n * m)
