"""Read a clip back into the grammar's terms by analysis alone: tracks, shapes, fills, motions, background, camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fewstep.shapes import backdrop, segment
from fewstep.shapes.scene import BACKGROUNDS, FILLS, MOTIONS, SHAPES, SIZES, SPEEDS, World

PRESENCE = 0.5
"""Share of the frames in which an object must be found to count."""
REST_SPEED = SPEEDS["slow"] / 2
FAST_SPEED = float(np.sqrt(SPEEDS["slow"] * SPEEDS["fast"]))
TOP_SPEED = 2 * SPEEDS["fast"]
SIZE_LIMIT = float(np.sqrt(SIZES["small"] * SIZES["large"]))
DYNAMIC_SPEED = 0.75
"""Screen speed in pixels per pixel frame from which an object is dynamic: 6 / 256 of the frame's side at 8 fps."""
MAX_SCATTER = 2.5
"""Root mean square distance from the fitted line, in pixels, above which a motion is unrecognised."""


@dataclass(frozen=True)
class Track:
    """An object of one colour through the clip; per-frame arrays hold -1 or NaN where it is absent or unrecognised."""

    colour: str
    present: np.ndarray
    centre: np.ndarray
    """Centroid on screen `[f, 2]`."""
    area: np.ndarray
    shapes: np.ndarray
    fills: np.ndarray
    overlap: np.ndarray
    """Intersection over union with the best silhouette `[f]`: confidence in the shape."""
    motion: str | None
    speed: str | None
    size: str | None
    screen_speed: float
    """Pixels per pixel frame on screen."""

    def shape_share(self, shape: str) -> float:
        """Share of all frames in which the object is present with this shape."""
        return float((self.shapes == SHAPES.index(shape)).mean())

    def fill_share(self, fill: str) -> float:
        """Share of all frames in which the object is present with this fill."""
        return float((self.fills == FILLS.index(fill)).mean())

    @property
    def shape(self) -> str | None:
        """Most frequent recognised shape."""
        return _majority(self.shapes, SHAPES)

    @property
    def fill(self) -> str | None:
        """Most frequent recognised fill."""
        return _majority(self.fills, FILLS)


@dataclass(frozen=True)
class Verdict:
    """What a clip shows, by analysis alone."""

    tracks: dict[str, Track]
    backgrounds: np.ndarray
    camera: backdrop.Camera
    extras: np.ndarray
    """Number of components besides the largest of each colour `[f]`."""
    free: np.ndarray
    """Background pixels `[f, H, W]`, neutral and away from objects."""

    @property
    def background(self) -> str | None:
        """Most frequent recognised background."""
        return _majority(self.backgrounds, BACKGROUNDS)

    @property
    def count(self) -> int:
        """Number of objects: tracks plus the usual number of stray components."""
        return len(self.tracks) + int(np.median(self.extras))

    @property
    def moving(self) -> bool:
        """Whether some object is dynamic on screen."""
        return any(track.screen_speed > DYNAMIC_SPEED for track in self.tracks.values())

    def relation(self, first: str, second: str) -> str | None:
        """Signed relation of the first colour's object to the second's, by the dominant axis of the mean offset."""
        if first not in self.tracks or second not in self.tracks:
            return None
        one, two = self.tracks[first], self.tracks[second]
        both = one.present & two.present
        if both.mean() < PRESENCE:
            return None
        dx, dy = (one.centre[both] - two.centre[both]).mean(0)
        if abs(dx) > abs(dy):
            return "left of" if dx < 0 else "right of"
        return "above" if dy < 0 else "below"


def _majority(labels: np.ndarray, names: tuple[str, ...]) -> str | None:
    known = labels[labels >= 0]
    if len(known) < PRESENCE * len(labels):
        return None
    counts = np.bincount(known, minlength=len(names))
    return names[int(counts.argmax())] if counts.max() >= PRESENCE * len(labels) else None


def recognise(frames: np.ndarray, world: World | None = None) -> Verdict:
    """Verdict on a clip `[f, H, W, 3]` uint8; motion is read from the first `world.frames` frames, before time folds.

    Raises ValueError unless the clip is uint8 with three channels.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"a clip must be uint8 [frames, height, width, 3], got {frames.dtype} {frames.shape}")
    span = (world or World()).frames
    smoothed = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.6) for frame in frames])
    lab = segment.to_lab(smoothed)
    nearest, coverage = segment.colour_maps(lab)
    found = [segment.blobs(*parts) for parts in zip(lab, nearest, coverage, strict=True)]
    free = _free_of_objects(lab)
    grey = backdrop.smooth(frames)
    labels = backdrop.textures(grey, free)
    camera = _camera(grey[:span], free[:span], labels)
    colours = sorted({blob.colour for row in found for blob in row})
    tracks = {colour: _track(colour, found, camera, span, frames.shape[1]) for colour in colours}
    kept = {colour: track for colour, track in tracks.items() if track.present.mean() >= PRESENCE}
    extras = np.array([len(row) - len({blob.colour for blob in row}) for row in found])
    return Verdict(kept, labels, camera, extras, free)


def _camera(grey: np.ndarray, free: np.ndarray, labels: np.ndarray) -> backdrop.Camera:
    """Camera motion where a texture shows it; over a plain or graded background it counts as static."""
    background = _majority(labels, BACKGROUNDS)
    if background in ("checkered", "dotted"):
        return backdrop.camera_motion(grey, free)
    return backdrop.Camera("static" if background else None, (0.0, 0.0), 0.0)


def _free_of_objects(lab: np.ndarray) -> np.ndarray:
    """Background pixels `[f, H, W]`: not coloured, and neither enclosed by colour (stripes and dots) nor beside it."""
    kernel, ring = np.ones((7, 7), np.uint8), np.ones((5, 5), np.uint8)
    free = np.empty(lab.shape[:3], bool)
    for out, frame in zip(free, lab, strict=True):
        a, b = cv2.split(cv2.GaussianBlur(frame[..., 1:], (0, 0), 1.5))
        coloured = np.pad((cv2.magnitude(a, b) > backdrop.NEUTRAL_CHROMA).astype(np.uint8), 8)
        out[:] = cv2.dilate(cv2.morphologyEx(coloured, cv2.MORPH_CLOSE, kernel), ring)[8:-8, 8:-8] == 0
    return free


def _track(colour: str, found: list[list[segment.Blob]], camera: backdrop.Camera, span: int, side: int) -> Track:
    rows = [next((blob for blob in row if blob.colour == colour), None) for row in found]
    present = np.array([row is not None for row in rows])
    centre = np.array([row.centre if row else (np.nan, np.nan) for row in rows]) + 0.5
    area = np.array([row.area if row else np.nan for row in rows])
    shapes = np.array([row.shape if row else segment.UNKNOWN for row in rows])
    fills = np.array([row.fill if row else segment.UNKNOWN for row in rows])
    overlap = np.array([row.overlap if row else 0.0 for row in rows])
    motion, speed = _motion(centre[:span], camera, side)
    screen, scatter = _line(centre[:span])
    return Track(
        colour=colour,
        present=present,
        centre=centre,
        area=area,
        shapes=shapes,
        fills=fills,
        overlap=overlap,
        motion=motion,
        speed=speed,
        size=_size(area[:span], _majority(shapes, SHAPES), camera),
        screen_speed=float(np.hypot(*screen)) if scatter <= MAX_SCATTER else 0.0,
    )


def _line(places: np.ndarray) -> tuple[np.ndarray, float]:
    """Velocity `[2]` of the line fitted to the known places `[f, 2]`, and their root mean square distance from it."""
    known = np.isfinite(places[:, 0])
    if known.sum() < 3:
        return np.zeros(2), np.inf
    times = np.flatnonzero(known) - np.flatnonzero(known).mean()
    spots = places[known] - places[known].mean(0)
    velocity = times @ spots / (times @ times)
    return velocity, float(np.sqrt(((spots - np.outer(times, velocity)) ** 2).sum(1).mean()))


def _motion(places: np.ndarray, camera: backdrop.Camera, side: int) -> tuple[str | None, str | None]:
    """Direction and speed in the world: the camera's motion is undone first unless it rests."""
    half = side / 2
    if camera.name not in ("static", None):
        times = np.arange(len(places))[:, None]
        zoom = np.exp(camera.log_zoom * times)
        zoom = zoom / zoom.min()
        places = (places - half) / zoom + half + times * np.array(camera.shift)
    velocity, scatter = _line(places)
    rate = float(np.hypot(*velocity))
    if scatter > MAX_SCATTER or rate > TOP_SPEED:
        return None, None
    if rate < REST_SPEED:
        return "static", None
    name, way = max(MOTIONS.items(), key=lambda item: item[1] @ velocity)
    straight = np.dot(way, velocity) / rate > 0.85
    return (name if straight else None), ("fast" if rate > FAST_SPEED else "slow")


def _size(area: np.ndarray, shape: str | None, camera: backdrop.Camera) -> str | None:
    if shape is None or not np.isfinite(area).any():
        return None
    zoom = np.exp(camera.log_zoom * np.arange(len(area))) if camera.name in ("zoom in", "zoom out") else np.ones(1)
    radius = np.nanmedian(np.sqrt(area / segment.unit_areas()[shape]) / (zoom / zoom.min()))
    if not 0.6 * SIZES["small"] < radius < 1.5 * SIZES["large"]:
        return None
    return "small" if radius < SIZE_LIMIT else "large"
