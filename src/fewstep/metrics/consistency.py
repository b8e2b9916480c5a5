"""Whether a clip goes on showing the same, and what it was given: VBench's formulas on any features of frames."""

from __future__ import annotations

import numpy as np

from fewstep.metrics.base import Clip
from fewstep.metrics.frame_features import FrameFeatures, features_of, unit

GIVEN, STEADY, WORST = 0.4, 0.3, 0.3
"""VBench-I2V's weights: the frame most like the picture, the mean over consecutive frames, and their worst."""


def consistency(features: np.ndarray) -> float:
    """Mean over frames t >= 1 of half the cosines with the previous and with the first frame, of features `[f, d]`.

    A negative cosine counts as 0, and so does one with a frame that has no features at all (zeros).
    """
    vectors = unit(features)
    previous = np.maximum(0, (vectors[1:] * vectors[:-1]).sum(1))
    first = np.maximum(0, vectors[1:] @ vectors[0])
    return float((previous + first).mean()) / 2


def faithfulness(picture: np.ndarray, features: np.ndarray) -> float:
    """VBench-I2V's formula for the features of the given picture `[d]` and of the clip `[f, d]`.

    0.4 max_t cos(picture, f_t) + 0.3 mean_t cos(f_t, f_t-1) + 0.3 min_t cos(f_t, f_t-1), negative cosines as 0. A clip
    that repeats the picture has 1, so it means something beside the dynamic degree only.
    """
    vectors = unit(features)
    alike = np.maximum(0, vectors @ unit(picture))
    steady = np.maximum(0, (vectors[1:] * vectors[:-1]).sum(1))
    return float(GIVEN * alike.max() + STEADY * steady.mean() + WORST * steady.min())


def consistency_of(clip: Clip, extractor: FrameFeatures) -> float:
    """`consistency` of a clip's frames."""
    return consistency(features_of(clip, extractor))


def faithfulness_of(clip: Clip, extractor: FrameFeatures) -> float:
    """`faithfulness` of a clip to the picture it was given; NaN without one."""
    if clip.begins_with is None:
        return float("nan")
    return faithfulness(extractor(clip.begins_with[None])[0], features_of(clip, extractor))
