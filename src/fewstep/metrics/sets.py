"""Metrics of a whole set of clips beside another one, on features of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fewstep.metrics import frechet, kernel
from fewstep.metrics.base import Estimate
from fewstep.metrics.features import FeatureError, FeatureSet, require_same_extractor

ENOUGH = 10
"""Clips for each number of a feature that a covariance wants: 640 for the bundled extractor."""


@dataclass(frozen=True)
class SetMetric:
    """One number for two sets; lower is nearer."""

    name: str
    version: int
    """Raised whenever the same features would score otherwise."""
    title: str
    minimum_samples: int
    """Clips on either side."""
    measure: Callable[[np.ndarray, np.ndarray], Estimate]
    """Of features `[n, d]` and `[m, d]`, with an interval."""
    biased: bool = False
    """Whether it depends on the numbers of clips, beside what they show."""
    per_feature: int = 0
    """Clips for each number of a feature below which it is not to be relied on."""
    p_value: Callable[[np.ndarray, np.ndarray], float] | None = None
    """Chance of a number this large if both sets came from one law, where there is a test."""


def set_metrics() -> dict[str, SetMetric]:
    """All of them by name. `fvd` is biased by the number of clips and compares at equal numbers only."""
    extrapolated = 2 * frechet.LEAST_EXTRAPOLATED
    every = (
        SetMetric("fvd", 1, "Fréchet video distance", 2 * frechet.LEAST, frechet.estimate_frechet, True, ENOUGH),
        SetMetric(
            "fvd_infinity", 1, "FVD, endless clips", extrapolated, frechet.estimate_frechet_infinity, False, ENOUGH
        ),
        SetMetric("mmd2", 1, "kernel distance (MMD²)", 4, kernel.estimate_mmd2, p_value=kernel.permutation_p),
    )
    return {metric.name: metric for metric in every}


def compare_sets(metric: SetMetric, one: FeatureSet, other: FeatureSet) -> Estimate:
    """The metric of two sets. Raises FeatureError for features of two extractors, and for too few clips."""
    require_same_extractor(one, other)
    if (found := min(len(one), len(other))) < metric.minimum_samples:
        raise FeatureError(
            f"{metric.name} needs {metric.minimum_samples} clips or more on both sides, got {found}: make more"
        )
    return metric.measure(one.values, other.values)


def remarks(metric: SetMetric, one: FeatureSet, other: FeatureSet) -> list[str]:
    """What a reader must know of the numbers of clips that a distance rests on."""
    counts, dim = sorted((len(one), len(other))), one.values.shape[1]
    found = []
    if metric.biased and counts[0] != counts[1]:
        found.append(f"of {counts[0]} and {counts[1]} clips: it falls with their number, compare at equal ones")
    if counts[0] < metric.per_feature * dim:
        enough = metric.per_feature * dim
        found.append(f"of {counts[0]} clips: {enough} or more are wanted for features of {dim} numbers")
    return found
