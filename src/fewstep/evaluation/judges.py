"""What a folder of clips can be scored by: each metric on frames, and ShapeBench where the prompts are ShapeWorld's."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fewstep.evaluation.clip_folder import ClipFolder
from fewstep.evaluation.prompts import scene_of
from fewstep.evaluation.quality import QUALITY
from fewstep.evaluation.scores import COLUMNS, COMPANIONS, ROWS, TOTALS, resample, row_of, values_of
from fewstep.evaluation.semantics import SEMANTIC
from fewstep.evaluation.shapebench import frozen_normalisation, score_clip
from fewstep.manifest import Entry
from fewstep.metrics.base import Better, Clip, ClipMetric
from fewstep.metrics.intervals import resampled_means
from fewstep.metrics.sets import SetMetric

Row = Mapping[str, float]
"""Values by name, of one clip or one prompt; NaN where nothing can be said."""
SHAPEBENCH = "shapebench"
EVERY = "all"


class Judge(Protocol):
    """Numbers of a clip, and what they come to over many."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int:
        """Raised whenever the same clip would score otherwise."""
        ...

    @property
    def extractor(self) -> str | None:
        """Id and fingerprint of the features that it rests on."""
        ...

    @property
    def measures(self) -> Mapping[str, tuple[str, Better]]:
        """What it comes to: titles, and which way is better, by name."""
        ...

    def refuses(self, folder: ClipFolder, entry: Entry) -> str | None:
        """Why it can say nothing of a clip, by what the manifest tells; None where it can."""
        ...

    def measure(self, clip: Clip, entry: Entry) -> Row:
        """Of one clip that it does not refuse."""
        ...

    def resample(self, prompts: Sequence[Row]) -> dict[str, np.ndarray]:
        """Each of `measures` on the prompts' values, and then on bootstrap resamples of the prompts `[count + 1]`.

        The draws depend on the number of prompts only, so those of two folders are pairs.
        """
        ...


@dataclass(frozen=True)
class FrameJudge:
    """One metric on frames; over many clips it is their mean."""

    metric: ClipMetric

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def version(self) -> int:
        return self.metric.version

    @property
    def extractor(self) -> str | None:
        return self.metric.extractor

    @property
    def measures(self) -> Mapping[str, tuple[str, Better]]:
        return {self.name: (self.metric.title, self.metric.better)}

    def refuses(self, folder: ClipFolder, entry: Entry) -> str | None:
        least = self.metric.minimum_frames
        if entry.settings.frames < least:
            return f"needs clips of {least} frames or more, got {entry.settings.frames}"
        if self.metric.needs_picture and folder.picture(entry) is None:
            return "needs the picture that a clip begins with, the folder holds none"
        return None

    def measure(self, clip: Clip, entry: Entry) -> Row:
        return {self.name: float(self.metric.measure(clip))}

    def resample(self, prompts: Sequence[Row]) -> dict[str, np.ndarray]:
        return {self.name: resampled_means(np.array([[row[self.name]] for row in prompts]))[:, 0]}


@dataclass(frozen=True)
class ShapeJudge:
    """ShapeBench: every dimension, companion and total in percent, against the scene that the manifest keeps."""

    name: str = SHAPEBENCH
    extractor: str | None = None

    @property
    def version(self) -> int:
        return 100 * ROWS + frozen_normalisation().version

    @property
    def measures(self) -> Mapping[str, tuple[str, Better]]:
        """Each with this judge's name before it: other metrics have the same names and other scales."""
        plain: set[str] = {*COMPANIONS} - {"recognition_rate", "facts_true"}
        names = (*TOTALS, *SEMANTIC, *QUALITY, *COMPANIONS)
        return {
            f"{self.name}.{name}": (f"ShapeBench {name.replace('_', ' ')}", "neither" if name in plain else "higher")
            for name in names
        }

    def refuses(self, folder: ClipFolder, entry: Entry) -> str | None:
        if entry.settings.scene is None:
            return "needs prompts of ShapeWorld with their scenes, as `fewstep sample --prompts shapes:test` keeps them"
        return None

    def measure(self, clip: Clip, entry: Entry) -> Row:
        row = row_of(score_clip(clip, *scene_of(entry.settings)))
        return {name: float(row[name]) for name in COLUMNS}

    def resample(self, prompts: Sequence[Row]) -> dict[str, np.ndarray]:
        return {f"{self.name}.{name}": column for name, column in resample(values_of(prompts)).items()}


def mean_row(rows: Sequence[Row]) -> Row:
    """Means over the seeds of one prompt, of the values that are there."""
    names = rows[0]
    known = {name: [row[name] for row in rows if math.isfinite(row[name])] for name in names}
    return {name: sum(values) / len(values) if values else math.nan for name, values in known.items()}


def choose(
    names: Sequence[str], clip_metrics: Mapping[str, ClipMetric], set_metrics: Mapping[str, SetMetric]
) -> tuple[list[Judge], list[SetMetric]]:
    """Judges and distances by name; `all` is all of them. Raises ValueError for a name that is none."""
    judges: dict[str, Judge] = {name: FrameJudge(metric) for name, metric in clip_metrics.items()}
    judges[SHAPEBENCH] = ShapeJudge()
    known = (*judges, *set_metrics)
    asked = known if EVERY in names else names
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"perhaps you meant '{near[0]}'" if near else f"choose {EVERY}, or from {', '.join(known)}"
            raise ValueError(f"a metric is required, got '{name}': {hint}")
    return [judges[name] for name in judges if name in asked], [
        set_metrics[name] for name in set_metrics if name in asked
    ]
