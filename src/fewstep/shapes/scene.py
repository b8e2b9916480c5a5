"""The machine specification of a shape video: vocabulary, scenes, and where every object is in every frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

SIZES = {"small": 10.0, "large": 15.0}
"""Half the side of the box that a shape fills, in pixels at zoom 1."""
COLOURS = {
    "red": (222, 38, 38),
    "green": (36, 158, 52),
    "blue": (38, 74, 226),
    "yellow": (246, 218, 32),
    "purple": (172, 44, 196),
    "cyan": (30, 204, 218),
}
SHAPES = ("circle", "square", "triangle", "star", "heart")
FILLS = ("solid", "striped", "dotted")
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "static": (0, 0)}
SPEEDS = {"slow": 0.4, "fast": 1.0}
"""Pixels per pixel frame. The dynamic-degree threshold at 64 px is 0.75: slow is 0.53 of it, fast 1.33."""
BACKGROUNDS = ("plain", "gradient", "checkered", "dotted")
CAMERAS = {"pan left": (-1, 0), "pan right": (1, 0), "tilt up": (0, -1), "tilt down": (0, 1)}
ZOOMS = ("zoom in", "zoom out")
ALL_CAMERAS = ("static", *CAMERAS, *ZOOMS)
CAMERA_SPEED = 0.4
"""Pixels per pixel frame of pans and tilts."""
ZOOM_RANGE = 1.3
"""Magnification between the widest and the closest view; the widest view is always 1."""
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Unit vector from the second object of a pair to the first."""
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "fill": FILLS,
    "motion": tuple(MOTIONS),
    "speed": tuple(SPEEDS),
}
"""What is said of each object, and the values it can have."""
SCENE_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "relation": tuple(RELATIONS),
    "background": BACKGROUNDS,
    "camera": ALL_CAMERAS,
}
"""What is said once."""

HELD_OUT_SALT = 2373
"""Picks a tenth of the compositions in which every value occurs and no colour-shape pair more than once."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Format of the clips: square pixels, an odd number of frames (4 n + 1 for the video autoencoder)."""

    size: int = 64
    """Height and width in pixels."""
    frames: int = 33
    """Pixel frames over which scenes are laid out; longer clips fold time (see `fold_time`)."""
    fps: int = 16
    """Pixel frames per second."""


@dataclass(frozen=True, kw_only=True)
class Object:
    """One shape; `x`, `y` is its centre in world pixels at frame 0, `unstated` what its caption leaves open."""

    size: str
    colour: str
    shape: str
    fill: str
    motion: str
    speed: str | None
    x: float
    y: float
    unstated: tuple[str, ...] = ()

    @property
    def radius(self) -> float:
        """Half side of the bounding box in pixels at zoom 1."""
        return SIZES[self.size]

    @property
    def velocity(self) -> tuple[float, float]:
        """World velocity in pixels per pixel frame."""
        rate = SPEEDS[self.speed] if self.speed else 0.0
        return MOTIONS[self.motion][0] * rate, MOTIONS[self.motion][1] * rate


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A clip's content; `objects[i]` stands in `relation` to `objects[i + 1]`, `level` is the mean grey behind."""

    objects: tuple[Object, ...]
    background: str
    camera: str
    relation: str | None = None
    level: int = 140
    phase: tuple[float, float] = (0.0, 0.0)
    unstated: tuple[str, ...] = ()

    @property
    def moving(self) -> bool:
        """Whether some object crosses the screen faster than the dynamic-degree threshold (the fast ones do)."""
        return any(obj.speed == "fast" for obj in self.objects)

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 of the canonical JSON."""
        return hashlib.sha256(scene_to_json(self).encode()).hexdigest()


def scene_to_json(scene: Scene) -> str:
    """Canonical JSON: sorted keys, no spaces."""
    return json.dumps(asdict(scene), sort_keys=True, separators=(",", ":"))


def scene_from_json(text: str) -> Scene:
    """Inverse of `scene_to_json`. Raises ValueError when keys are missing or foreign."""
    fields = json.loads(text)
    try:
        objects = tuple(Object(**{**obj, "unstated": tuple(obj["unstated"])}) for obj in fields.pop("objects"))
        fields["phase"], fields["unstated"] = tuple(fields["phase"]), tuple(fields["unstated"])
        return Scene(objects=objects, **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a scene needs exactly the fields scene_to_json writes, but: {error}") from error


def is_held_out(colour: str, shape: str, motion: str) -> bool:
    """Whether a colour-shape-motion composition is kept from training: a fixed tenth, chosen by hash (15 of 150)."""
    return hashlib.sha256(f"{colour}/{shape}/{motion}/{HELD_OUT_SALT}".encode()).digest()[0] % 10 == 0


def fold_time(frames: int, period: int) -> np.ndarray:
    """Scene time of each frame `[f]`: runs 0 … period - 1, then back and forth: long clips retrace their path."""
    last = period - 1
    return (last - np.abs(last - np.arange(frames) % (2 * last))).astype(np.float64)


def camera_path(camera: str, times: np.ndarray, world: World) -> tuple[np.ndarray, np.ndarray]:
    """Camera offset in world pixels `[f, 2]` and magnification `[f]` (>= 1) at the given scene times."""
    offset = np.outer(times, CAMERAS.get(camera, (0, 0))) * CAMERA_SPEED
    progress = times / (world.frames - 1)
    if camera == "zoom out":
        progress = 1 - progress
    return offset, ZOOM_RANGE ** (progress if camera in ZOOMS else np.zeros_like(progress))


def screen_path(scene: Scene, times: np.ndarray, world: World) -> tuple[np.ndarray, np.ndarray]:
    """Object centres on screen `[n, f, 2]` in pixels (x, y; pixel centres at +0.5) and magnification `[f]`."""
    offset, zoom = camera_path(scene.camera, times, world)
    start = np.array([(obj.x, obj.y) for obj in scene.objects])[:, None]
    velocity = np.array([obj.velocity for obj in scene.objects])[:, None]
    centre = world.size / 2
    return (start + velocity * times[None, :, None] - offset - centre) * zoom[None, :, None] + centre, zoom
