"""Read the background: which texture it carries, and how the camera moves over it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fewstep.shapes.scene import BACKGROUNDS, CAMERA_SPEED, CAMERAS, ZOOM_RANGE

TEXTURE_SPREAD = 2.2
"""Standard deviation of the smoothed background, in grey levels, from which it is textured (checks have 12, dots 8)."""
NOISE_SPREAD = 7.0
"""Spread up to which an irregular background is noise on a plain or graded one; above, it is unrecognised."""
RAMP = 4.0
"""Standard deviation of the fitted plane from which a background is a gradient."""
TONE, TONE_RATIO = 0.42, 1.8
"""Least share of the spectrum's band on the axes (dots) or the diagonals (checks), and its lead over the other."""
NEUTRAL_CHROMA = 14.0
UNKNOWN = -1


@dataclass(frozen=True)
class Camera:
    """Camera motion per pixel frame: translation in pixels (x, y) and the logarithm of the magnification."""

    name: str | None
    shift: tuple[float, float]
    log_zoom: float


def smooth(frames: np.ndarray) -> np.ndarray:
    """Mean of the channels `[f, H, W]`, Gaussian with one pixel standard deviation."""
    grey = frames.mean(-1, dtype=np.float32)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in grey])


def textures(grey: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Index into BACKGROUNDS per frame `[f]`, -1 where unrecognised; `free` marks neutral pixels away from objects."""
    frames, height, width = grey.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    basis = np.stack([np.ones_like(x), x, y]).reshape(3, -1)
    weight, values = free.reshape(frames, -1).astype(np.float32), grey.reshape(frames, -1)
    count = weight.sum(1)
    gram = np.einsum("fp,ip,jp->fij", weight, basis, basis) + 1e-3 * np.eye(3)
    plane = np.linalg.solve(gram, np.einsum("fp,ip->fi", weight * values, basis)[..., None])[..., 0]
    rest = (values - plane @ basis) * weight
    spread = np.sqrt((rest**2).sum(1) / np.maximum(count, 1))
    ramp = np.linalg.norm(plane[:, 1:], axis=1) / np.sqrt(3)
    axes, diagonals = _tones(rest.reshape(grey.shape))
    labels = np.where(ramp > RAMP, BACKGROUNDS.index("gradient"), BACKGROUNDS.index("plain"))
    textured = np.where(axes > diagonals, BACKGROUNDS.index("dotted"), BACKGROUNDS.index("checkered"))
    most, least = np.maximum(axes, diagonals), np.minimum(axes, diagonals)
    tonal = (most >= TONE) & (most >= TONE_RATIO * least)
    labels = np.where((spread > TEXTURE_SPREAD) & tonal, textured, labels)
    labels = np.where((spread > NOISE_SPREAD) & ~tonal, UNKNOWN, labels)
    return np.where(count >= 0.25 * height * width, labels, UNKNOWN)


def _tones(rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the band around the textures' frequencies within 15° of the axes and of the diagonals `[f]`."""
    _, height, width = rest.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    power = np.abs(np.fft.rfft2(rest * window)) ** 2
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    band = (np.hypot(fy, fx) > 0.04) & (np.hypot(fy, fx) < 0.13)
    angle = np.degrees(np.arctan2(np.abs(fy), fx)) % 90
    axis, diagonal = np.minimum(angle, 90 - angle) < 15, np.abs(angle - 45) < 15
    total = power[:, band].sum(1) + 1e-6
    return power[:, band & axis].sum(1) / total, power[:, band & diagonal].sum(1) / total


def camera_motion(grey: np.ndarray, free: np.ndarray) -> Camera:
    """Global translation and zoom between consecutive frames by least squares on the brightness constancy equation.

    The gradient is that of the two frames' mean, so the linearisation is exact to second order in the displacement.
    Directions without texture are damped to zero. The verdict is on the median over frame pairs.
    """
    if len(grey) < 2:
        return Camera("static", (0.0, 0.0), 0.0)
    mean, change = (grey[1:] + grey[:-1]) / 2, grey[1:] - grey[:-1]
    gy, gx = np.gradient(mean, axis=(1, 2))
    _, height, width = grey.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radial = gx * (x + 0.5 - width / 2) + gy * (y + 0.5 - height / 2)
    weight = (free[1:] & free[:-1]).astype(np.float32)
    parts = np.stack([gx, gy, radial], 1).reshape(len(mean), 3, -1)
    weighted = parts * weight.reshape(len(mean), 1, -1)
    gram = weighted @ parts.transpose(0, 2, 1)
    damping = np.diag([DAMPING, DAMPING, DAMPING * (width / 4) ** 2]) * weight.sum((1, 2))[:, None, None]
    right = -(weighted @ change.reshape(len(mean), -1, 1))
    flow = np.median(np.linalg.solve(gram + damping + 1e-6 * np.eye(3), right)[..., 0], axis=0)
    shift, log_zoom = (float(-flow[0]), float(-flow[1])), float(flow[2])
    return Camera(_camera_name(shift, log_zoom, len(grey)), shift, log_zoom)


DAMPING = 0.02
"""Ridge in squared grey levels per pixel: textures have gradients of about 2, smoothed noise far less."""


def _camera_name(shift: tuple[float, float], log_zoom: float, frames: int) -> str | None:
    zoom = log_zoom / (np.log(ZOOM_RANGE) / 32)
    if abs(zoom) > 0.5:
        return "zoom in" if zoom > 0 else "zoom out"
    speed = np.hypot(*shift) / CAMERA_SPEED
    if speed < 0.5:
        return "static"
    name, way = max(CAMERAS.items(), key=lambda item: item[1][0] * shift[0] + item[1][1] * shift[1])
    along = (way[0] * shift[0] + way[1] * shift[1]) / np.hypot(*shift)
    return name if along > 0.9 and speed < 2 else None
