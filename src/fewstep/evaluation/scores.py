"""From the rows of clips to totals with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fewstep.evaluation.quality import QUALITY
from fewstep.evaluation.semantics import SEMANTIC
from fewstep.evaluation.shapebench import (
    DIMENSIONS,
    PERCENT,
    QUALITY_WEIGHTS,
    ClipScores,
    frozen_normalisation,
)
from fewstep.metrics.intervals import interval, resampled_means

TOTALS = ("semantic", "quality", "total")
COMPANIONS = ("recognition_rate", "facts_true", "dynamic_tracked", "dynamic_flow", "drift")
"""Measures that enter no total: objects with a recognisable shape, stated facts that came out right, clips with a fast
object by tracking and by optical flow, and the change of imaging quality within a clip, in points."""
MEASURES = (*DIMENSIONS, *COMPANIONS)


def row_of(scores: ClipScores) -> dict[str, Any]:
    """One clip's measures by name in 0 … 1 (drift in points of 100), NaN where not asked for, and the facts missed."""
    start, _, end = np.array_split(scores.imaging, 3)
    return {
        **{name: float(scores.raw[name]) for name in DIMENSIONS},
        "recognition_rate": scores.recognised,
        "facts_true": float(np.mean([true for _, true in scores.atoms])),
        "dynamic_tracked": float(scores.moves_tracked),
        "dynamic_flow": float(scores.moves_flow),
        "drift": float(end.mean() - start.mean()) / PERCENT,
        "missed": [fact for fact, true in scores.atoms if not true],
    }


def values_of(clips: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """`[clips, measures]` of rows, NaN for null. Raises KeyError for a measure that was not taken."""
    return np.array([[math.nan if clip[name] is None else clip[name] for name in MEASURES] for clip in clips])


def resample(seeds: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Totals, normalised dimensions and companions in percent, on the data and then on every bootstrap resample.

    `seeds` holds the values of each training seed. A total is NaN where some dimension of it was never asked for.
    """
    means = resampled_means(seeds)
    dimensions = frozen_normalisation()(means[:, : len(DIMENSIONS)])
    columns = PERCENT * np.concatenate([dimensions, means[:, len(DIMENSIONS) :]], axis=1)
    found = dict(zip(MEASURES, columns.T, strict=True))
    found["semantic"] = np.mean([found[name] for name in SEMANTIC], axis=0)
    weights = [QUALITY_WEIGHTS[name] for name in QUALITY]
    found["quality"] = np.average([found[name] for name in QUALITY], axis=0, weights=weights)
    found["total"] = (4 * found["quality"] + found["semantic"]) / 5
    return found


def summarise(clips: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and interval over clips of everything."""
    found = {name: interval(values, len(clips)) for name, values in resample([values_of(clips)]).items()}
    return {
        name: {"mean": found[name].value, "low": found[name].low, "high": found[name].high}
        for name in (*TOTALS, *MEASURES)
    }
