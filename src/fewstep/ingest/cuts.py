"""Where one scene ends and another begins, from the pictures alone."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from fewstep.types import Picture

SIDE = 32
"""Pixels of the small squares that are compared; noise and fine texture are gone at this size."""
BINS = 4
"""Of the histogram, in each colour."""
RECENT = 8
"""Changes that say how much the scene changes by itself."""
KNOWN = 3
"""Changes that it takes to say so."""
STILL = 0.01, 0.02
"""What pixels and colours change by themselves at least; less is noise."""
LEAST = 0.05
"""A smaller change of the pixels is no cut."""
SOME_COLOURS, MANY_COLOURS, MOST_COLOURS = 0.06, 0.15, 0.5
"""A cut changes some colours where the pixels leap, many where only the colours do; most are one in any case."""


class CutFinder:
    """Sees the pictures of a film in turn, and says which are the first ones of their scenes.

    At a hard cut the pixels change `jump` times as much as they did at the pictures before (the median of eight), and
    some colours change too; or the colours change `jump` times as much as they did, many of them. Movement, however
    fast, was there before and keeps the colours. In a scene's first moments, when it is not known how much changes by
    itself, only a picture of quite other colours is a cut. Dissolves and fades are not found.

    What is compared are pictures of 32 x 32 pixels: the mean absolute difference of their pixels, and the share by
    which their 4 x 4 x 4 colour histograms differ, interpolated so that a change of light is no leap to the next bin.
    """

    def __init__(self, jump: float):
        self.jump = jump
        self.before: np.ndarray | None = None
        self.recent: deque[tuple[float, float]] = deque(maxlen=RECENT)

    def is_cut(self, picture: Picture) -> bool:
        """Whether a new scene begins with this picture. Repeated pictures must be left out: they look like rest."""
        small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        before, self.before = self.before, small
        if before is None:
            return False
        pixels = float(np.abs(small - before).mean())
        colours = 1 - float(np.minimum(_histogram(before), _histogram(small)).sum())
        if pixels >= LEAST and self._is_leap(pixels, colours):
            self.recent.clear()
            return True
        self.recent.append((pixels, colours))
        return False

    def _is_leap(self, pixels: float, colours: float) -> bool:
        if colours >= MOST_COLOURS or len(self.recent) < KNOWN:
            return colours >= MOST_COLOURS
        usual_pixels, usual_colours = self.jump * (np.median(self.recent, axis=0) + STILL)
        leap_of_pixels = pixels >= usual_pixels and colours >= SOME_COLOURS
        return leap_of_pixels or (colours >= usual_colours and colours >= MANY_COLOURS)


def _histogram(small: np.ndarray) -> np.ndarray:
    """Shares of the pixels in `BINS` ** 3 colours, each pixel split between the eight nearest."""
    place = small.reshape(-1, 3) * (BINS - 1)
    low = np.minimum(place.astype(int), BINS - 2)
    part = place - low
    total = np.zeros(BINS**3)
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, part, 1 - part).prod(axis=1)
        index = np.ravel_multi_index(tuple((low + corner).T), (BINS,) * 3)
        total += np.bincount(index, weight, BINS**3)
    return total / len(place)
