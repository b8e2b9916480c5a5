"""Films of every kind, made here, and what there is to make shards with."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from fewstep.ingest.run import Ingest
from fewstep.ingest.scan import Cutting
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.types import Frames

TKHD_MATRIX = 44
"""Bytes from the name of an mp4's track header to its display matrix."""


def scene(count: int, colour: tuple[int, int, int] = (40, 60, 160), size: tuple[int, int] = (32, 48)) -> Frames:
    """A bright square that moves to the right and down over a ground of one colour, a pixel per picture."""
    frames = np.full((count, *size, 3), colour, np.uint8)
    for number, frame in enumerate(frames):
        row, column = number % (size[0] - 12), number % (size[1] - 12)
        frame[row : row + 12, column : column + 12] = (240, 220, 90)
    return frames


def film(
    path: Path,
    frames: Frames,
    *,
    fps: int = 16,
    codec: str = "libx264",
    times: Sequence[float] | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    curve: int | None = None,
    **options: str,
) -> Path:
    """Write a film with any codec, each picture at its own time where `times` are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        base = Fraction(1, 1000 if times else fps)
        stream.codec_context.time_base = base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if curve:
            stream.codec_context.color_trc = curve
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round((number / fps if times is None else times[number]) / base)
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if rotation:
        assert rotation == 90
        content = bytearray(path.read_bytes())
        start = content.index(b"tkhd") + TKHD_MATRIX
        matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
        content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
        path.write_bytes(content)
    return path


@pytest.fixture(scope="session")
def make_film():
    return film


@pytest.fixture(scope="session")
def make_scene():
    return scene


@pytest.fixture(scope="session")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    return VideoVAE.from_preset("tiny").eval()


@pytest.fixture(scope="session")
def text_encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder.from_preset("tiny").eval()


@pytest.fixture
def ingest(vae: VideoVAE, text_encoder: TextEncoder):
    """An ingest of clips of 9 pictures, 32 x 48, at 16 a second, into a folder; options as Ingest's and Cutting's."""

    def make(out: Path, **options: Any) -> Ingest:
        cutting = {"frames": 9, "fps": 16.0, "height": 32, "width": 48, "jump": 3.0}
        cutting |= {name: options.pop(name) for name in list(options) if name in cutting}
        fixed = {"vae": vae, "load_text_encoder": lambda: text_encoder, "workers": 2}
        return Ingest(out=out, cutting=Cutting(**cutting), **{**fixed, **options})

    return make
