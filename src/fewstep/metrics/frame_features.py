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
from fewstep.metrics.imaging import medians

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


@dataclass(frozen=True, eq=False)
class Look:
    """Frames as the extractors below begin with them."""

    lab: np.ndarray
    """CIELAB `[f, 64, 64, 3]`, L in 0 … 100."""
    noise: np.ndarray
    """Share of each frame that is noise `[f, 1]`."""
    detail: np.ndarray
    """The frame's finest diagonal detail, of length 1 `[f, d]`."""

    @classmethod
    def of(cls, frames: np.ndarray) -> Look:
        """Of uint8 RGB frames of any size, squeezed to a square.

        The noise's variance is that of the finest diagonal detail, robustly, so edges do not count as noise.
        """
        way = cv2.INTER_AREA if min(frames.shape[1:3]) >= SIDE else cv2.INTER_LINEAR
        small = [cv2.resize(frame, (SIDE, SIDE), interpolation=way) for frame in frames]
        lab = np.stack([cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for frame in small])
        detail = (lab[:, :-1, :-1] - lab[:, :-1, 1:] - lab[:, 1:, :-1] + lab[:, 1:, 1:]) / 2
        noise = ((medians(np.abs(_planes(detail)).reshape(3, len(lab), -1)) / 0.6745) ** 2).sum(0)
        total = _planes(lab).reshape(3, len(lab), -1).var(axis=2).sum(0)
        share = np.clip(noise / np.maximum(total, 1e-6), 0, 1)[:, None]
        return cls(lab, share, unit(detail.reshape(len(lab), -1)))

    def beside_noise(self, known: np.ndarray) -> np.ndarray:
        """`known [f, d]` scaled to the share of the frame that is no noise, and the finest detail for the rest."""
        return np.concatenate([np.sqrt(1 - self.noise) * unit(known), np.sqrt(self.noise) * self.detail], axis=1)


@dataclass(frozen=True)
class Appearance:
    """What is in a frame wherever it is: the colours and edge directions of what stands out from the frame's own."""

    @property
    def id(self) -> str:
        """Name and version."""
        return f"appearance:{VERSION}"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features `[f, d]`; an object that moves keeps them, one that changes colour does not."""
        return self.of(Look.of(frames))

    def of(self, look: Look) -> np.ndarray:
        """The same of frames that were looked at already."""
        base = medians(_planes(look.lab).reshape(3, len(look.lab), -1))
        smooth = _planes(np.stack([cv2.GaussianBlur(image, (0, 0), 1) for image in look.lab]))
        weight = np.sqrt(((smooth - base[:, :, None, None]) ** 2).sum(0))
        colours, edges = _colours(smooth, weight), _directions(smooth)
        known = np.concatenate(
            [np.sqrt(1 - ORIENTATION_WEIGHT) * np.sqrt(colours), np.sqrt(ORIENTATION_WEIGHT) * np.sqrt(edges)], axis=1
        )
        return look.beside_noise(known)


@dataclass(frozen=True)
class Layout:
    """What is where: the colours of every cell of a frame."""

    @property
    def id(self) -> str:
        """Name and version."""
        return f"layout:{VERSION}"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features `[f, d]`: their cosine is the mean overlap of the cells' colour histograms."""
        return self.of(Look.of(frames))

    def of(self, look: Look) -> np.ndarray:
        """The same of frames that were looked at already."""
        side = SIDE // CELLS
        cells = _planes(look.lab).reshape(3, -1, CELLS, side, CELLS, side).swapaxes(3, 4)
        light, red, yellow = cells.reshape(3, -1, CELLS**2, side**2)
        parts = [_soft(light / LIGHTNESS_BIN, 10), *(_soft(values / CHROMA_BIN + 8, 17) for values in (red, yellow))]
        sums = np.concatenate([each.sum(-1) for each in parts])
        shares = sums.transpose(1, 2, 0) / (side**2 * len(parts) * CELLS**2)
        return look.beside_noise(np.sqrt(shares.reshape(len(look.lab), -1)))


@once_per_clip
def features_of(clip: Clip, extractor: FrameFeatures) -> np.ndarray:
    """Features of every frame of a clip, divided by their length `[f, d]`."""
    if isinstance(extractor, Appearance | Layout):
        return unit(extractor.of(_look_of(clip)))
    return unit(extractor(clip.frames))


@once_per_clip
def _look_of(clip: Clip) -> Look:
    return Look.of(clip.frames)


def unit(features: np.ndarray) -> np.ndarray:
    """Vectors of length 1 `[..., d]`; zeros stay zeros."""
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-9)


def _planes(images: np.ndarray) -> np.ndarray:
    """`[f, h, w, 3]` as `[3, f, h, w]`, one channel after the other in memory."""
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2))


def _soft(values: np.ndarray, bins: int) -> np.ndarray:
    """Each value as shares of the two bins next to it `[bins, …]`; a value at a bin's centre is all in it."""
    inside = np.clip(values, 0, bins - 1)
    shares = np.empty((bins, *values.shape), np.float32)
    for place, out in enumerate(shares):
        np.abs(inside - place, out=out)
        np.maximum(0, 1 - out, out=out)
    return shares


def _colours(smooth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Histograms `[f, bins]` of weighted pixels `[3, f, h, w]` over a and b together, lightness in three."""
    light, red, yellow = smooth.reshape(3, len(weight), -1)
    reds, yellows = (_soft(values / (2 * CHROMA_BIN) + 4, 9) for values in (red, yellow))
    lights = _soft(light / 50, 3) * weight.reshape(light.shape)
    both = (lights[:, None] * reds).reshape(-1, *light.shape)
    return _shares(both.swapaxes(0, 1) @ yellows.transpose(1, 2, 0), weight)


def _shares(sums: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sums of weighted pixels as shares `[f, bins]` of all weight: of sum 1 at most, less where nothing has any."""
    return sums.reshape(len(sums), -1) / np.maximum(weight.sum((1, 2)), 1e-3)[:, None]


def _directions(lab: np.ndarray) -> np.ndarray:
    """Share of the edges in each of `DIRECTIONS` directions `[f, DIRECTIONS]`, by the channel of the steepest step.

    `lab` is `[3, f, h, w]`.
    """
    gy, gx = np.gradient(lab, axis=(2, 3))
    x, y = gx[0], gy[0]
    most = x**2 + y**2
    for across, down in zip(gx[1:], gy[1:], strict=True):
        square = across**2 + down**2
        steeper = square > most
        x, y, most = (np.where(steeper, new, old) for new, old in ((across, x), (down, y), (square, most)))
    turn = (np.arctan2(y, x) % np.pi) / np.pi * DIRECTIONS
    length = np.sqrt(most)
    bins = (_soft(turn, DIRECTIONS + 1) * length).sum((2, 3))
    bins[0] += bins[-1]
    return _shares(bins[:-1].T, length)
