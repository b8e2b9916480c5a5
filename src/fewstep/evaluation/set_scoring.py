"""Distances between whole folders of clips, on features that are extracted once and kept beside the clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fewstep.evaluation.clip_folder import ClipError, ClipFolder
from fewstep.metrics.base import Clip, Estimate
from fewstep.metrics.features import FeatureCache, FeatureError, FeatureSet, VideoFeatures, extract
from fewstep.metrics.sets import SetMetric, compare_sets, remarks

FEATURES = "features"
"""Folder beside the clips."""
AT_ONCE = 16
"""Clips in memory."""


@dataclass(frozen=True)
class Reference:
    """What folders are compared with as a whole, and by what."""

    folder: ClipFolder
    extractor: VideoFeatures
    metrics: Sequence[SetMetric]


@dataclass(frozen=True)
class SetScore:
    """One distance of a folder from its reference."""

    metric: SetMetric
    extractor: str
    reference: str
    """Name of the other folder."""
    clips: tuple[int, int]
    """Of the folder and of the reference."""
    estimate: Estimate
    p_value: float | None
    """Chance of a distance as large between two draws from one law, where the metric has a test."""
    remarks: tuple[str, ...] = ()
    """What its numbers of clips mean for it."""


def features_of(
    folder: ClipFolder, extractor: VideoFeatures, advance: Callable[[int], None] = lambda clips: None
) -> FeatureSet:
    """Features of every clip of a folder that is what the manifest says, those known from before read back.

    Raises FeatureError where the extractor cannot take the clips, or none is left.
    """
    cache, found, clips = FeatureCache(folder.path / FEATURES), [], list[Clip]()
    for number, entry in enumerate(folder.entries, start=1):
        try:
            clips.append(folder.read(entry))
        except ClipError:
            advance(1)
        if clips and (len(clips) == AT_ONCE or number == len(folder.entries)):
            found.append(extract(extractor, clips, cache, advance=advance).values)
            clips = []
    if not found:
        raise FeatureError(f"'{folder.name}' has no clip that is what its manifest says: sample it again")
    return FeatureSet(extractor.id, np.concatenate(found))


def score_sets(
    one: FeatureSet, reference: FeatureSet, name: str, metrics: Sequence[SetMetric]
) -> tuple[list[SetScore], dict[str, str]]:
    """The distances that the numbers of clips allow, and why the others cannot be told, by metric."""
    scores, reasons = [], {}
    for metric in metrics:
        try:
            estimate = compare_sets(metric, one, reference)
        except FeatureError as error:
            reasons[metric.name] = str(error)
            continue
        p_value = None if metric.p_value is None else metric.p_value(one.values, reference.values)
        said = tuple(remarks(metric, one, reference))
        scores.append(SetScore(metric, one.extractor, name, (len(one), len(reference)), estimate, p_value, said))
    return scores, reasons
