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
    return _energy(_profiles(frames), period)


def grid_of(clip: Clip) -> float:
    """The strongest grid of `PERIODS`, in decibels; NaN for frames too small for any."""
    profiles = _profiles(clip.frames)
    found = [value for period in PERIODS if np.isfinite(value := _energy(profiles, period))]
    return max(found, default=float("nan"))


def line_steps(frames: np.ndarray) -> np.ndarray:
    """How much larger steps are across the lines of a grid than beside them, in levels, of each frame `[f]`.

    The lower quartile over lines of medians along them, so that a few edges of the scene are no grid; of the period
    and axis where it is largest.
    """
    steepest = [np.maximum.reduce([*_steps(frames, axis).transpose(3, 0, 1, 2)]) for axis in (1, 2)]
    profiles = [np.median(steps, axis=3 - axis) for axis, steps in enumerate(steepest, start=1)]
    return np.max([_excess(profile, period) for profile in profiles for period in PERIODS], axis=0)


def _steps(frames: np.ndarray, axis: int) -> np.ndarray:
    """Absolute steps of frames `[f, h, w, 3]` from row to row (axis 1) or from column to column (2), uint8."""
    here, there = (frames[:, :-1], frames[:, 1:]) if axis == 1 else (frames[:, :, :-1], frames[:, :, 1:])
    steps = np.maximum(here, there)
    steps -= np.minimum(here, there)
    return steps


def _profiles(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean steps from column to column `[w - 1]`, and from row to row `[h - 1]`, over frames `[f, h, w, 3]`."""
    across = _steps(frames, 2).sum((0, 1), dtype=np.int64).sum(1)
    down = _steps(frames, 1).sum(0, dtype=np.int64).sum((1, 2))
    count, height, width, channels = frames.shape
    return across / (count * height * channels), down / (count * width * channels)


def _energy(profiles: tuple[np.ndarray, np.ndarray], period: int) -> float:
    """The larger of both profiles' `_peaks`; NaN below four periods."""
    if min(map(len, profiles)) + 1 < 4 * period:
        return float("nan")
    return max(_peaks(profile, period) for profile in profiles)


def _peaks(profile: np.ndarray, period: int) -> float:
    """Power of a profile at the multiples of 1 / period over that beside them, in decibels."""
    profile = np.append(profile, profile.mean())  # one step fewer than pixels
    length = len(profile) // period * period
    profile = profile[:length]
    window = np.hanning(length)
    power = np.abs(np.fft.rfft((profile - profile.mean()) * window)) ** 2
    spacing = length // period
    places = np.arange(2, len(power))
    beside = places[np.minimum(places % spacing, -places % spacing) > 1]
    peaks = np.arange(spacing, len(power), spacing)
    nearest = beside[np.argsort(np.abs(beside - peaks[:, None]), axis=1, kind="stable")[:, :NEIGHBOURS]]
    ratios = (power[peaks] + FLOOR) / (np.median(power[nearest], axis=1) + FLOOR)
    return float(10 * np.mean(np.log10(ratios)))


def _excess(profiles: np.ndarray, period: int) -> np.ndarray:
    """Lower quartile over lines of the step across one less the larger of the two further away, 0 at least `[f]`."""
    lines = np.arange(period - 1, profiles.shape[1] - DISTANCE, period)
    if len(lines) < 3:
        return np.zeros(len(profiles))
    beside = np.maximum(profiles[:, lines - DISTANCE], profiles[:, lines + DISTANCE])
    return np.maximum(0.0, np.percentile(profiles[:, lines] - beside, 25, axis=1))
