"""How the camera moves: one similarity transform per pair of frames, agreed on by most of what has texture."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import cv2
import numpy as np

from fewstep.metrics.base import Clip, once_per_clip
from fewstep.metrics.flow import flows_of, small_frames, stride_of

CELLS, POINTS = 4, 6
"""The picture in 4 x 4 cells, 6 x 6 points in each."""
TEXTURE = 3.0
"""Least step per pixel, in levels of 0 … 255, where flow can be trusted."""
AGREEMENT = 0.5
"""Share of the points with texture, and of the cells along the border, that must follow the camera: no object is there
on all sides."""
STATIC = 0.02
"""A camera rests below this shift of the picture's middle, or of its edge by zooming, over the whole clip, in sides."""
WAYS = {"pan": ("left", "right"), "tilt": ("up", "down"), "zoom": ("out", "in")}
"""Motions of a camera, each to its negative and its positive side."""
EYE = r"\b(?:camera|view|shot)\b[\w\s,]{0,40}?"
ASKED = {
    f"{kind} {way}": re.compile(rf"(?:{EYE}\b{kind}(?:s|n?ing|n?ed)?\b[\w\s]{{0,14}}?|\b{kind} )\b{way}(?:wards?)?\b")
    for kind, ways in WAYS.items()
    for way in ways
} | {
    "static": re.compile(
        r"\bcamera (?:is |stays |remains )?(?:static|still|fixed|does not move)|\b(?:static|fixed) camera"
    )
}
"""What a prompt asks of the camera: VBench-I2V's seven words ("camera pans left"), and the like."""


@dataclass(frozen=True)
class CameraMotion:
    """Motion of the camera over a whole clip; a camera that pans right (+x) shifts the picture to the left."""

    pan: float
    """To the right, in short sides of the picture."""
    tilt: float
    """Downwards, in short sides."""
    log_zoom: float
    """Logarithm of the magnification."""

    @property
    def name(self) -> str:
        """The strongest of pan, tilt and zoom, or "static"; a zoom counts by the shift of the picture's edge."""
        sizes = {"pan": self.pan, "tilt": self.tilt, "zoom": self.log_zoom / 2}
        kind = max(sizes, key=lambda key: abs(sizes[key]))
        if abs(sizes[kind]) < STATIC:
            return "static"
        return f"{kind} {WAYS[kind][sizes[kind] > 0]}"


@once_per_clip
def camera_motion(clip: Clip) -> CameraMotion | None:
    """The camera's motion; None where most of the picture has no texture, or does not move as one.

    DIS flow at points with texture, a similarity by RANSAC for every pair of frames at 8 fps, the median over pairs
    times their number.
    """
    stride = stride_of(clip.fps)
    kept = small_frames(clip)[::stride]
    if len(kept) < 2:
        return None
    found = [_between(frame, flow) for frame, flow in zip(kept, flows_of(clip, stride), strict=False)]
    steps = np.array([step for step in found if step is not None])
    if len(steps) < AGREEMENT * len(found):
        return None
    dx, dy, log_zoom = np.median(steps, axis=0) * len(found)
    side = min(kept.shape[1:3])
    return CameraMotion(float(-dx / side), float(-dy / side), float(log_zoom))


def asked_of_camera(prompt: str) -> str | None:
    """The camera's motion that a prompt names; None where it names none, or more than one."""
    named = {name for name, pattern in ASKED.items() if pattern.search(prompt.lower())}
    return named.pop() if len(named) == 1 else None


def obedience_of(clip: Clip) -> float:
    """1 where the camera is seen to move as the prompt asks, else 0; NaN where the prompt asks nothing of it."""
    asked = asked_of_camera(clip.prompt)
    if asked is None:
        return float("nan")
    motion = camera_motion(clip)
    return float(motion is not None and motion.name == asked)


def speed_of(clip: Clip) -> float:
    """Speed of the camera, in short sides per second, zoom by the shift of the edge; NaN where it cannot be seen."""
    motion = camera_motion(clip)
    if motion is None:
        return float("nan")
    stride = stride_of(clip.fps)
    seconds = (len(clip.frames) - 1) // stride * stride / clip.fps
    return math.hypot(motion.pan, motion.tilt, motion.log_zoom / 2) / seconds


def _between(frame: np.ndarray, flow: np.ndarray) -> tuple[float, float, float] | None:
    """Shift of the picture's middle (x, y) in pixels and logarithm of the magnification, from one frame to the next."""
    height, width = flow.shape[:2]
    rows, columns = ((np.arange(CELLS * POINTS) + 0.5) * size / (CELLS * POINTS) for size in (height, width))
    y, x = (grid.ravel().astype(int) for grid in np.meshgrid(rows, columns, indexing="ij"))
    textured = _slopes(cv2.GaussianBlur(frame, (0, 0), 1).astype(np.int16), y, x) > TEXTURE
    y, x = y[textured], x[textured]
    if len(x) < CELLS * CELLS:
        return None
    start = np.stack([x, y], 1).astype(np.float32)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix, inliers = cv2.estimateAffinePartial2D(
        start, start + flow[y, x], ransacReprojThreshold=_reach(height, width)
    )
    if not inliers.any():
        return None  # then there is no matrix
    follows = inliers.ravel().astype(bool)
    row, column = (y * CELLS // height)[follows], (x * CELLS // width)[follows]
    outer = (row % (CELLS - 1) == 0) | (column % (CELLS - 1) == 0)
    border = set(zip(row[outer].tolist(), column[outer].tolist(), strict=True))
    if follows.mean() < AGREEMENT or len(border) < AGREEMENT * 4 * (CELLS - 1):
        return None
    shift = matrix[:, :2] @ middle + matrix[:, 2] - middle
    return float(shift[0]), float(shift[1]), math.log(math.hypot(matrix[0, 0], matrix[1, 0]))


def _slopes(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Steepest step per pixel of any channel, along rows or columns, at some places `[n]` of an image `[h, w, 3]`."""
    found = np.zeros(len(y))
    for place, length, at in ((y, len(image), lambda k: image[k, x]), (x, image.shape[1], lambda k: image[y, k])):
        before, after = np.maximum(place - 1, 0), np.minimum(place + 1, length - 1)
        found = np.maximum(found, np.abs(at(after) - at(before)).max(1) / np.maximum(after - before, 1))
    return found


def _reach(height: int, width: int) -> float:
    """Error in pixels up to which a point follows the camera."""
    return max(0.5, min(height, width) / 256)
