"""What VBench-I2V adds: each clip begins with a picture of its list, cropped to the shape of the clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from fewstep.manifest import Entry, file_hash
from fewstep.pictures import fit_picture, read_picture
from fewstep.types import Picture
from fewstep.vbench.prompts import Item

CROPS = "vbench2_beta_i2v/data/crop"
"""Where VBench-I2V reads its pictures, relative to the folder that it runs in: its checkout."""
READY = ("1-1", "8-5", "7-4", "16-9")
"""Shapes that its authors cropped; its `crop_to_diff_ratio.py` makes any other between 1:1 and 16:9."""
WIDEST = Fraction(16, 9)
ALIKE = 2.0
"""Mean difference, of 255, within which two decoders' versions of one picture lie."""


class PictureError(ValueError):
    """Pictures that are not there, or clips that begin with others."""


def crop_of(width: int, height: int) -> str:
    """The name of the crop with exactly the clips' shape: 832 x 480 is `26-15`.

    Raises PictureError for shapes that VBench-I2V has no pictures of.
    """
    shape = Fraction(width, height)
    if not 1 <= shape <= WIDEST:
        raise PictureError(f"VBench-I2V has pictures from 1:1 to 16:9, got clips of {width}x{height}: choose a size")
    return f"{shape.numerator}-{shape.denominator}"


def picture_folder(checkout: Path, crop: str) -> Path:
    """The folder of the pictures of one shape. Raises PictureError, with the command that makes it."""
    folder = checkout / CROPS / crop
    if not folder.is_dir():
        how = "sh vbench2_beta_i2v/download_data.sh"
        if crop not in READY:
            how += f" && python vbench2_beta_i2v/crop_to_diff_ratio.py --target_ratio {crop}"
        raise PictureError(f"pictures of the shape {crop} were required, there is no {folder}: in the checkout, {how}")
    return folder


def read_beginning(checkout: Path, crop: str, item: Item, size: tuple[int, int]) -> Picture:
    """The picture that an item's clips begin with, at `size` (height, width). Raises PictureError."""
    return fit_picture(read_picture(_find_picture(checkout, crop, item)), *size)


def _find_picture(checkout: Path, crop: str, item: Item) -> Path:
    if item.image is None:
        raise PictureError(f"'{item.prompt}' has no picture in the list: check out commit 45e79ec of VBench")
    path = picture_folder(checkout, crop) / item.image
    if not path.is_file():
        raise PictureError(f"a picture for '{item.prompt}' was required, there is no {path}: download them again")
    return path


class Beginnings:
    """Whether clips begin with the pictures of their prompts, by their manifests and the pictures beside them."""

    def __init__(self, checkout: Path, crop: str, size: tuple[int, int]):
        """`size` is height and width of the clips."""
        self.checkout, self.crop, self.size = checkout, crop, size
        self._known: set[tuple[str, str | None]] = set()

    def require(self, item: Item, folder: Path, entry: Entry) -> None:
        """Raise PictureError for a clip of a folder that begins with nothing, or another picture than its item's."""
        begins_with = entry.settings.begins_with
        if begins_with is None:
            raise PictureError(
                f"{folder / entry.file} of '{item.prompt}' begins with no picture: sample it with --images"
            )
        if (begins_with, item.image) not in self._known:
            name, _, sha256 = begins_with.rpartition(" ")
            if not self._is_picture(item, folder / name, sha256):
                raise PictureError(
                    f"{folder / entry.file} of '{item.prompt}' must begin with '{item.image}', {name} is another "
                    "picture: sample the prompts with the pictures of `fewstep vbench prompts`"
                )
            self._known.add((begins_with, item.image))

    def _is_picture(self, item: Item, placed: Path, sha256: str) -> bool:
        """Whether a picture is the item's: the same file, or the same pixels at the clips' size."""
        if file_hash(_find_picture(self.checkout, self.crop, item)) == sha256:
            return True
        if not placed.is_file() or file_hash(placed) != sha256:
            return False
        wanted, there = read_beginning(self.checkout, self.crop, item, self.size), read_picture(placed)
        return there.shape == wanted.shape and np.abs(there.astype(float) - wanted).mean() < ALIKE
