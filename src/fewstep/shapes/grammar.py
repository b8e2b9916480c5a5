"""Seeded sampling of scenes in which nothing overlaps, leaves, or crosses.

The grammar: one to three objects of distinct colours (64 / 29 / 7 %) on a grey background, camera static in 70 % of
the scenes. A moving camera needs a background with local texture to be seen (checkered or dotted). Under a pan or tilt
objects rest or move across the camera's axis; under a zoom they rest. Two objects stand in a signed relation; three
small ones form a row or a column, move across it, and are never zoomed. So every stated fact can be measured.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fewstep.shapes.caption import caption, vocabulary
from fewstep.shapes.scene import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    FILLS,
    MOTIONS,
    RELATIONS,
    SHAPES,
    SIZES,
    ZOOMS,
    Object,
    Scene,
    World,
    is_held_out,
    scene_from_json,
    scene_to_json,
    screen_path,
)

__all__ = [
    "SPLITS",
    "Object",
    "Scene",
    "World",
    "caption",
    "is_held_out",
    "sample_scene",
    "scene_from_json",
    "scene_to_json",
    "vocabulary",
]

SPLITS = ("train", "heldout", "i2v", "long")
COUNT_SHARES = (0.64, 0.29, 0.07)
STATIC_CAMERA_SHARE = 0.7
UNSTATED_SHARE = 0.12
"""Chance that a caption leaves out a size, a fill, a speed, the background or the camera."""
SPEED_SHARES = (0.2, 0.4, 0.4)
"""Shares of resting, slow and fast objects where the camera and the neighbours leave the choice."""
CANDIDATES = 48
"""Placements drawn at once for a scene."""
GAP = 2.0
"""Least distance between two bounding boxes along the relation's axis, in pixels."""
DOMINANCE = 0.75
"""Mean offset across the relation's axis stays below this share of the one along it."""


def sample_scene(
    seed: int | np.random.Generator, split: str = "train", world: World | None = None, count: int | None = None
) -> Scene:
    """One scene; "train", "i2v" and "long" contain no held-out composition, every "heldout" scene has one or more."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
    world = world or World()
    wanted = count or int(rng.choice(3, p=COUNT_SHARES)) + 1
    movements = (*CAMERAS, *ZOOMS) if wanted < 3 else tuple(CAMERAS)
    camera = "static" if rng.random() < STATIC_CAMERA_SHARE else str(rng.choice(movements))
    background = str(rng.choice(BACKGROUNDS if camera == "static" else ("checkered", "dotted")))
    while True:
        scene = _draw(rng, wanted, camera, background)
        held_out = any(is_held_out(obj.colour, obj.shape, obj.motion) for obj in scene.objects)
        placed = _place(scene, rng, world) if held_out == (split == "heldout") else None
        if placed is not None:
            return placed


def _draw(rng: np.random.Generator, count: int, camera: str, background: str) -> Scene:
    relation = str(rng.choice(list(RELATIONS))) if count > 1 else None
    colours = rng.permutation(list(COLOURS))[:count]
    objects = tuple(_draw_object(rng, str(colour), camera, relation, count) for colour in colours)
    unstated = tuple(name for name in ("background", "camera") if rng.random() < UNSTATED_SHARE)
    return Scene(
        objects=objects,
        background=background,
        camera=camera,
        relation=relation,
        level=int(rng.integers(128, 157)),
        phase=(round(rng.random(), 3), round(rng.random(), 3)),
        unstated=unstated,
    )


def _draw_object(rng: np.random.Generator, colour: str, camera: str, relation: str | None, count: int) -> Object:
    across = CAMERAS.get(camera, (0, 0)) if count < 3 else RELATIONS[relation or "above"]
    axes = [name for name, (dx, dy) in MOTIONS.items() if (dx or dy) and not (dx * across[0] + dy * across[1])]
    pace = ("static", "slow", "fast")[rng.choice(3, p=SPEED_SHARES)]
    if camera in ZOOMS or (count == 3 and camera in CAMERAS):
        pace = "static"
    motion = "static" if pace == "static" else str(rng.choice(axes))
    unstated = tuple(name for name in ("size", "fill", "speed") if rng.random() < UNSTATED_SHARE)
    return Object(
        size=str(rng.choice(list(SIZES))) if count < 3 else "small",
        colour=colour,
        shape=str(rng.choice(SHAPES)),
        fill=str(rng.choice(FILLS)),
        motion=motion,
        speed=None if pace == "static" else pace,
        x=0.0,
        y=0.0,
        unstated=unstated if motion != "static" else tuple(name for name in unstated if name != "speed"),
    )


def _place(scene: Scene, rng: np.random.Generator, world: World) -> Scene | None:
    """The scene at the first valid one of `CANDIDATES` random placements, or None."""
    times = np.arange(world.frames, dtype=np.float64)
    path, zoom = screen_path(scene, times, world)
    radius = np.array([obj.radius for obj in scene.objects])
    reach = radius[:, None, None] * zoom[None, :, None]
    # Where the start may lie so that the box stays inside at every frame: invert the camera, then intersect over time.
    half = world.size / 2
    travelled = (path - half) / zoom[None, :, None] + half
    low = (half + (reach - half) / zoom[None, :, None] - travelled).max(axis=1)
    high = (half + (half - reach) / zoom[None, :, None] - travelled).min(axis=1)
    if (high < low).any():
        return None
    start = low + (high - low) * rng.random((CANDIDATES, *low.shape))
    if scene.relation:
        way = np.array(RELATIONS[scene.relation], dtype=np.float64)
        shift = (travelled[:-1] - travelled[1:]) @ way
        gaps = radius[:-1] + radius[1:] + GAP - shift.min(axis=1)
        along = _chain(np.sort([low @ way, high @ way], axis=0), gaps, rng)
        if along is None:
            return None
        start = np.where(way != 0, along[..., None] * way, start)
        step = (start[:, :-1] - start[:, 1:])[:, :, None] + (travelled[:-1] - travelled[1:])
        ratio = np.abs(step @ way[::-1]).mean(axis=2) / (step @ way).mean(axis=2)
        start = start[(ratio <= DOMINANCE).all(axis=1)]
        if not len(start):
            return None
    chosen = start[0]
    return replace(
        scene,
        objects=tuple(
            replace(obj, x=round(float(x), 2), y=round(float(y), 2))
            for obj, (x, y) in zip(scene.objects, chosen, strict=True)
        ),
    )


def _chain(bounds: np.ndarray, gaps: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Positions `[candidates, n]` within `bounds` `[2, n]` with position i at least gaps[i] beyond position i + 1."""
    low, cap = bounds[0], bounds[1].copy()
    for i, gap in enumerate(gaps):
        cap[i + 1] = min(cap[i + 1], cap[i] - gap)
    places = np.empty((CANDIDATES, len(cap)))
    floor = np.full(CANDIDATES, low[-1])
    for i in reversed(range(len(cap))):
        if (floor > cap[i]).any():
            return None
        places[:, i] = floor + (cap[i] - floor) * rng.random(CANDIDATES)
        if i:
            floor = np.maximum(low[i - 1], places[:, i] + gaps[i - 1])
    return places
