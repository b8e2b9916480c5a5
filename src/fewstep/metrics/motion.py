"""Whether and how much a clip moves, by optical flow; and motion that a model has lost."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fewstep.metrics.base import Clip, once_per_clip
from fewstep.metrics.flow import RATE, flows_of, small_frames, stride_of, warp
from fewstep.metrics.imaging import noise_of

TOP_SHARE = 0.05
FAST = 6 / 256
"""A pair of frames is fast when the fastest 5 % of its flow are, on average, above 6 px at a short side of 256."""
MOVES_FROM = 1 / 256
"""Below this pace, in short sides per pair, nothing in a pair of frames moves."""
LEFT = 0.4
"""A pair is explained when warping by its flow leaves no more than this of its squared difference beyond the noise."""
BEYOND_NOISE = 0.25
"""Least squared difference of a pair beyond that of its noise, as a share of the noise's."""
MOVING_SHARE = 1 / 4
"""Share of the frames that must have a fast pair (VBench)."""
KEPT = 0.5
"""Share of the reference's motion below which a set of clips has lost it."""


def top_speeds(flows: np.ndarray) -> np.ndarray:
    """Mean length of the fastest 5 % of each flow `[p]`, in pixels."""
    speed = np.sqrt(flows[..., 0] ** 2 + flows[..., 1] ** 2).reshape(len(flows), -1)
    top = max(1, int(TOP_SHARE * speed.shape[1]))
    return np.sort(np.partition(speed, -top, axis=1)[:, -top:], axis=1).mean(1)


def fast_pairs(flows: np.ndarray, slowness: float = 1.0) -> np.ndarray:
    """Whether each flow is fast `[p]`; the threshold follows how many times longer than 1/8 s a pair spans."""
    return _fast(top_speeds(flows), flows, slowness)


def _fast(speeds: np.ndarray, flows: np.ndarray, slowness: float) -> np.ndarray:
    return speeds > slowness * FAST * min(flows.shape[1:3])


def is_dynamic(fast: np.ndarray) -> bool:
    """Whether as many pairs are fast as a quarter of the frames, rounded, and one at least.

    VBench asks for none at all of two frames, which makes every clip of two dynamic; here it is one.
    """
    return int(fast.sum()) >= max(1, round(MOVING_SHARE * (len(fast) + 1)))


def explained(kept: np.ndarray, flows: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Whether each flow between consecutive frames of `kept [p + 1, h, w, 3]` accounts for their difference `[p]`.

    `noise [p + 1]` is the frames' `noise_level`.
    Noise differs from frame to frame and no flow explains it, so its part of the difference, twice its variance, is
    left out, and a pair that differs by little else is not explained.
    """
    found = np.zeros(len(flows), bool)
    variance, values = noise**2, kept[0].size
    for i, flow in enumerate(flows):
        before, after = kept[i].astype(np.float32), kept[i + 1].astype(np.float32)
        noisy = variance[i] + variance[i + 1]
        change = cv2.norm(after, before, cv2.NORM_L2SQR) / values - noisy
        left = cv2.norm(warp(after, flow), before, cv2.NORM_L2SQR) / values - noisy
        found[i] = change > BEYOND_NOISE * noisy and left < LEFT * change
    return found


@dataclass(frozen=True)
class Pairs:
    """What is known of the pairs of frames at 8 fps of one clip."""

    flows: np.ndarray
    speeds: np.ndarray
    """`top_speeds` `[p]`."""
    explained: np.ndarray


@once_per_clip
def pairs_of(clip: Clip) -> Pairs | None:
    """None below two frames at 8 fps."""
    stride = stride_of(clip.fps)
    kept = small_frames(clip)[::stride]
    if len(kept) < 2:
        return None
    flows = flows_of(clip, stride)
    return Pairs(flows, top_speeds(flows), explained(kept, flows, noise_of(clip, small=True)[::stride]))


def dynamic_degree_of(clip: Clip, *, gated: bool) -> float:
    """1 where the clip is dynamic, 0 where it is not; NaN below two frames at 8 fps.

    VBench's rule on DIS flow. It calls noise dynamic; `gated` counts a pair only when its flow explains it.
    """
    pairs = pairs_of(clip)
    if pairs is None:
        return float("nan")
    fast = _fast(pairs.speeds, pairs.flows, max(1.0, RATE / clip.fps))
    return float(is_dynamic(fast & pairs.explained if gated else fast))


def pace_of(clip: Clip) -> np.ndarray:
    """Speed of what moves fastest, per pair of frames at 8 fps `[p]`, in short sides per pair; 0 where unexplained."""
    pairs = pairs_of(clip)
    return np.zeros(0) if pairs is None else pairs.speeds / min(pairs.flows.shape[1:3]) * pairs.explained


def motion_of(clip: Clip) -> float:
    """Mean speed of what moves fastest, in short sides per second."""
    pace = pace_of(clip)
    return float(pace.mean() * clip.fps / stride_of(clip.fps)) if len(pace) else float("nan")


def still_share_of(clip: Clip) -> float:
    """Share of the clip's time in which nothing moves."""
    pace = pace_of(clip)
    return float((pace < MOVES_FROM).mean()) if len(pace) else float("nan")


def collapse_of(clip: Clip) -> float:
    """1 where nothing moves from the middle of the clip to its end, else 0: motion was never there, or stopped.

    A caption may ask for stillness, so the share of a set means something beside that of its reference only.
    """
    pace = pace_of(clip)
    if len(pace) < 2:
        return float("nan")
    return float((pace[len(pace) // 2 :] < MOVES_FROM).all())


@dataclass(frozen=True)
class Collapse:
    """What a set of clips kept of the motion of a reference on the same prompts."""

    kept: float
    """Total motion as a share of the reference's; above 1 where clips move more."""
    stopped: float
    """Share of the clips that move in the reference and do not move here."""

    @property
    def collapsed(self) -> bool:
        """Whether most of the motion is gone."""
        return self.kept < KEPT


def compare_motion(motion: np.ndarray, reference: np.ndarray) -> Collapse:
    """Motion collapse of a set `motion [n]` (see `motion_of`) against clips of the same prompts in the same order.

    Raises ValueError where the two sets differ in length, or nothing of the reference moves.
    """
    motion, reference = np.asarray(motion, np.float64), np.asarray(reference, np.float64)
    if motion.shape != reference.shape:
        raise ValueError(
            f"motion is compared clip by clip, got {motion.size} clips and {reference.size} of the reference: make "
            "both of the same prompts and seeds"
        )
    moves = reference > MOVES_FROM * RATE
    if not moves.any():
        raise ValueError("nothing in the reference moves: motion collapse needs prompts that ask for motion")
    still = motion[moves] < MOVES_FROM * RATE
    return Collapse(float(motion.sum() / reference.sum()), float(still.mean()))
