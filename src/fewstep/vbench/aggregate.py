"""Quality, Semantic, I2V and Total from raw dimensions, by VBench's formula, which a missing dimension stops.

VBench's own script counts a dimension that it does not find as 0, and a zero passes for a low score.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import TypeVar

import numpy as np

from fewstep.vbench.dimensions import PARTS, Dimension, Suite

Value = TypeVar("Value", float, np.ndarray)
"""A score, or as many as there are resamples."""


class MissingDimensionError(ValueError):
    """A score that cannot be told, for some of its dimensions were not measured."""


def normalised(dimension: Dimension, raw: Value) -> Value:
    """`(raw - low) / (high - low)`, not clipped: a frozen clip's motion smoothness of 1 becomes 1.0086."""
    return (raw - dimension.low) / (dimension.high - dimension.low)


def part_score(suite: Suite, part: str, raw: Mapping[str, Value]) -> Value:
    """The weighted mean of a part's normalised dimensions, such as Quality. Raises MissingDimensionError."""
    dimensions = suite.of_part(part)
    if missing := [dimension.name for dimension in dimensions if dimension.name not in raw]:
        raise MissingDimensionError(
            f"{PARTS[part]} of {suite.title} needs {len(dimensions)} dimensions, {', '.join(missing)} "
            f"{'was' if len(missing) == 1 else 'were'} not measured: run them, or ask for another part"
        )
    weights = sum(dimension.weight for dimension in dimensions)
    weighted = [dimension.weight * normalised(dimension, raw[dimension.name]) for dimension in dimensions]
    return _sum(weighted) / weights


def total_score(suite: Suite, parts: Mapping[str, Value]) -> Value:
    """The weighted mean of the parts: `(4 Quality + Semantic) / 5`, and for I2V `(Quality + I2V) / 2`."""
    if missing := [part for part in suite.parts if part not in parts]:
        raise MissingDimensionError(f"Total of {suite.title} needs {', '.join(suite.parts)}, {missing[0]} is missing")
    weight = sum(suite.parts.values())
    return _sum([share * parts[part] for part, share in suite.parts.items()]) / weight


def scores(suite: Suite, raw: Mapping[str, Value], parts: Iterable[str] | None = None) -> dict[str, Value]:
    """The parts by name, and `total` where they are all asked for. Raises MissingDimensionError."""
    found = {part: part_score(suite, part, raw) for part in (suite.parts if parts is None else parts)}
    return {**found, "total": total_score(suite, found)} if suite.parts.keys() <= found.keys() else found


def _sum(values: Sequence[Value]) -> Value:
    return reduce(operator.add, values)
