"""Frame and motion quality of shape videos without learned weights: proxies for VBench's dimensions, not their values.

Only `temporal_flickering` is VBench's own formula. Aesthetic quality has no honest proxy and is left out.
"""

from __future__ import annotations

import cv2
import numpy as np

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
SHARP_FLOOR, SHARP_TRUE = 0.2, 0.7
"""Sharpness (see `_sharpness`) under a blur of two pixels and of true clips; fitted once, then frozen."""
EDGE_SPAN, EDGE_CONTRAST = 7, 48
"""Pixels across an edge, and its least range in levels of 0 … 255: objects have edges above it, textures below."""
HUE_COSINE = 0.86
"""Least cosine between a pixel's chroma and its palette colour's: within about 30 degrees."""
CELL = 32
"""Side of the cells whose mean colour describes a background: above the textures' period, so that pans keep it."""
FLOW_STRIDE = 2
"""Pixel frames between the two of a pair: 8 fps, the rate of VBench's dynamic degree."""
TOP_SHARE = 0.05
FLOW_THRESHOLD = 6 / 256
"""Dynamic degree: mean of the fastest 5 % of the flow above 6 px at a side of 256."""
WARP_GATE = 0.6
"""A pair counts only when warping by the flow removes this much of its difference; noise does not pass."""


def imaging(frames: np.ndarray) -> np.ndarray:
    """Imaging quality of each frame, 0 … 100 `[f]`: colours of this world, sharp edges, no noise."""
    lab = segment.to_lab(frames)
    sharp = np.clip((_sharpness(frames) - SHARP_FLOOR) / (SHARP_TRUE - SHARP_FLOOR), 0, 1)
    return 100 * _on_locus(lab) * sharp * np.exp(-_noise_level(frames) / 10)


def _on_locus(lab: np.ndarray) -> np.ndarray:
    """Share of pixels that are neutral or a mixture of one palette colour with a neutral one `[f]`."""
    palette = segment.palette_lab()[:, 1:]
    nearest, coverage = segment.colour_maps(lab)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    cosine = coverage * np.linalg.norm(palette, axis=1)[nearest] / np.maximum(chroma, 1e-6)
    fits = (chroma < 14) | ((cosine > HUE_COSINE) & (coverage < 1.25))
    return fits.mean((1, 2))


def _sharpness(frames: np.ndarray) -> np.ndarray:
    """Steepest step per pixel as a share of the local range, averaged over strong edges of all channels `[f]`.

    About 0.8 for antialiased edges, 0.4 after a Gaussian of one pixel; 0 where there is no strong edge at all.
    """
    shares = np.zeros(len(frames))
    for i, frame in enumerate(frames):
        steep = total = 0.0
        for line in ((EDGE_SPAN, 1), (1, EDGE_SPAN)):
            kernel = np.ones((line[1], line[0]), np.uint8)
            spread = cv2.subtract(cv2.dilate(frame, kernel), cv2.erode(frame, kernel))
            step = cv2.absdiff(frame[:, 1:], frame[:, :-1]) if line[1] == 1 else cv2.absdiff(frame[1:], frame[:-1])
            step = cv2.copyMakeBorder(step, *((0, 0, 0, 1) if line[1] == 1 else (0, 1, 0, 0)), cv2.BORDER_CONSTANT)
            steepest = cv2.dilate(step, np.ones((1, EDGE_SPAN - 1) if line[1] == 1 else (EDGE_SPAN - 1, 1), np.uint8))
            strong = spread > EDGE_CONTRAST
            steep += float(steepest[strong].sum(dtype=np.float64))
            total += float(spread[strong].sum(dtype=np.float64))
        shares[i] = steep / total if total else 0.0
    return shares


def _noise_level(frames: np.ndarray) -> np.ndarray:
    """Robust standard deviation of the finest diagonal Haar band `[f]`, in levels of 0 … 255."""
    image = frames.astype(np.float32)
    band = (image[:, :-1, :-1] - image[:, :-1, 1:] - image[:, 1:, :-1] + image[:, 1:, 1:]) / 2
    return np.median(np.abs(band).reshape(len(image), -1), axis=1) / 0.6745


def temporal_flickering(frames: np.ndarray) -> float:
    """(255 - mean absolute difference of consecutive frames) / 255, VBench's formula."""
    return 1 - float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean()) / 255


def flow_pairs(frames: np.ndarray) -> np.ndarray:
    """Optical flow between frames `FLOW_STRIDE` apart `[p, H, W, 2]`: per pixel the fastest of the three channels.

    Objects differ from the background in colour more than in brightness, so a single grey flow reads too low.
    """
    kept = frames[::FLOW_STRIDE]
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    channels = np.ascontiguousarray(kept.transpose(0, 3, 1, 2))
    flows = np.empty((len(kept) - 1, *kept.shape[1:3], 2), np.float32)
    still = np.zeros((*kept.shape[1:3], 2), np.float32)
    for out, before, after in zip(flows, channels, channels[1:], strict=False):
        options = np.stack([method.calc(one, two, still) for one, two in zip(before, after, strict=True)])
        speed = (options**2).sum(-1)
        out[:] = np.take_along_axis(options, speed.argmax(0)[None, ..., None], 0)[0]
    return flows


def _warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """`image` read at each pixel plus `flow`."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def motion_smoothness(frames: np.ndarray, flows: np.ndarray) -> float:
    """(255 - error of the odd frames when each is made from its even neighbours by half the flow) / 255."""
    errors = []
    for i, flow in enumerate(flows):
        before, middle, after = frames[FLOW_STRIDE * i : FLOW_STRIDE * i + 3].astype(np.float32)
        made = (_warp(before, -flow / 2) + _warp(after, flow / 2)) / 2
        errors.append(np.abs(made - middle).mean())
    return 1 - float(np.mean(errors)) / 255


def moves_by_flow(frames: np.ndarray, flows: np.ndarray) -> bool:
    """VBench's dynamic degree on DIS flow: at least a quarter of the pairs are fast, and explained by their flow."""
    kept = frames[::FLOW_STRIDE].astype(np.float32)
    speed = np.sort(np.linalg.norm(flows, axis=-1).reshape(len(flows), -1), axis=1)
    top = speed[:, -max(1, int(TOP_SHARE * speed.shape[1])) :].mean(1)
    fast = 0
    for before, after, flow, pace in zip(kept, kept[1:], flows, top, strict=False):
        if pace > FLOW_THRESHOLD * min(frames.shape[1:3]):
            left = np.abs(_warp(after, flow) - before).mean()
            fast += bool(left < WARP_GATE * np.abs(after - before).mean())
    return fast >= round(len(kept) / 4)


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
    flat = features.reshape(frames, -1)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1), 1e-9)[:, None]
    return float(((unit[1:] * unit[:-1]).sum(1) + unit[1:] @ unit[0]).mean()) / 2


def background_consistency(frames: np.ndarray, verdict: Verdict) -> float:
    """The same mean for the background: exp(-colour difference / 10) over cells, times the ratio of contrasts."""
    lab = segment.to_lab(frames)
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

    return float(np.mean([(similarity(t, t - 1) + similarity(t, 0)) / 2 for t in range(1, len(frames))]))


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
