"""One file looked through: which of its pictures become clips, which do not, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fewstep.ingest.cuts import CutFinder
from fewstep.ingest.footage import Facts, Footage, FootageError, Moments, at_rate, open_footage
from fewstep.manifest import file_hash
from fewstep.pictures import fit_picture
from fewstep.types import Picture

MOMENTS = 5
"""Pictures of a strip."""
STRIP_HEIGHT = 72
"""Pixels."""
TOO_SHORT = "shorter than a clip"
LEFT_OVER = "left over at the end of a scene"
STILL = "stands still: too many of its pictures are repeated"
HELD = 2.0
"""Seconds after which a picture that stays is the end of its scene: what comes next begins a new one."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """What becomes of footage."""

    frames: int
    """Pictures of a clip."""
    fps: float
    """At which they are taken."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    jump: float
    """How much more than usual a picture must differ from the last one to be of another scene; see CutFinder."""
    repeats: float = 0.6
    """Share of a clip's pictures that may be repeated because the file has fewer; a clip of more stands still. At 16 a
    second this takes files of 7 and more."""

    def __post_init__(self) -> None:
        for name in ("frames", "fps", "height", "width", "jump"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} of a clip must be above 0, got {getattr(self, name)}")
        if not 0 <= self.repeats <= 1:
            raise ValueError(f"repeats of a clip is a share and must lie in [0, 1], got {self.repeats}")

    @property
    def seconds(self) -> float:
        """Of a clip."""
        return self.frames / self.fps


@dataclass(frozen=True)
class Span:
    """Consecutive pictures of one scene."""

    first: int
    """Number of the first one, in pictures at the target rate."""
    count: int
    dropped: str | None = None
    """Why it is no clip."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What is known of a file."""

    name: str
    sha256: str
    """Of the file."""
    bytes: int
    """Its length."""
    modified: int
    """When it was changed last, as its file system counts nanoseconds."""
    facts: Facts | None = None
    """None for a file that cannot be opened."""
    origin: float = 0.0
    """Second of its first picture."""
    pictures: int = 0
    """At the target rate."""
    repeated: int = 0
    """How many of these are the same as the one before, because the file has fewer."""
    cuts: int = 0
    """Scenes after the first."""
    spans: tuple[Span, ...] = ()
    error: str | None = None
    """Why nothing of the file can be used."""

    @property
    def clips(self) -> list[Span]:
        """The spans that become clips."""
        return [] if self.error else [span for span in self.spans if span.dropped is None]

    def key(self, span: Span) -> str:
        """The file's content and a place in it: the same clip has the same key wherever its file lies."""
        return f"{self.sha256[:16]}-{span.first:06d}"

    def strip(self, span: Span) -> str:
        """File name of the strip that shows a span."""
        return f"{self.key(span)}.jpg"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Scan:
        """Inverse of `to_json`. Raises ValueError, KeyError or TypeError for a line that is none."""
        plain: dict[str, Any] = dict(json.loads(line))
        facts, spans = plain.pop("facts"), plain.pop("spans")
        return cls(facts=facts and Facts(**facts), spans=tuple(Span(**span) for span in spans), **plain)


def scan_file(path: Path, name: str, cutting: Cutting, save_strip: Callable[[str, Picture], None]) -> Scan:
    """Look through a file. Damage anywhere in it makes all of it useless: what the rest shows cannot be trusted.

    `save_strip` is given a file name and a picture of some moments for each span.
    """
    try:
        size, modified = stamp(path)
        scan = Scan(name=name, sha256=file_hash(path), bytes=size, modified=modified)
    except OSError as error:
        return Scan(name=name, sha256="", bytes=0, modified=0, error=f"it cannot be read ({error.strerror})")
    try:
        with open_footage(path) as footage:
            reading = _Reading(footage, cutting)
            spans = []
            for span, strip in reading.spans():
                save_strip(scan.strip(span), strip)
                spans.append(span)
    except FootageError as error:
        return replace(scan, error=str(error))
    return replace(
        scan,
        facts=footage.facts,
        origin=reading.origin,
        pictures=reading.pictures,
        repeated=reading.repeated,
        cuts=reading.cuts,
        spans=tuple(spans),
    )


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does: its length and its time."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class _Reading:
    """A file being read, once, from start to end; no more than a strip of it is held."""

    def __init__(self, footage: Footage, cutting: Cutting):
        self.footage, self.cutting = footage, cutting
        self.origin, self.pictures, self.repeated, self.cuts = 0.0, 0, 0, 0

    def spans(self) -> Iterator[tuple[Span, Picture]]:
        """Every span and its strip: whole clips, and what is left of each scene."""
        length, first, whole, repeated = self.cutting.frames, 0, False, 0
        stride = max(1, (length - 1) // (MOMENTS - 1))
        strip: list[Picture] = []
        for number, (picture, is_cut, is_repeat) in enumerate(self._seen()):
            if is_cut or number - first == length:
                is_clip = number - first == length
                yield self._span(first, number - first, strip, repeated, rest=whole)
                first, whole, strip, repeated = number, is_clip and not is_cut, [], 0
            repeated += is_repeat
            if (number - first) % stride == 0 and len(strip) < MOMENTS:
                strip.append(picture)
        if self.pictures > first:
            yield self._span(first, self.pictures - first, strip, repeated, rest=whole)

    def _span(self, first: int, count: int, strip: list[Picture], repeated: int, rest: bool) -> tuple[Span, Picture]:
        why = None if count == self.cutting.frames else LEFT_OVER if rest else TOO_SHORT
        if why is None and repeated > self.cutting.repeats * count:
            why = STILL
        width = max(1, round(STRIP_HEIGHT * self.cutting.width / self.cutting.height))
        small = [np.asarray(Image.fromarray(picture).resize((width, STRIP_HEIGHT))) for picture in strip]
        return Span(first, count, why), np.concatenate(small, axis=1)

    def _seen(self) -> Iterator[tuple[Picture, bool, bool]]:
        """Pictures at the target rate and size, whether a new scene begins with them, and whether they are repeated."""
        finder = CutFinder(self.cutting.jump)
        before: Callable[[], Picture] | None = None
        held = 0
        for make in at_rate(self._shown(), self.cutting.fps):
            is_new, before = make is not before, make
            if is_new:
                fitted = fit_picture(make(), self.cutting.height, self.cutting.width)
            is_cut = is_new and (finder.is_cut(fitted) or held >= HELD * self.cutting.fps)
            held = 0 if is_new else held + 1
            self.repeated += not is_new
            self.pictures += 1
            self.cuts += is_cut
            yield fitted, is_cut, not is_new

    def _shown(self) -> Moments:
        for number, shown in enumerate(self.footage.play()):
            if number == 0:
                self.origin = shown[0]
            yield shown
