"""Quality of shape videos by what the recogniser knows: proxies for VBench's dimensions, not their values.

What any clip can be measured by is in `metrics`. Aesthetic quality has no honest proxy and is left out.
"""

from __future__ import annotations

import numpy as np

from fewstep.metrics.base import Clip, once_per_clip
from fewstep.metrics.consistency import consistency
from fewstep.metrics.flow import warp
from fewstep.metrics.imaging import sharp_and_clean
from fewstep.metrics.motion import fast_pairs, is_dynamic
from fewstep.shapes import segment
from fewstep.shapes.recognise import Verdict
from fewstep.shapes.scene import FILLS, SHAPES

QUALITY = (
    "subject_consistency",
    "background_consistency",
    "temporal_flickering",
    "motion_smoothness",
    "dynamic_degree",
    "imaging_quality",
)
HUE_COSINE = 0.86
"""Least cosine between a pixel's chroma and its palette colour's: within about 30 degrees."""
CELL = 32
"""Side of the cells whose mean colour describes a background: above the textures' period, so that pans keep it."""
FLOW_STRIDE = 2
"""Pixel frames between the two of a pair: 8 fps, the rate of VBench's dynamic degree."""
WARP_GATE = 0.6
"""A pair counts only when warping by the flow removes this much of its difference; noise does not pass."""


def imaging(clip: Clip) -> np.ndarray:
    """Imaging quality of each frame, 0 … 100 `[f]`: colours of this world, sharp edges, no noise."""
    return 100 * _on_locus(_lab_of(clip)) * sharp_and_clean(clip)


@once_per_clip
def _lab_of(clip: Clip) -> np.ndarray:
    return segment.to_lab(clip.frames)


def _on_locus(lab: np.ndarray) -> np.ndarray:
    """Share of pixels that are neutral or a mixture of one palette colour with a neutral one `[f]`."""
    palette = segment.palette_lab()[:, 1:]
    nearest, coverage = segment.colour_maps(lab)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    cosine = coverage * np.linalg.norm(palette, axis=1)[nearest] / np.maximum(chroma, 1e-6)
    fits = (chroma < 14) | ((cosine > HUE_COSINE) & (coverage < 1.25))
    return fits.mean((1, 2))


def moves_by_flow(frames: np.ndarray, flows: np.ndarray) -> bool:
    """VBench's dynamic degree on DIS flow: at least a quarter of the pairs are fast, and explained by their flow."""
    kept = frames[::FLOW_STRIDE].astype(np.float32)
    fast = fast_pairs(flows)
    for i in np.flatnonzero(fast):
        left = np.abs(warp(kept[i + 1], flows[i]) - kept[i]).mean()
        fast[i] = left < WARP_GATE * np.abs(kept[i + 1] - kept[i]).mean()
    return is_dynamic(fast)


def subject_consistency(verdict: Verdict) -> float:
    """Mean over frames of the cosine with the previous and with the first frame of what the objects look like.

    Features: per palette colour the object's linear size times one-hot shape and fill. Where no object has a
    recognisable shape there is no similarity.
    """
    frames = len(verdict.backgrounds)
    features = np.zeros((frames, len(segment.PALETTE), len(SHAPES) + len(FILLS) + 2))
    for colour, track in verdict.tracks.items():
        slot = segment.PALETTE.index(colour)
        size = np.where(track.shapes >= 0, np.sqrt(np.nan_to_num(track.area)), 0.0)
        features[np.arange(frames), slot, track.shapes + 1] = size
        features[np.arange(frames), slot, len(SHAPES) + 2 + track.fills] = size
    return consistency(features.reshape(frames, -1))


def background_consistency(clip: Clip, verdict: Verdict) -> float:
    """The same mean for the background: exp(-colour difference / 10) over cells, times the ratio of contrasts."""
    lab = _lab_of(clip)
    weight = verdict.free.astype(np.float32)
    count = _cells(weight[..., None])
    mean = _cells(lab * weight[..., None]) / np.maximum(count, 1e-6)
    known = count[..., 0] > 0.2
    contrast = np.sqrt(_variance(lab[..., 0], weight))

    def similarity(i: int, j: int) -> float:
        both = known[i] & known[j]
        if both.mean() < 0.2:
            return 0.0
        distance = np.linalg.norm(mean[i][both] - mean[j][both], axis=-1).mean()
        ratio = (min(contrast[i], contrast[j]) + 1) / (max(contrast[i], contrast[j]) + 1)
        return float(np.exp(-distance / 10) * ratio)

    return float(np.mean([(similarity(t, t - 1) + similarity(t, 0)) / 2 for t in range(1, len(lab))]))


def _cells(values: np.ndarray) -> np.ndarray:
    """Means `[f, rows, columns, c]` over square cells of `[f, H, W, c]`; a remainder at the border is left out."""
    frames, height, width, channels = values.shape
    rows, columns = height // CELL, width // CELL
    blocks = values[:, : rows * CELL, : columns * CELL].reshape(frames, rows, CELL, columns, CELL, channels)
    return blocks.mean((2, 4))


def _variance(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted variance of each frame `[f]`."""
    total = np.maximum(weight.sum((1, 2)), 1)
    mean = (values * weight).sum((1, 2)) / total
    return ((values - mean[:, None, None]) ** 2 * weight).sum((1, 2)) / total
