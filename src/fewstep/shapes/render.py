"""Rasterise scenes: supersampled sprites and backgrounds, box filtered to pixel area, resampled at sub-pixel places."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from skimage.draw import polygon

from fewstep.shapes.scene import COLOURS, Scene, World, camera_path, fold_time, screen_path

SUPERSAMPLE = 4
STRIPE_PERIOD = 6.5
"""Pixels from stripe to stripe."""
DOT_PERIOD, DOT_RADIUS = 8.0, 2.3
"""Pixels between the dots of a row (rows lie 0.8 of it apart, every other one shifted by half), and their radius."""
RIM = 1.4
"""Width of the solid border that closes striped and dotted shapes, in pixels."""
TEXTURE_AMPLITUDE = 14.0
"""Grey levels by which a textured background departs from its mean."""
TEXTURE_PERIOD = 24.0
"""Pixels after which a checkered background repeats; dots lie at half of it."""
WHITE, BLACK = (250, 250, 250), (28, 28, 28)
CONTRAST = {name: BLACK if name in ("yellow", "cyan") else WHITE for name in COLOURS}
"""Colour of the stripes and dots on each colour."""


@lru_cache(maxsize=32)
def outline(shape: str) -> np.ndarray:
    """Closed polygon `[p, 2]` of a shape in a box of half side 1, y down.

    Areas differ as well as corners: shapes of equal area are nearly alike to a model that learns by squared error.
    """
    turn = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    if shape == "circle":
        points = 0.94 * np.stack([np.cos(turn), np.sin(turn)], 1)
    elif shape == "square":
        points = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
    elif shape == "triangle":
        points = np.array([(0, -0.95), (1, 0.85), (-1, 0.85)])
    elif shape == "star":
        spikes = np.arange(8)
        length = np.where(spikes % 2 == 0, 1.03, 0.47)
        points = np.stack([np.sin(spikes * np.pi / 4), -np.cos(spikes * np.pi / 4)], 1) * length[:, None]
    elif shape == "heart":
        points = np.stack(
            [
                np.sin(turn) ** 3,
                -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)) / 15.2 - 0.13,
            ],
            1,
        )
    else:
        raise ValueError(f"shape must be one of circle, square, triangle, star, heart, got {shape!r}")
    return points


@lru_cache(maxsize=64)
def silhouette(shape: str, radius: float) -> np.ndarray:
    """Supersampled mask `[s, s]` of 0 and 1, centred, with a margin of three pixels."""
    side = 2 * int(np.ceil((radius + 3) * SUPERSAMPLE)) + 1
    corners = outline(shape) * radius * SUPERSAMPLE + side // 2
    mask = np.zeros((side, side), np.uint8)
    mask[polygon(corners[:, 1], corners[:, 0])] = 1
    return mask


def _pattern(fill: str, side: int) -> np.ndarray:
    y, x = (np.indices((side, side)) - side // 2) / SUPERSAMPLE
    if fill == "striped":
        return (y / STRIPE_PERIOD + 0.25) % 1.0 < 0.5
    pitch = DOT_PERIOD * 0.8
    row = np.round(y / pitch)
    column = x / DOT_PERIOD + np.where(row % 2 == 0, 0.0, 0.5)
    dx = (column - np.round(column)) * DOT_PERIOD
    return dx**2 + (y - row * pitch) ** 2 < DOT_RADIUS**2


@lru_cache(maxsize=512)
def sprite(shape: str, colour: str, fill: str, radius: float) -> np.ndarray:
    """Premultiplied RGBA `[s, s, 4]` float32 at `SUPERSAMPLE`, already filtered to the area of one pixel.

    The even box filter moves the centre from index (s - 1) / 2 to s / 2.
    """
    mask = silhouette(shape, radius)
    paint = np.broadcast_to(np.array(COLOURS[colour], np.float32), (*mask.shape, 3)).copy()
    if fill != "solid":
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5) > RIM * SUPERSAMPLE
        paint[inside & _pattern(fill, mask.shape[0])] = CONTRAST[colour]
    image = np.concatenate([paint * mask[..., None], mask[..., None]], 2).astype(np.float32)
    return cv2.blur(image, (SUPERSAMPLE, SUPERSAMPLE), borderType=cv2.BORDER_CONSTANT)


@lru_cache(maxsize=16)
def _texture(kind: str, size: int) -> np.ndarray:
    """Supersampled zero-mean texture over twice the frame, filtered to pixel area, in units of the amplitude."""
    side = 2 * size * SUPERSAMPLE
    y, x = (np.indices((side, side)) + 0.5) / SUPERSAMPLE
    half = TEXTURE_PERIOD / 2
    if kind == "checkered":
        image = np.where((np.floor(x / half) + np.floor(y / half)) % 2 == 0, 1.0, -1.0)
    else:
        near = (x % half - half / 2) ** 2 + (y % half - half / 2) ** 2
        image = np.where(near < 3.2**2, -1.4, 0.45)
    return cv2.blur(image.astype(np.float32), (SUPERSAMPLE, SUPERSAMPLE))


def _backdrop(scene: Scene, offset: np.ndarray, zoom: np.ndarray, world: World) -> np.ndarray:
    """Grey background `[f, size, size]` float32."""
    frames, size = len(zoom), world.size
    if scene.background == "plain":
        return np.full((frames, size, size), scene.level, np.float32)
    if scene.background == "gradient":
        angle = 2 * np.pi * scene.phase[0]
        y, x = (np.indices((size, size)) + 0.5) / size * 2 - 1
        ramp = (np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle)))
        return np.repeat((scene.level + 1.3 * TEXTURE_AMPLITUDE * ramp)[None], frames, 0).astype(np.float32)
    texture = _texture(scene.background, size)
    half, shift = size / 2, np.array(scene.phase) * TEXTURE_PERIOD + size / 4
    images = np.empty((frames, size, size), np.float32)
    for image, moved, scale in zip(images, offset, zoom, strict=True):
        origin = half - (half - 0.5) / scale + moved + shift
        _sample(texture, SUPERSAMPLE / scale, origin * SUPERSAMPLE - 0.5, image)
    return scene.level + TEXTURE_AMPLITUDE * images


def _sample(source: np.ndarray, stride: float, origin: np.ndarray, out: np.ndarray) -> None:
    """Write `source` at `origin + stride * (column, row)` into `out`, zero outside."""
    inverse = np.array([[stride, 0, origin[0]], [0, stride, origin[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(source, inverse, out.shape[1::-1], dst=out, flags=flags, borderMode=cv2.BORDER_CONSTANT)


def render(scene: Scene, world: World | None = None, frames: int | None = None) -> np.ndarray:
    """Video `[f, size, size, 3]` uint8 of a scene; frames beyond `world.frames` retrace the path (`fold_time`)."""
    world = world or World()
    times = fold_time(frames or world.frames, world.frames)
    path, zoom = screen_path(scene, times, world)
    offset, _ = camera_path(scene.camera, times, world)
    video = np.repeat(_backdrop(scene, offset, zoom, world)[..., None], 3, axis=3)
    for obj, places in zip(scene.objects, path, strict=True):
        image = sprite(obj.shape, obj.colour, obj.fill, obj.radius)
        reach = int(np.ceil(obj.radius * zoom.max())) + 3
        for frame, place, scale in zip(video, places, zoom, strict=True):
            x0, y0 = (max(0, int(p) - reach) for p in place)
            window = frame[y0 : int(place[1]) + reach + 1, x0 : int(place[0]) + reach + 1]
            layer = np.empty((*window.shape[:2], 4), np.float32)
            stride = SUPERSAMPLE / scale
            _sample(image, stride, (np.array((x0, y0)) + 0.5 - place) * stride + image.shape[0] / 2, layer)
            window *= 1 - layer[..., 3:]
            window += layer[..., :3]
    return np.clip(np.rint(video), 0, 255).astype(np.uint8)
