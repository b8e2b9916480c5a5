"""What a file of any codec shows at any time: pictures as they are meant to be seen, and how they become a clip."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import av
import numpy as np
from PIL import Image

from fewstep.pictures import fit_picture
from fewstep.types import Frames, Picture
from fewstep.video import SAME_TIME, is_animation, read_video, upright

T = TypeVar("T")
Shown = tuple[float, float, T]
"""Second from which a picture is to be seen, the second until which, and the picture."""
Moments = Iterator[Shown[Callable[[], Picture]]]
"""Pictures in order, each made when it is asked for: converting those that nobody sees would take most of the time."""

MISSING = 0.5
"""Seconds, beside a twentieth of its length, that a file may end before it says it does."""
BEFORE = 1.0
"""Seconds before the first wanted picture at which reading starts; the decoder needs a run-up."""
PQ = 16
"""The transfer curve of HDR10 and Dolby Vision; shown as if it were ordinary video it is grey."""
LONGEST = 600.0
"""Seconds that a picture may be seen; a clock that leaps further is broken."""
LOCAL = {"protocol_whitelist": "file"}
"""A file may be a playlist in disguise; it must not make us open connections."""


class FootageError(ValueError):
    """A file that shows nothing, or not all of what it should."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a file says of itself."""

    codec: str
    width: int
    """Square pixels, upright."""
    height: int
    fps: float
    """On average."""
    rotation: int
    """Degrees that its pictures must be turned, counter-clockwise."""


@runtime_checkable
class Footage(Protocol):
    """A file that is open."""

    facts: Facts

    def play(self, after: float | None = None) -> Moments:
        """All pictures, or those from about a second on. Raises FootageError where the file is damaged or cut off."""
        ...


@contextmanager
def open_footage(path: Path) -> Iterator[Footage]:
    """A video file of any kind, or an animation. Raises FootageError for what cannot be read."""
    with ExitStack() as stack:
        with _readable(path):
            footage: Footage
            if is_animation(path):
                footage = _Animation(path)
            else:
                footage = _Film(path, stack.enter_context(av.open(str(path), options=LOCAL)))
        yield footage


def at_rate(shown: Iterable[Shown[T]], fps: float, *, origin: float | None = None, first: int = 0) -> Iterator[T]:
    """What is to be seen at the times `origin` + k / `fps`, from k = `first` on: the picture nearest in time.

    A picture that is long to be seen, as in files of variable rate, gives way to the next one half a frame early at
    most. `origin` is by default the first picture's time.
    """
    before: Shown[T] | None = None
    k, slack = first, SAME_TIME / fps
    for begin, end, item in shown:
        origin = begin if origin is None else origin
        if before is not None:
            gives_way = begin - min(begin - before[0], 1 / fps) / 2
            while origin + k / fps < gives_way - slack:
                yield before[2]
                k += 1
        before = begin, end, item
    while before is not None and origin is not None and origin + k / fps < before[1] - slack:
        yield before[2]
        k += 1


def read_clip(path: Path, origin: float, fps: float, first: int, count: int, size: tuple[int, int]) -> Frames:
    """Pictures `first` to `first + count` of a file at `fps`, cropped to cover `size` (height, width).

    Raises FootageError for a file that does not have them.
    """
    wanted = origin + first / fps
    for seek in (True, False):
        with open_footage(path) as footage:
            shown = footage.play(wanted - BEFORE if seek and first else None)
            start = next(shown, None)
            if start is None or start[0] > wanted + 0.5 / fps:
                continue  # what the file's index says is wrong: read from its start
            frames: list[Picture] = []
            before = None
            for picture in islice(at_rate(chain([start], shown), fps, origin=origin, first=first), count):
                frames.append(frames[-1] if picture is before else fit_picture(picture(), *size))
                before = picture
        if len(frames) == count:
            return np.stack(frames)
    raise FootageError(f"it no longer has the {count} pictures from {first / fps:.1f} s on")


class _Film:
    """What FFmpeg decodes."""

    def __init__(self, path: Path, container: Any):
        if not container.streams.video:
            raise FootageError("there is no picture in it")
        self.path, self.container, self.stream = path, container, container.streams.video[0]
        if self.stream.codec_context is None:
            raise FootageError("its codec is unknown here")
        aspect = self.stream.sample_aspect_ratio
        self.stretch = float(aspect) if aspect else 1.0
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.interval = 1 / float(rate) if rate else 1 / 25
        self.facts = self._facts(0)

    def play(self, after: float | None = None) -> Moments:
        with _readable(self.path):
            yield from self._moments(after)

    def _moments(self, after: float | None) -> Moments:
        if after is not None:
            with suppress(av.FFmpegError):  # a file without an index is read from its start
                self.container.seek(int(after / self.stream.time_base), stream=self.stream)
        last = end = None
        for number, frame in enumerate(self.container.decode(self.stream)):
            begin = number * self.interval if frame.time is None else frame.time
            if frame.is_corrupt and (after is None or begin >= after):
                raise FootageError(f"it is damaged at {begin:.1f} s")
            if frame.color_trc == PQ:
                raise FootageError("it is HDR (PQ): convert it to ordinary video first")
            if last is None:
                self.facts = self._facts(frame.rotation)
            elif begin <= last:
                continue  # two pictures at one time: the second one comes too late
            elif begin > last + LONGEST:
                raise FootageError(f"its clock leaps from {last:.1f} to {begin:.1f} s")
            lasts = float(frame.duration * frame.time_base) or self.interval
            last, end = begin, begin + min(lasts, LONGEST)
            yield begin, end, partial(self._picture, frame)
        self._require_whole(end)

    def _facts(self, rotation: float) -> Facts:
        size = (round(self.stream.width * self.stretch), self.stream.height)
        width, height = size[:: -1 if round(rotation / 90) % 2 else 1]
        codec, fps = self.stream.codec_context.codec.canonical_name, round(1 / self.interval, 3)
        return Facts(codec=codec, width=width, height=height, fps=fps, rotation=round(rotation))

    def _picture(self, frame: Any) -> Picture:
        with _readable(self.path):
            picture = upright(frame)
        if self.stretch == 1:
            return picture
        return np.asarray(Image.fromarray(picture).resize((self.facts.width, self.facts.height)))

    def _require_whole(self, end: float | None) -> None:
        """Raise FootageError for a film that ends long before it says: a download that broke off."""
        if end is None:
            raise FootageError("there is no picture in it")
        announced = self._announced()
        if announced is not None and end < announced * 0.95 - MISSING:
            raise FootageError(f"it breaks off after {end:.1f} of {announced:.1f} s")

    def _announced(self) -> float | None:
        """The second at which the film ends by its own account, as far as it gives one."""
        stream = self.stream
        if stream.duration:
            return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        if tag := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
            return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])  # as Matroska counts
        alone = len(self.container.streams) == 1  # else it is perhaps the sound that lasts so long
        return self.container.duration / av.time_base if alone and self.container.duration else None


class _Animation:
    """What PIL reads, whole. Pictures that are the same as the one before are that one, longer."""

    def __init__(self, path: Path):
        self.clip = read_video(path)
        frames = self.clip.frames
        changes = [k for k in range(1, len(frames)) if not np.array_equal(frames[k], frames[k - 1])]
        if not changes:
            raise FootageError("it is a picture, not a film")
        self.times = [0, *changes, len(frames)]
        height, width = self.clip.frames.shape[1:3]
        fps = round(self.clip.fps, 3)
        self.facts = Facts(codec=path.suffix[1:].lower(), width=width, height=height, fps=fps, rotation=0)

    def play(self, after: float | None = None) -> Moments:
        for begin, end in pairwise(self.times):
            yield begin / self.clip.fps, end / self.clip.fps, partial(_same, self.clip.frames[begin])


def _same(picture: Picture) -> Picture:
    return picture


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what the readers raise into FootageError, which names no folder of this machine."""
    try:
        yield
    except FootageError:
        raise
    except Exception as error:  # one file, and whatever a decoder says of it, must not end the work on all others
        cause = error.__cause__ or error
        why = getattr(cause, "strerror", None) or str(cause).replace(str(path), path.name) or type(cause).__name__
        raise FootageError(f"it cannot be read as video ({why})") from error
