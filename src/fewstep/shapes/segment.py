"""Find coloured objects in single frames: hue segmentation, hole filling, and comparison with rendered silhouettes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fewstep.shapes.render import CONTRAST, silhouette
from fewstep.shapes.scene import COLOURS, FILLS, SHAPES

PALETTE = tuple(COLOURS)
COVERAGE = 0.42
"""Share of a palette colour's chroma from which a pixel counts as covered; edge pixels are mixtures with grey."""
MIN_AREA = 45
"""Smaller components are specks, in pixels (the smallest object has 150)."""
COLOUR_TOLERANCE = 32.0
"""Largest distance of a component's core from its colour, or from that colour half mixed with its stripes' (they may
blur), in CIELAB with half weight on L."""
MIN_IOU = 0.7
"""Below this overlap with every silhouette a shape is unrecognised."""
CANVAS = 48
"""Side of the canvas on which area-normalised masks are compared; the object's area is a sixth of it."""
UNKNOWN = -1
CONTRAST_STEP = 18.0
"""Lightness above or below the background from which a neutral pixel can be a stripe or a dot (textures have 8)."""
REACH, NEAR = np.ones((7, 7), np.uint8), np.ones((3, 3), np.uint8)
"""Neighbourhoods in which a stripe joins its own colour, and in which another colour keeps it."""


@dataclass(frozen=True)
class Blob:
    """One coloured component of one frame; `shape` and `fill` index SHAPES and FILLS, -1 is unrecognised."""

    colour: str
    centre: tuple[float, float]
    area: float
    shape: int
    overlap: float
    fill: int


@lru_cache(maxsize=1)
def palette_lab() -> np.ndarray:
    """CIELAB `[colours, 3]` of the palette."""
    return to_lab(np.array([list(COLOURS.values())], np.uint8))[0]


def to_lab(frames: np.ndarray) -> np.ndarray:
    """CIELAB (L 0..100) of uint8 RGB `[..., W, 3]`, float32."""
    flat = np.ascontiguousarray(frames.reshape(-1, *frames.shape[-2:]), dtype=np.float32) / 255
    return cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).reshape(frames.shape)


def colour_maps(lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest palette hue `[f, H, W]` and chroma as a share of that colour's `[f, H, W]`."""
    palette = palette_lab()[:, 1:]
    chroma = np.linalg.norm(palette, axis=1)
    along = lab[..., 1:] @ (palette / chroma[:, None]).T
    nearest = along.argmax(-1)
    return nearest, np.take_along_axis(along, nearest[..., None], -1)[..., 0] / chroma[nearest]


def _normalise(mask: np.ndarray, centre: tuple[float, float], area: float) -> np.ndarray:
    """Mask scaled to a sixth of the canvas in area and centred by its centroid."""
    stride = np.sqrt(area / (CANVAS * CANVAS / 6))
    half = (CANVAS - 1) / 2
    inverse = np.array([[stride, 0, centre[0] - stride * half], [0, stride, centre[1] - stride * half]])
    return cv2.warpAffine(mask, inverse, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@lru_cache(maxsize=1)
def _templates() -> np.ndarray:
    """Normalised silhouettes `[shapes, canvas²]`."""
    images = []
    for shape in SHAPES:
        mask = cv2.blur(silhouette(shape, 11.0).astype(np.float32), (5, 5))
        moments = cv2.moments(mask)
        centre = (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"])
        images.append(_normalise(mask, centre, moments["m00"]).ravel())
    return np.stack(images)


@lru_cache(maxsize=1)
def unit_areas() -> dict[str, float]:
    """Area of each shape in a box of half side 1."""
    return {shape: silhouette(shape, 11.0).sum() / (11.0 * 4) ** 2 for shape in SHAPES}


def _shape_of(mask: np.ndarray, centre: tuple[float, float], area: float) -> tuple[int, float]:
    image, templates = _normalise(mask, centre, area).ravel(), _templates()
    overlap = np.minimum(image, templates).sum(1) / np.maximum(image, templates).sum(1)
    best = int(overlap.argmax())
    return (best if overlap[best] >= MIN_IOU else UNKNOWN), float(overlap[best])


@lru_cache(maxsize=8)
def _paint_axis(colour: str) -> tuple[np.ndarray, np.ndarray]:
    """CIELAB of a colour and the vector to its contrast colour, scaled so that projections read 0 … 1."""
    ends = to_lab(np.array([[COLOURS[colour], CONTRAST[colour]]], np.uint8))[0]
    axis = ends[1] - ends[0]
    return ends[0], axis / (axis @ axis)


def _fill_of(lab: np.ndarray, mask: np.ndarray, colour: str) -> int:
    """Solid, striped or dotted by the paint-contrast mixture inside: its spread, and how much of it rows explain."""
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=2, borderValue=0) > 0
    if inside.sum() < 12:
        return UNKNOWN
    base, axis = _paint_axis(colour)
    mixture = np.where(inside, (lab - base) @ axis, 0)
    counts = inside.sum(1)
    rows = mixture.sum(1)[counts > 0] / counts[counts > 0]
    mean = mixture.sum() / inside.sum()
    spread = (mixture[inside] ** 2).mean() - mean**2
    if spread < SOLID_SPREAD**2:
        return FILLS.index("solid") if abs(mean) < 0.2 else UNKNOWN
    explained = (counts[counts > 0] * (rows - mean) ** 2).sum() / inside.sum() / spread
    return FILLS.index("striped" if explained > ROWS_EXPLAIN else "dotted")


SOLID_SPREAD = 0.1
"""Standard deviation of the mixture below which a fill is solid (stripes reach 0.4)."""
ROWS_EXPLAIN = 0.8
"""Share of the mixture's variance between rows above which a pattern is striped (dots reach 0.7 in small stars)."""


def blobs(lab: np.ndarray, nearest: np.ndarray, coverage: np.ndarray) -> list[Blob]:
    """Coloured components of one frame `[H, W, 3]`, largest first.

    Stripes and dots belong to the colour around them even where its border has worn away: neutral pixels much brighter
    or darker than the background join a colour within reach, unless another colour is nearer.
    """
    covered = coverage >= COVERAGE
    lightness = lab[..., 0]
    behind = lightness[coverage < 0.2]
    level = np.median(behind) if behind.size else 50.0
    contrast = ~covered & (np.abs(lightness - level) > CONTRAST_STEP)
    found = []
    for index in np.flatnonzero(np.bincount(nearest[covered], minlength=len(PALETTE)) >= MIN_AREA // 2):
        own = (covered & (nearest == index)).astype(np.uint8)
        others = (covered & (nearest != index)).astype(np.uint8)
        joined = contrast & (cv2.dilate(own, REACH) > 0) & (cv2.dilate(others, NEAR) == 0)
        whole = np.pad(own | joined.astype(np.uint8), 2)
        closed = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, NEAR)[2:-2, 2:-2]
        contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            if cv2.contourArea(contour) < MIN_AREA / 2:
                continue
            mask = np.zeros(own.shape, np.uint8)
            cv2.drawContours(mask, [contour], -1, 1, cv2.FILLED)
            blob = _blob(lab, mask, own, coverage, int(index))
            if blob:
                found.append(blob)
    return sorted(found, key=lambda blob: -blob.area)


def _blob(lab: np.ndarray, mask: np.ndarray, own: np.ndarray, coverage: np.ndarray, index: int) -> Blob | None:
    moments = cv2.moments(mask, binaryImage=True)
    area = moments["m00"]
    paint = (mask > 0) & (own > 0)
    if area < MIN_AREA or paint.sum() < 0.2 * area:
        return None
    core = lab[paint & (coverage >= np.quantile(coverage[paint], 0.6))].mean(0)
    base, axis = _paint_axis(PALETTE[index])
    offset = core - base - np.clip((core - base) @ axis, 0, 0.5) * axis / (axis @ axis)
    if np.hypot(np.hypot(offset[1], offset[2]), 0.5 * offset[0]) > COLOUR_TOLERANCE:
        return None
    centre = (moments["m10"] / area, moments["m01"] / area)
    shape, overlap = _shape_of(mask.astype(np.float32), centre, area)
    return Blob(PALETTE[index], centre, area, shape, overlap, _fill_of(lab, mask, PALETTE[index]))
