"""What VBench and VBench-I2V score, on which prompts, and with which weights: their tables as values.

Numbers are those of the `scripts/constant.py`, prompt lists and README tables of VBench's repository at commit 45e79ec.
Nothing here imports VBench.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Counted = Literal["all", "found", "static"]
"""Which clips enter a dimension: all; those in which the object was found; those that a filter took for static."""

PARTS = {"quality": "Quality", "semantic": "Semantic", "i2v": "I2V", "total": "Total"}
"""Titles of the scores."""
SAMPLES = 5
"""Clips of a prompt that VBench looks up: `{prompt}-0.mp4` to `{prompt}-4.mp4`."""
STATIC_CANDIDATES = 25
"""Clips of a prompt of temporal flickering, of which its filter keeps the first five static ones."""


@dataclass(frozen=True)
class Dimension:
    """One of VBench's scores."""

    name: str
    part: str
    """The score that it enters."""
    low: float
    """Raw value that becomes 0. Nothing is clipped."""
    high: float
    """Raw value that becomes 1."""
    prompts: int
    """Prompts of the official list that carry it."""
    weight: float = 1.0
    """Within its part."""
    counted: Counted = "all"

    @property
    def candidates(self) -> int:
        """Clips of a prompt to be sampled for it."""
        return STATIC_CANDIDATES if self.counted == "static" else SAMPLES


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One benchmark of VBench's repository."""

    name: str
    title: str
    info: str
    """Its prompt list, in a checkout of the repository."""
    sha256: str | None
    """Of the list; None where none is known and the counts must do."""
    entries: int
    """Of the list."""
    script: str
    """What evaluates it, in the checkout."""
    dimensions: tuple[Dimension, ...]
    parts: Mapping[str, float] = field(default_factory=dict)
    """Weights of the parts in the total."""
    begins_with: Literal["text", "image"] = "text"
    """What its clips are made from."""

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    def __getitem__(self, name: str) -> Dimension:
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        known = ", ".join(each.name for each in self)
        raise ValueError(f"a dimension of {self.title} is required, got '{name}': choose from {known}")

    def of_part(self, part: str) -> tuple[Dimension, ...]:
        """Raises ValueError for a part that there is not."""
        if part not in self.parts:
            raise ValueError(f"{self.title} has the parts {', '.join(self.parts)}, got '{part}'")
        return tuple(dimension for dimension in self if dimension.part == part)


TEXT_TO_VIDEO = Suite(
    name="vbench",
    title="VBench",
    info="vbench/VBench_full_info.json",
    sha256="5dd2de80ee43cda750b2b72ea7023657c0b90d3702041c7e4608c65dbe50dccd",
    entries=946,
    script="evaluate.py",
    parts={"quality": 4.0, "semantic": 1.0},
    dimensions=(
        Dimension("subject_consistency", "quality", 0.1462, 1.0, 72),
        Dimension("background_consistency", "quality", 0.2615, 1.0, 86),
        Dimension("temporal_flickering", "quality", 0.6293, 1.0, 75, counted="static"),
        Dimension("motion_smoothness", "quality", 0.706, 0.9975, 72),
        Dimension("dynamic_degree", "quality", 0.0, 1.0, 72, weight=0.5),
        Dimension("aesthetic_quality", "quality", 0.0, 1.0, 93),
        Dimension("imaging_quality", "quality", 0.0, 1.0, 93),
        Dimension("object_class", "semantic", 0.0, 1.0, 79),
        Dimension("multiple_objects", "semantic", 0.0, 1.0, 82),
        Dimension("human_action", "semantic", 0.0, 1.0, 100),
        Dimension("color", "semantic", 0.0, 1.0, 85, counted="found"),
        Dimension("spatial_relationship", "semantic", 0.0, 1.0, 84),
        Dimension("scene", "semantic", 0.0, 0.8222, 86),
        Dimension("appearance_style", "semantic", 0.0009, 0.2855, 90),
        Dimension("temporal_style", "semantic", 0.0, 0.364, 100),
        Dimension("overall_consistency", "semantic", 0.0, 0.364, 93),
    ),
)

IMAGE_TO_VIDEO = Suite(
    name="vbench_i2v",
    title="VBench-I2V",
    info="vbench2_beta_i2v/vbench2_i2v_full_info.json",
    sha256=None,
    entries=1118,
    script="evaluate_i2v.py",
    parts={"quality": 1.0, "i2v": 1.0},
    begins_with="image",
    dimensions=(
        Dimension("i2v_subject", "i2v", 0.1462, 1.0, 246),
        Dimension("i2v_background", "i2v", 0.2615, 1.0, 109),
        Dimension("camera_motion", "i2v", 0.0, 1.0, 763, weight=0.1),
        Dimension("subject_consistency", "quality", 0.1462, 1.0, 246),
        Dimension("background_consistency", "quality", 0.2615, 1.0, 109),
        Dimension("motion_smoothness", "quality", 0.706, 0.9975, 246),
        Dimension("dynamic_degree", "quality", 0.0, 1.0, 246, weight=0.5),
        Dimension("aesthetic_quality", "quality", 0.0, 1.0, 355),
        Dimension("imaging_quality", "quality", 0.0, 1.0, 355),
    ),
)

SUITES = {suite.name: suite for suite in (TEXT_TO_VIDEO, IMAGE_TO_VIDEO)}
