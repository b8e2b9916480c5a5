"""Clips in and out of files. A clip is `f H W 3` uint8 RGB with its frame rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from fewstep.files import atomic_output
from fewstep.types import Frames, Picture

Push = Callable[[Frames], None]
"""Takes the next frames of a clip."""

SUFFIXES = (".mp4", ".gif", ".webp")
CRF = 14
"""H.264's quality, less is better: differences are not seen. Measures see them, and want 10 or less."""
GIF_MAX_FPS = 50
"""Viewers slow a GIF down when a frame lasts less than 2/100 s."""
BT709 = 1
"""The colours of HDTV, as H.264 numbers its matrices, primaries and transfer curves."""
ENCODER_THREADS = 4
"""A student on a GPU makes frames faster than one thread writes them."""
SAME_TIME = 1e-3
"""Fraction of a frame's duration by which containers round their times."""


@dataclass(frozen=True)
class Clip:
    """A clip read from a file."""

    frames: Frames
    fps: float


def check_video_path(path: Path | str) -> Path:
    """The path, or ValueError when its suffix names no video format known here."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a video file ends in {', '.join(SUFFIXES)}, got '{path}': change the ending")
    return path


def write_video(path: Path | str, frames: Frames, fps: float, *, enlarge: int = 1, crf: int = CRF) -> Path:
    """Write a whole clip; see `open_video`."""
    check_frames(frames)
    with open_video(path, fps, enlarge=enlarge, crf=crf) as push:
        push(frames)
    return Path(path)


@contextmanager
def open_video(path: Path | str, fps: float, *, enlarge: int = 1, crf: int = CRF) -> Iterator[Push]:
    """Write frames, as they are pushed, at their true rate as H.264, GIF or WebP by the file's ending.

    The file is there, whole, when the body ends, and not at all when it fails. H.264 is written as it comes and holds
    no more than what was pushed last; the others are written at the end. `enlarge` repeats each pixel that many times
    in both directions, for clips too small to look at; `crf` is H.264's quality. Raises ValueError for frames of the
    wrong kind or none, OutputError when the file cannot be written.
    """
    path = check_video_path(path)
    if not fps > 0:
        raise ValueError(f"frames per second must be above 0, got {fps}")
    if path.suffix.lower() == ".gif" and fps > GIF_MAX_FPS:
        raise ValueError(f"a GIF carries at most {GIF_MAX_FPS} frames per second, got {fps}: write .mp4 or .webp")
    writers: dict[str, Callable[[Path, float], AbstractContextManager[Push]]]
    writers = {".mp4": partial(_h264, crf=crf), ".gif": _gif, ".webp": _webp}
    size: list[tuple[int, ...]] = []
    with atomic_output(path) as scratch, writers[path.suffix.lower()](scratch, fps) as write:

        def push(frames: Frames) -> None:
            size.append(check_frames(frames).shape[1:])
            if size[-1] != size[0]:
                raise ValueError(f"frames of one clip must be of one size, got {size[0]} and then {size[-1]}")
            write(frames.repeat(enlarge, axis=1).repeat(enlarge, axis=2))

        yield push
        if not size:
            raise ValueError(f"a clip needs 1 frame or more, got none for '{path}'")


def write_image(path: Path | str, image: Picture) -> Path:
    """Write one picture (.png, .jpg, .webp), whole or not at all."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"a picture file ends in .png, .jpg or .webp, got '{path}': change the ending")
    check_frames(image[None])
    with atomic_output(path) as scratch:
        Image.fromarray(image).save(scratch)
    return path


def read_video(path: Path | str) -> Clip:
    """All frames of a video, GIF or WebP file, upright. Raises ValueError when it is missing, damaged or no video."""
    path = Path(path)
    with _reading(path):
        clip = _read_animation(path) if is_animation(path) else _read_container(path)
    if not len(clip.frames):
        raise ValueError(f"a video with frames was required, '{path}' has none: write it again")
    return clip


def shrink(frames: Frames, factor: int) -> Frames:
    """Frames that `enlarge` made larger at their own size again: the mean of the pixels that were one."""
    if factor == 1:
        return frames
    f, height, width, _ = frames.shape
    blocks = frames.reshape(f, height // factor, factor, width // factor, factor, 3)
    return np.rint(blocks.mean((2, 4), dtype=np.float32)).astype(np.uint8)


def read_end(path: Path | str, count: int, fps: float) -> Frames:
    """The last `count` pictures of a video file, at `fps` whatever its own rate; fewer where it is shorter.

    The last one is the file's last; each of the others is the picture nearest to its time. Raises ValueError as
    `read_video` does.
    """
    path = Path(path)
    end: deque[tuple[float, Any]] = deque()
    with _reading(path):
        for moment, picture in _play(path):
            end.append((moment, picture))
            while len(end) > 1 and end[1][0] <= moment - (count - 1) / fps:
                end.popleft()
        if not end:
            raise ValueError(f"a video with frames was required, '{path}' has none: write it again")
        times = np.array([moment for moment, _ in end])
        there = min(count, 1 + int((times[-1] - times[0]) * fps + SAME_TIME))
        wanted = times[-1] - np.arange(there)[::-1] / fps
        nearest = [end[np.abs(times - moment).argmin()][1] for moment in wanted]
        return np.stack([x if isinstance(x, np.ndarray) else upright(x) for x in nearest])


def check_frames(frames: Any) -> Frames:
    """The frames, or ValueError for what is no clip."""
    good = isinstance(frames, np.ndarray) and frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3
    if not good or 0 in frames.shape:
        kind = f"{frames.dtype} {tuple(frames.shape)}" if hasattr(frames, "shape") else type(frames).__name__
        raise ValueError(f"frames must be a non-empty uint8 array (frames, height, width, 3), got {kind}")
    return frames


@contextmanager
def _h264(path: Path, fps: float, crf: int) -> Iterator[Push]:
    """4:2:0 in the colours of HDTV, and said so: players guess by the size where a file does not say.

    A colour is the mean of its four pixels: where these are one, enlarged, it is kept exactly.
    """
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "medium"})
        stream.pix_fmt, stream.thread_count = "yuv420p", ENCODER_THREADS
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, name, BT709)

        def push(frames: Frames) -> None:
            # 4:2:0 wants even sides: odd ones repeat their last row or column
            frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
            if not stream.codec_context.is_open:
                stream.height, stream.width = frames.shape[1:3]
            for picture in frames:
                rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                container.mux(stream.encode(rgb.reformat(format="yuv420p", dst_colorspace=BT709, interpolation="AREA")))

        yield push
        container.mux(stream.encode())


@contextmanager
def _gif(path: Path, fps: float) -> Iterator[Push]:
    """One palette for the whole clip, so that still parts do not flicker; delays sum to the true length."""
    pieces: list[Frames] = []
    yield pieces.append
    frames = np.concatenate(pieces)
    f, height, width, _ = frames.shape
    palette = Image.fromarray(frames.reshape(f * height, width, 3)).quantize(256, dither=Image.Dither.NONE)
    pictures = [Image.fromarray(x).quantize(palette=palette, dither=Image.Dither.NONE) for x in frames]
    _save_animation(path, pictures, _durations(f, fps, unit=10))


@contextmanager
def _webp(path: Path, fps: float) -> Iterator[Push]:
    pieces: list[Frames] = []
    yield pieces.append
    pictures = [Image.fromarray(x) for piece in pieces for x in piece]
    _save_animation(path, pictures, _durations(len(pictures), fps, 1), quality=90, method=4)


def _save_animation(path: Path, pictures: list[Image.Image], durations: list[int], **options: Any) -> None:
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)


def _durations(count: int, fps: float, unit: int) -> list[int]:
    """Milliseconds of each frame, in multiples of `unit`, whose sum never strays half a unit from the true time."""
    ends = [round(i * 1000 / (fps * unit)) * unit for i in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what readers raise into one ValueError."""
    if not path.is_file():
        raise ValueError(f"a video file was required, '{path}' is not a file: check the name")
    try:
        yield
    except (av.FFmpegError, UnidentifiedImageError, OSError, EOFError, IndexError) as error:
        raise ValueError(f"a readable video was required, '{path}' is none ({error}): write it again") from error


def is_animation(path: Path) -> bool:
    """Whether PIL reads it and not FFmpeg, which knows only some of these."""
    return path.suffix.lower() in (".gif", ".webp")


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise ValueError(f"a video file was required, '{path}' has no picture in it: check the name")
    return container.streams.video[0]


def upright(frame: Any) -> Picture:
    """A decoded frame as the file says that it is to be held; phones write theirs lying."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _play(path: Path) -> Iterator[tuple[float, Any]]:
    """Time in seconds and picture of every frame; those of containers still encoded as the decoder gives them."""
    if is_animation(path):
        clip = _read_animation(path)
        yield from ((index / clip.fps, picture) for index, picture in enumerate(clip.frames))
        return
    with av.open(str(path)) as container:
        stream = _video_stream(container, path)
        for index, frame in enumerate(container.decode(stream)):
            yield frame.time if frame.time is not None else index / float(stream.guessed_rate or 1), frame


def _read_container(path: Path) -> Clip:
    with av.open(str(path)) as container:
        stream = _video_stream(container, path)
        pictures = [upright(frame) for frame in container.decode(stream)]
        rate = stream.average_rate or stream.guessed_rate or Fraction(1)
        if stream.frames and stream.frames != len(pictures):
            raise OSError(f"{stream.frames} frames announced, {len(pictures)} found")
    return Clip(np.stack(pictures) if pictures else np.empty((0, 1, 1, 3), np.uint8), float(rate))


def _read_animation(path: Path) -> Clip:
    """Frames equal to the one before are merged by writers; their durations say how many there were."""
    pictures, durations = [], []
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            pictures.append(np.asarray(image.convert("RGB")))
            durations.append(image.info.get("duration", 0) or 1000)
    tick = float(min(durations))
    for _ in range(3):
        counts = [max(1, round(duration / tick)) for duration in durations]
        tick = sum(durations) / sum(counts)
    return Clip(np.stack(pictures).repeat(counts, axis=0), 1000 / tick)
