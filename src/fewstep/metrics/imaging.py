"""Imaging quality of single frames without a reference: sharp edges, no noise, no grid."""

from __future__ import annotations

import cv2
import numpy as np

from fewstep.metrics.base import Clip, once_per_clip
from fewstep.metrics.flow import small_frames
from fewstep.metrics.grid import line_steps

SHARP_FLOOR, SHARP_TRUE = 0.2, 0.7
"""Sharpness (see `sharpness`) under a blur of two pixels and of true clips; fitted once, then frozen."""
EDGE_SPAN, EDGE_CONTRAST = 7, 48
"""Pixels across an edge, and its least range in levels of 0 … 255: objects have edges above it, textures below."""
NOISE_SCALE = 10
"""Standard deviation of noise, or step across the lines of a grid, in levels of 0 … 255, that divides quality by e."""


def sharp_share(frames: np.ndarray) -> np.ndarray:
    """Sharpness on a scale from that of a blur of two pixels, 0, to that of antialiased edges, 1 `[f]`."""
    return np.clip((sharpness(frames) - SHARP_FLOOR) / (SHARP_TRUE - SHARP_FLOOR), 0, 1)


@once_per_clip
def noise_of(clip: Clip, *, small: bool = False) -> np.ndarray:
    """`noise_level` of each frame, or of the `small_frames` that flow sees `[f]`."""
    if small and small_frames(clip) is clip.frames:
        return noise_of(clip)
    return noise_level(small_frames(clip) if small else clip.frames)


@once_per_clip
def sharp_and_clean(clip: Clip) -> np.ndarray:
    """Share of sharpness, at the size that flow is taken at, times e^-noise / 10 `[f]`."""
    return sharp_share(small_frames(clip)) * np.exp(-noise_of(clip) / NOISE_SCALE)


def sharpness(frames: np.ndarray) -> np.ndarray:
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


def noise_level(frames: np.ndarray) -> np.ndarray:
    """Robust standard deviation of the finest diagonal Haar band `[f]`, in levels of 0 … 255."""
    levels = np.zeros(len(frames))
    for i, frame in enumerate(frames):
        image = frame.astype(np.int16)
        band = image[:-1, :-1] - image[:-1, 1:] - image[1:, :-1] + image[1:, 1:]
        levels[i] = medians(np.abs(band).ravel()) / 2 / 0.6745
    return levels


def medians(rows: np.ndarray) -> np.ndarray:
    """Median over the last axis, as NumPy's, which takes three times as long because it looks for NaN."""
    middle = rows.shape[-1] // 2
    parted = np.partition(rows, middle, axis=-1)
    upper = parted[..., middle]
    return upper if rows.shape[-1] % 2 else parted[..., :middle].max(-1) / 2 + upper / 2


@once_per_clip
def imaging_of_frames(clip: Clip) -> np.ndarray:
    """Imaging quality of each frame, 0 … 100 `[f]`: its sharpness at the size that flow is taken at, noise and grid.

    A frame without any strong edge has 0. It compares clips of one world at one size, and is no MUSIQ.
    """
    return 100 * sharp_and_clean(clip) * np.exp(-line_steps(clip.frames) / NOISE_SCALE)


def imaging_of(clip: Clip) -> float:
    """Mean imaging quality over a clip's frames, 0 … 100."""
    return float(imaging_of_frames(clip).mean())
