"""Clips in and out of files, and many clips in one picture. A clip is `f H W 3` uint8 RGB with its frame rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from fewstep.files import atomic_output

Frames = UInt8[np.ndarray, "f H W 3"]
"""Pictures of one clip in order, RGB, 0..255."""
Picture = UInt8[np.ndarray, "H W 3"]

SUFFIXES = (".mp4", ".gif", ".webp")
GIF_MAX_FPS = 50
"""Viewers slow a GIF down when a frame lasts less than 2/100 s."""
BACKGROUND = (250, 250, 250)
INK = (30, 30, 30)


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


def write_video(path: Path | str, frames: Frames, fps: float, *, enlarge: int = 1) -> Path:
    """Write frames at their true rate as H.264, GIF or WebP by the file's ending, whole or not at all.

    `enlarge` repeats each pixel that many times in both directions, for clips too small to look at.
    Raises ValueError for frames of the wrong kind, OutputError when the file cannot be written.
    """
    path = check_video_path(path)
    _check_frames(frames)
    if not fps > 0:
        raise ValueError(f"frames per second must be above 0, got {fps}")
    frames = frames.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    writers = {".mp4": _write_h264, ".gif": _write_gif, ".webp": _write_webp}
    with atomic_output(path) as scratch:
        writers[path.suffix.lower()](scratch, frames, fps)
    return path


def write_image(path: Path | str, image: Picture) -> Path:
    """Write one picture (.png, .jpg, .webp), whole or not at all."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"a picture file ends in .png, .jpg or .webp, got '{path}': change the ending")
    _check_frames(image[None])
    with atomic_output(path) as scratch:
        Image.fromarray(image).save(scratch)
    return path


def read_video(path: Path | str) -> Clip:
    """All frames of a video, GIF or WebP file. Raises ValueError when it is missing, truncated or no video."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a video file was required, '{path}' is not a file: check the name")
    try:
        clip = _read_animation(path) if path.suffix.lower() in (".gif", ".webp") else _read_container(path)
    except (av.FFmpegError, UnidentifiedImageError, OSError, EOFError, IndexError) as error:
        raise ValueError(f"a readable video was required, '{path}' is none ({error}): write it again") from error
    if not len(clip.frames):
        raise ValueError(f"a video with frames was required, '{path}' has none: write it again")
    return clip


def video_grid(videos: Sequence[Frames], labels: Sequence[str], columns: int, *, enlarge: int = 1) -> Frames:
    """Clips side by side, each under its label, playing together; shorter ones hold their last frame."""
    if not videos or len(videos) != len(labels):
        raise ValueError(f"one label per clip is required, got {len(videos)} clips and {len(labels)} labels")
    if columns < 1:
        raise ValueError(f"a grid needs 1 column or more, got {columns}")
    videos = [video.repeat(enlarge, axis=1).repeat(enlarge, axis=2) for video in videos]
    length = max(len(video) for video in videos)
    height, width = (max(video.shape[axis] for video in videos) for axis in (1, 2))
    gap, text_height = 6, 32 if any("\n" in label for label in labels) else 18
    rows = -(-len(videos) // columns)
    size = (columns * (width + gap) + gap, rows * (height + text_height + gap) + gap)
    page = Image.new("RGB", size, BACKGROUND)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    corners = []
    for index, label in enumerate(labels):
        row, column = divmod(index, columns)
        x, y = gap + column * (width + gap), gap + row * (height + text_height + gap)
        draw.multiline_text((x, y), _fit(label, font, width), fill=INK, font=font, spacing=2)
        corners.append((x, y + text_height))
    grid = np.repeat(np.asarray(page)[None], length, axis=0)
    for video, (x, y) in zip(videos, corners, strict=True):
        held = video[np.minimum(np.arange(length), len(video) - 1)]
        grid[:, y : y + video.shape[1], x : x + video.shape[2]] = held
    return grid


def contact_sheet(
    videos: Sequence[Frames], labels: Sequence[str], columns: int, *, moments: int = 5, enlarge: int = 1
) -> Picture:
    """One still picture of many clips: each cell shows `moments` frames of its clip, first to last."""
    strips = []
    for video in videos:
        picked = np.linspace(0, len(video) - 1, min(moments, len(video))).round().astype(int)
        strips.append(np.concatenate(list(video[picked]), axis=1)[None])
    return video_grid(strips, labels, columns, enlarge=enlarge)[0]


def _check_frames(frames: Any) -> None:
    good = isinstance(frames, np.ndarray) and frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3
    if not good or 0 in frames.shape:
        kind = f"{frames.dtype} {tuple(frames.shape)}" if hasattr(frames, "shape") else type(frames).__name__
        raise ValueError(f"frames must be a non-empty uint8 array (frames, height, width, 3), got {kind}")


def _fit(label: str, font: Any, width: int) -> str:
    """The label with each line cut to the width."""
    lines = []
    for line in label.split("\n")[:2]:
        cut = line
        while cut and font.getlength(cut + ("…" if cut != line else "")) > width:
            cut = cut[:-1]
        lines.append(cut if cut == line else cut + "…")
    return "\n".join(lines)


def _write_h264(path: Path, frames: Frames, fps: float) -> None:
    # 4:2:0 wants even sides: odd ones repeat their last row or column.
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "14", "preset": "medium"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


def _write_gif(path: Path, frames: Frames, fps: float) -> None:
    """One palette for the whole clip, so that still parts do not flicker; delays sum to the true length."""
    if fps > GIF_MAX_FPS:
        raise ValueError(f"a GIF carries at most {GIF_MAX_FPS} frames per second, got {fps}: write .mp4 or .webp")
    f, height, width, _ = frames.shape
    palette = Image.fromarray(frames.reshape(f * height, width, 3)).quantize(256, dither=Image.Dither.NONE)
    pictures = [Image.fromarray(x).quantize(palette=palette, dither=Image.Dither.NONE) for x in frames]
    _save_animation(path, pictures, _durations(f, fps, unit=10))


def _write_webp(path: Path, frames: Frames, fps: float) -> None:
    _save_animation(path, [Image.fromarray(x) for x in frames], _durations(len(frames), fps, 1), quality=90, method=4)


def _save_animation(path: Path, pictures: list[Image.Image], durations: list[int], **options: Any) -> None:
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)


def _durations(count: int, fps: float, unit: int) -> list[int]:
    """Milliseconds of each frame, in multiples of `unit`, whose sum never strays half a unit from the true time."""
    ends = [round(i * 1000 / (fps * unit)) * unit for i in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


def _read_container(path: Path) -> Clip:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"a video file was required, '{path}' has no picture in it: check the name")
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
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
