from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fewstep.metrics.base import Clip

SIDE, FRAMES, FPS = 64, 17, 16.0


def scene(seed: int, speed: float = 3.0, shift: tuple[float, float] = (0, 0), zoom: float = 0.0) -> Clip:
    """A disc that crosses a soft texture at `speed` pixels a frame, seen by a camera that shifts and zooms."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (200, 200)).astype(np.float32), (0, 0), 3)
    grey = np.clip(128 + 22 * texture / texture.std(), 0, 255)
    colour = [(220, 60, 50), (50, 80, 220), (40, 170, 80)][seed % 3]
    frames = []
    for t in range(FRAMES):
        scale = np.exp(-zoom * t)
        left, top = (100 + t * way - SIDE * scale / 2 for way in shift)
        view = np.array([[scale, 0, left], [0, scale, top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frame = np.repeat(cv2.warpAffine(grey, view, (SIDE, SIDE), flags=flags)[..., None], 3, axis=-1)
        frame = np.ascontiguousarray(frame.astype(np.uint8))
        centre = (int(16 * (14 + (speed * t) % 40)), int(16 * (24 + 8 * (seed % 3))))
        cv2.circle(frame, centre, 16 * 9, colour, -1, cv2.LINE_AA, shift=4)
        frames.append(frame)
    return Clip(np.stack(frames), FPS, begins_with=frames[0])


def changed(clip: Clip, frames: np.ndarray) -> Clip:
    return replace(clip, frames=np.ascontiguousarray(frames))


def _noise(clip: Clip, level: float) -> Clip:
    noise = np.random.default_rng(1).normal(0, level, clip.frames.shape)
    return changed(clip, np.clip(clip.frames + noise, 0, 255).astype(np.uint8))


def _blur(clip: Clip, level: float) -> Clip:
    return changed(clip, np.stack([cv2.GaussianBlur(frame, (0, 0), level) for frame in clip.frames]))


def _jitter(clip: Clip, reach: int) -> Clip:
    rng = np.random.default_rng(2)
    return changed(clip, np.stack([np.roll(f, tuple(rng.integers(-reach, reach + 1, 2)), (0, 1)) for f in clip.frames]))


def _ramp(clip: Clip, levels: float) -> Clip:
    added = np.linspace(0, 1, len(clip.frames))[:, None, None, None] * np.array([levels, 0, -levels])
    return changed(clip, np.clip(clip.frames + added, 0, 255).astype(np.uint8))


def _grid(clip: Clip, period: int) -> Clip:
    frames = clip.frames.astype(int)
    frames[:, :, period - 1 :: period] += 14
    frames[:, period - 1 :: period] += 14
    return changed(clip, np.clip(frames, 0, 255).astype(np.uint8))


CONTROLS = {
    "truth": lambda clip: clip,
    "frozen": lambda clip: changed(clip, np.repeat(clip.frames[:1], len(clip.frames), axis=0)),
    "mirrored": lambda clip: changed(clip, clip.frames[:, :, ::-1]),
    "shuffled": lambda clip: changed(clip, clip.frames[np.random.default_rng(3).permutation(len(clip.frames))]),
    "pure noise": lambda clip: changed(
        clip, np.random.default_rng(4).integers(0, 256, clip.frames.shape).astype(np.uint8)
    ),
    "grey": lambda clip: changed(clip, np.full_like(clip.frames, 128)),
    "noise 5": lambda clip: _noise(clip, 5),
    "noise 15": lambda clip: _noise(clip, 15),
    "blur 1": lambda clip: _blur(clip, 1),
    "blur 2": lambda clip: _blur(clip, 2),
    "jitter 1": lambda clip: _jitter(clip, 1),
    "jitter 3": lambda clip: _jitter(clip, 3),
    "ramp 30": lambda clip: _ramp(clip, 30),
    "ramp 90": lambda clip: _ramp(clip, 90),
    "other colour": lambda clip: changed(clip, np.concatenate([clip.frames[:8], clip.frames[8:, ..., [1, 2, 0]]])),
    "grid 8": lambda clip: _grid(clip, 8),
    "grid 16": lambda clip: _grid(clip, 16),
}


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    return [scene(seed) for seed in range(3)]


@pytest.fixture(scope="session")
def controls(clips) -> dict[str, list[Clip]]:
    """The same three clips, true and damaged."""
    return {name: [damage(clip) for clip in clips] for name, damage in CONTROLS.items()}


@pytest.fixture(scope="session")
def make_scene():
    return scene
