"""From one frame to the next: flickering, by VBench's formula, and smoothness of motion."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from fewstep.metrics.base import Clip, once_per_clip
from fewstep.metrics.flow import flows_of, small_frames, warp

LEFT_OUT = 2
"""Motion smoothness makes every second frame anew from its neighbours, whatever the rate, as VBench does."""


def temporal_flickering(frames: np.ndarray) -> float:
    """(255 - mean absolute difference of consecutive frames) / 255: VBench's formula, in 0 … 1.

    VBench reads the encoded file, so compare clips that went through the same codec.
    """
    changes = [cv2.absdiff(after, before).mean() for before, after in pairwise(frames)]
    return 1 - float(np.mean(changes)) / 255


def motion_smoothness(frames: np.ndarray, flows: np.ndarray) -> float:
    """(255 - error of the odd frames when each is made from its even neighbours by half the flow) / 255.

    VBench's protocol with DIS flow `flow_pairs(frames, 2)` in the place of the AMT network.
    """
    errors = []
    for i, flow in enumerate(flows):
        before, middle, after = frames[LEFT_OUT * i : LEFT_OUT * i + 3].astype(np.float32)
        made = (warp(before, -flow / 2) + warp(after, flow / 2)) / 2
        errors.append(np.abs(made - middle).mean())
    return 1 - float(np.mean(errors)) / 255


@once_per_clip
def flickering_of(clip: Clip) -> float:
    """Temporal flickering at the clip's own size."""
    return temporal_flickering(clip.frames)


@once_per_clip
def smoothness_of(clip: Clip) -> float:
    """Motion smoothness at the size that flow is taken at."""
    return motion_smoothness(small_frames(clip), flows_of(clip, LEFT_OUT))
