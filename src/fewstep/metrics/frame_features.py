"""What one frame looks like, as a vector whose cosine is the likeness of two frames: extractors without weights.

Cosines of plain histograms are near 1 for anything, noise included. Two things keep these apart: histograms enter by
their square root, so that a cosine is their overlap (the Bhattacharyya coefficient), and the share of a frame that is
noise enters as the noise itself, which no other frame shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from fewstep.metrics.base import Clip, once_per_clip

VERSION = 1
"""Raised whenever the same frame would have other features."""
SIDE, CELLS = 64, 8
"""Frames are measured at 64 x 64 pixels, in 8 x 8 cells."""
LIGHTNESS_BIN, CHROMA_BIN = 12.5, 16.0
"""Widths of the bins in CIELAB units; a value is shared by the two bins next to it."""
DIRECTIONS = 12
"""Bins of edge direction over half a turn."""
ORIENTATION_WEIGHT = 0.25
"""Weight of edge directions beside colours in an appearance."""


class FrameFeatures(Protocol):
    """Any map from frames to vectors; features of two ids are never compared."""

    @property
    def id(self) -> str:
        """Name, and version or fingerprint of all that the features depend on."""
        ...

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features `[f, d]`, float32, of uint8 RGB frames `[f, h, w, 3]` of any size."""
        ...


@dataclass(frozen=True)
class Appearance:
    """What is in a frame wherever it is: the colours and edge directions of what stands out from the frame's own."""

    @property
    def id(self) -> str:
        """Name and version."""
        return f"appearance:{VERSION}"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features `[f, d]`; an object that moves keeps them, one that changes colour does not."""
        lab = _small_lab(frames)
        base = np.median(lab, axis=(1, 2), keepdims=True)
        smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 1) for image in lab])
        weight = np.linalg.norm(smooth - base, axis=-1)
        colours, edges = _colours(smooth, weight), _directions(smooth)
        known = np.concatenate(
            [np.sqrt(1 - ORIENTATION_WEIGHT) * np.sqrt(colours), np.sqrt(ORIENTATION_WEIGHT) * np.sqrt(edges)], axis=1
        )
        return _with_noise(known, lab)


@dataclass(frozen=True)
class Layout:
    """What is where: the colours of every cell of a frame."""

    @property
    def id(self) -> str:
        """Name and version."""
        return f"layout:{VERSION}"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features `[f, d]`: their cosine is the mean overlap of the cells' colour histograms."""
        lab = _small_lab(frames)
        parts = [_soft(lab[..., 0] / LIGHTNESS_BIN, 10), *(_soft(lab[..., i] / CHROMA_BIN + 8, 17) for i in (1, 2))]
        side = SIDE // CELLS
        pixels = np.concatenate(parts, axis=-1).reshape(len(lab), CELLS, side, CELLS, side, -1)
        shares = pixels.mean((2, 4)) / (len(parts) * CELLS**2)
        return _with_noise(np.sqrt(shares.reshape(len(lab), -1)), lab)


@once_per_clip
def features_of(clip: Clip, extractor: FrameFeatures) -> np.ndarray:
    """Features of every frame of a clip, divided by their length `[f, d]`."""
    return unit(extractor(clip.frames))


def unit(features: np.ndarray) -> np.ndarray:
    """Vectors of length 1 `[..., d]`; zeros stay zeros."""
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-9)


def _small_lab(frames: np.ndarray) -> np.ndarray:
    """CIELAB `[f, 64, 64, 3]` (L in 0 … 100) of frames squeezed to a square."""
    way = cv2.INTER_AREA if min(frames.shape[1:3]) >= SIDE else cv2.INTER_LINEAR
    small = [cv2.resize(frame, (SIDE, SIDE), interpolation=way) for frame in frames]
    return np.stack([cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for frame in small])


def _soft(values: np.ndarray, bins: int) -> np.ndarray:
    """Each value as shares of the two bins next to it `[..., bins]`; a value at a bin's centre is all in it."""
    return np.maximum(0, 1 - np.abs(np.clip(values, 0, bins - 1)[..., None] - np.arange(bins, dtype=np.float32)))


def _colours(lab: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Histograms `[f, bins]` of weighted pixels over a and b together, lightness in three."""
    light = _soft(lab[..., 0] / 50, 3) * weight[..., None]
    red, yellow = (_soft(lab[..., i] / (2 * CHROMA_BIN) + 4, 9) for i in (1, 2))
    both = (light[..., :, None] * red[..., None, :]).reshape(len(lab), SIDE * SIDE, -1)
    return _shares(both.transpose(0, 2, 1) @ yellow.reshape(len(lab), SIDE * SIDE, -1), weight)


def _shares(sums: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sums of weighted pixels as shares `[f, bins]` of all weight: of sum 1 at most, less where nothing has any."""
    return sums.reshape(len(sums), -1) / np.maximum(weight.sum((1, 2)), 1e-3)[:, None]


def _directions(lab: np.ndarray) -> np.ndarray:
    """Share of the edges in each of `DIRECTIONS` directions `[f, DIRECTIONS]`, by the channel of the steepest step."""
    gy, gx = np.gradient(lab, axis=(1, 2))
    steepest = np.hypot(gx, gy).argmax(-1)[..., None]
    gx, gy = (np.take_along_axis(g, steepest, -1)[..., 0] for g in (gx, gy))
    turn = (np.arctan2(gy, gx) % np.pi) / np.pi * DIRECTIONS
    bins = _soft(turn, DIRECTIONS + 1)
    bins[..., 0] += bins[..., -1]
    length = np.hypot(gx, gy)
    return _shares((bins[..., :-1] * length[..., None]).sum((1, 2)), length)


def _with_noise(known: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """`known` scaled to the share of the frame that is no noise, and the frame's finest detail for the rest.

    The noise's variance is that of the finest diagonal detail, robustly, so edges do not count as noise.
    """
    detail = (lab[:, :-1, :-1] - lab[:, :-1, 1:] - lab[:, 1:, :-1] + lab[:, 1:, 1:]) / 2
    flat = detail.reshape(len(lab), -1, 3)
    noise = ((np.median(np.abs(flat), axis=1) / 0.6745) ** 2).sum(-1)
    total = lab.reshape(len(lab), -1, 3).var(axis=1).sum(-1)
    share = np.clip(noise / np.maximum(total, 1e-6), 0, 1)[:, None]
    return np.concatenate([np.sqrt(1 - share) * unit(known), np.sqrt(share) * unit(flat.reshape(len(lab), -1))], axis=1)
