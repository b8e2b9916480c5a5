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
DIVERSITY = "diversity"
COMPANIONS = ("recognition_rate", "facts_true", "dynamic_tracked", "dynamic_flow", "change", DIVERSITY)
"""Measures that enter no total: objects with a recognisable shape, stated facts that came out right, clips with a fast
object by tracking and by optical flow, the change of imaging quality within a clip, in points, and how far apart two
clips' objects begin, root mean square, in percent of the side: captions leave that open, and a model that has collapsed
puts them all in one place."""
MEASURES = (*DIMENSIONS, *COMPANIONS)
PLACE = ("place_x", "place_y", "place_square")
"""Where a clip's objects begin, in sides, and x² + y², whose means give the diversity of a set."""
COLUMNS = (*(name for name in MEASURES if name != DIVERSITY), *PLACE)
"""What is known of a single clip."""
ROWS = 2
"""Version of these; raised whenever a row holds other measures."""


def row_of(scores: ClipScores) -> dict[str, Any]:
    """One clip's measures by name in 0 … 1 (change in points of 100), NaN where not asked for, and the facts missed."""
    (start, _, end), (x, y) = np.array_split(scores.imaging, 3), scores.place
    return {
        **{name: float(scores.raw[name]) for name in DIMENSIONS},
        "recognition_rate": scores.recognised,
        "facts_true": float(np.mean([true for _, true in scores.atoms])),
        "dynamic_tracked": float(scores.moves_tracked),
        "dynamic_flow": float(scores.moves_flow),
        "change": float(end.mean() - start.mean()) / PERCENT,
        **dict(zip(PLACE, (x, y, x * x + y * y), strict=True)),
        "missed": [fact for fact, true in scores.atoms if not true],
    }


def values_of(clips: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """`[clips, columns]` of rows, NaN for null. Raises KeyError for a measure that was not taken.

    Rows from before there was a diversity have no place, and no diversity.
    """
    rows = [{**dict.fromkeys(PLACE), **clip} for clip in clips]
    return np.array([[math.nan if row[name] is None else row[name] for name in COLUMNS] for row in rows])


def resample(values: np.ndarray) -> dict[str, np.ndarray]:
    """Totals, normalised dimensions and companions in percent, on the data and then on every bootstrap resample.

    `values` are those of one model. A total is NaN where some dimension of it was never asked for.
    """
    means = resampled_means(values)
    dimensions = frozen_normalisation()(means[:, : len(DIMENSIONS)])
    columns = PERCENT * np.concatenate([dimensions, means[:, len(DIMENSIONS) :]], axis=1)
    known = dict(zip(COLUMNS, columns.T, strict=True))
    x, y, square = (known.pop(name) / PERCENT for name in PLACE)
    known[DIVERSITY] = PERCENT * np.sqrt(np.maximum(0, 2 * (square - x**2 - y**2)))
    found = {name: known[name] for name in MEASURES}
    found["semantic"] = np.mean([found[name] for name in SEMANTIC], axis=0)
    weights = [QUALITY_WEIGHTS[name] for name in QUALITY]
    found["quality"] = np.average([found[name] for name in QUALITY], axis=0, weights=weights)
    found["total"] = (4 * found["quality"] + found["semantic"]) / 5
    return found


def summarise(clips: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and interval over clips of everything."""
    found = {name: interval(values, len(clips)) for name, values in resample(values_of(clips)).items()}
    return {
        name: {"mean": found[name].value, "low": found[name].low, "high": found[name].high}
        for name in (*TOTALS, *MEASURES)
    }
