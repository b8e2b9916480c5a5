"""Pictures from anywhere to RGB of the size that a clip has: upright, opaque, 8 bits, cropped and never stretched."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from fewstep.types import Picture

PictureSource = str | Path | Image.Image | Picture
"""A file, a picture of PIL's, or an `H W 3` uint8 array."""

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of picture files."""
PAPER = (255, 255, 255, 255)
"""What shows through where a picture is transparent."""
DAMAGED = (OSError, EOFError, SyntaxError, ValueError, IndexError, TypeError, struct.error, zlib.error)
"""What PIL's readers raise on damaged files, each format in its own way."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Bytes 8 to 12 of a HEIC file."""


def read_picture(source: PictureSource) -> Picture:
    """The picture as it is meant to be seen: turned by its EXIF tag, on white where transparent, 8 bits of sRGB.

    Grey, palette, CMYK and 16-bit pictures are converted, by their colour profile where they carry one; of an animation
    it is the first frame. Raises ValueError for what is missing, damaged, or no picture.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[-1] != 3 or 0 in source.shape:
            raise ValueError(f"a picture is a uint8 array (height, width, 3), got {source.dtype} {source.shape}")
        return source
    if isinstance(source, Image.Image):
        return _to_rgb(source)
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"a picture file was required, '{path}' is not a file: check the name")
    try:
        with Image.open(path) as image:
            image.load()
            return _to_rgb(image)
    except Image.DecompressionBombError as error:
        raise ValueError(f"'{path}' has too many pixels to be read safely ({error}): make it smaller") from error
    except UnidentifiedImageError as error:
        kind = "is HEIC, which is not read here" if _is_heic(path) else "is none"
        raise ValueError(f"a readable picture was required, '{path}' {kind}: save it as PNG or JPEG") from error
    except DAMAGED as error:
        raise ValueError(f"a whole 8- or 16-bit picture was required, got '{path}' ({error}): save it again") from error


def fit_picture(picture: Picture, height: int, width: int) -> Picture:
    """The picture at this size: scaled evenly until it covers it, then cropped about its middle."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.array(ImageOps.fit(Image.fromarray(picture), (width, height), Image.Resampling.LANCZOS))


def _to_rgb(image: Image.Image) -> Picture:
    image = _to_srgb(_eight_bits(ImageOps.exif_transpose(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, PAPER), image)
    return np.array(image.convert("RGB"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey and whole numbers to 8 bits; PIL itself reads all other 16-bit pictures as 8."""
    if not image.mode.startswith("I"):
        if image.mode == "F":
            raise ValueError("its pixels are real numbers, and nothing says which is white")
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(f"its values reach from {values.min()} to {values.max()}")
    return Image.fromarray((values / 257).round().astype(np.uint8))


def _to_srgb(image: Image.Image) -> Image.Image:
    """By the picture's own colour profile; one that does not fit its pixels is ignored, as viewers do."""
    profile: Any = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, own, srgb, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError):
        return image


def _is_heic(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS
