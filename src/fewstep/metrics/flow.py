"""Optical flow without learned weights, and what is seen through it: DIS per colour channel."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from fewstep.metrics.base import Clip, once_per_clip

SIDE = 256
"""Larger frames are shrunk to this short side before their flow is taken: the size VBench's thresholds refer to."""
RATE = 8.0
"""Frames per second at which motion is judged (VBench's dynamic degree)."""


def shrink(frames: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Frames `[f, h, w, 3]` with a short side of `side` at most, averaged over areas; smaller ones as they are."""
    height, width = frames.shape[1:3]
    scale = side / min(height, width)
    if scale >= 1:
        return frames
    size = (round(width * scale), round(height * scale))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def stride_of(fps: float) -> int:
    """Frames from one to the next of the two whose motion is judged: every one below 12 fps, every second at 16."""
    return max(1, round(fps / RATE))


def flow_pairs(frames: np.ndarray, stride: int) -> np.ndarray:
    """Optical flow between frames `stride` apart `[p, h, w, 2]`: per pixel the fastest of the three channels.

    Objects differ from the background in colour more than in brightness, so a single grey flow reads too low.
    """
    kept = frames[::stride]
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    channels = np.ascontiguousarray(kept.transpose(0, 3, 1, 2))
    flows = np.empty((len(kept) - 1, *kept.shape[1:3], 2), np.float32)
    for out, before, after in zip(flows, channels, channels[1:], strict=False):
        starts = (np.zeros(out.shape, np.float32) for _ in before)  # OpenCV writes into where it starts
        options = np.stack([method.calc(*pair) for pair in zip(before, after, starts, strict=True)])
        speed = options[..., 0] ** 2 + options[..., 1] ** 2
        out[:] = np.take_along_axis(options, speed.argmax(0)[None, ..., None], 0)[0]
    return flows


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """`image` read at each pixel plus `flow`."""
    y, x = _places(*image.shape[:2])
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=4)
def _places(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel `[h, w]`."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return y, x


@once_per_clip
def small_frames(clip: Clip) -> np.ndarray:
    """The clip's frames as its flow sees them."""
    return shrink(clip.frames)


@once_per_clip
def flows_of(clip: Clip, stride: int) -> np.ndarray:
    """The clip's `flow_pairs`, in pixels of `small_frames`."""
    return flow_pairs(small_frames(clip), stride)
