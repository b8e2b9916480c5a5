"""Grids in a picture, as blocks of a codec or patches of a transformer leave them (AAD-1, Figure 9)."""

from __future__ import annotations

import numpy as np

from fewstep.metrics.base import Clip

PERIODS = (8, 16)
"""Pixels from line to line: a codec's blocks and an autoencoder's cells; patches of two of those (Wan)."""
NEIGHBOURS = 6
"""Frequencies that a peak is compared with."""
FLOOR = 0.1
"""Power that counts as none: a flat picture has no grid."""
DISTANCE = 3
"""Pixels from a grid's line to the steps that it is compared with."""


def grid_energy(frames: np.ndarray, period: int) -> float:
    """How far the frequencies of a grid stand out in the edges of frames `[f, h, w, 3]`, in decibels.

    The mean absolute step from pixel to pixel, as a profile over columns (and over rows), has a grid's lines at fixed
    places. The value is its power at the multiples of 1 / period over the median power of frequencies next to them,
    averaged over the multiples, of the axis where it is larger: a few decibels without a grid, more where the scene
    itself has stripes or tiles of that period. NaN for frames of less than four periods.
    """
    if min(frames.shape[1:3]) < 4 * period:
        return float("nan")
    across, down = 0.0, 0.0
    for frame in frames.astype(np.int16):
        across = across + np.abs(np.diff(frame, axis=1)).mean((0, 2))
        down = down + np.abs(np.diff(frame, axis=0)).mean((1, 2))
    return max(_peaks(np.asarray(profile) / len(frames), period) for profile in (across, down))


def grid_of(clip: Clip) -> float:
    """The strongest grid of `PERIODS`, in decibels; NaN for frames too small for any."""
    found = [value for period in PERIODS if np.isfinite(value := grid_energy(clip.frames, period))]
    return max(found, default=float("nan"))


def line_steps(frame: np.ndarray) -> float:
    """How much larger steps are across the lines of a grid than beside them, in levels, of a frame `[h, w, 3]`.

    The lower quartile over lines of medians along them, so that a few edges of the scene are no grid; of the period
    and axis where it is largest.
    """
    image = frame.astype(np.int16)
    profiles = [np.median(np.abs(np.diff(image, axis=axis)).max(2), axis=1 - axis) for axis in (0, 1)]
    return max(_excess(profile, period) for profile in profiles for period in PERIODS)


def _peaks(profile: np.ndarray, period: int) -> float:
    """Power of a profile at the multiples of 1 / period over that beside them, in decibels."""
    profile = np.append(profile, profile.mean())  # one step fewer than pixels
    length = len(profile) // period * period
    profile = profile[:length]
    window = np.hanning(length)
    power = np.abs(np.fft.rfft((profile - profile.mean()) * window)) ** 2
    spacing = length // period
    beside = np.array([k for k in range(2, len(power)) if min(k % spacing, -k % spacing) > 1])
    ratios = []
    for peak in range(spacing, len(power), spacing):
        nearest = beside[np.argsort(np.abs(beside - peak), kind="stable")[:NEIGHBOURS]]
        ratios.append((power[peak] + FLOOR) / (np.median(power[nearest]) + FLOOR))
    return float(10 * np.mean(np.log10(ratios)))


def _excess(profile: np.ndarray, period: int) -> float:
    """Lower quartile over lines of the step across one less the larger of the two further away, 0 at least."""
    lines = np.arange(period - 1, len(profile) - DISTANCE, period)
    if len(lines) < 3:
        return 0.0
    beside = np.maximum(profile[lines - DISTANCE], profile[lines + DISTANCE])
    return max(0.0, float(np.percentile(profile[lines] - beside, 25)))
