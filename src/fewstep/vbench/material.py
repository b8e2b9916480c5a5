"""What `fewstep sample` needs for VBench: files of prompts, the pictures that clips begin with, and the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewstep.files import write_text
from fewstep.vbench.dimensions import SAMPLES, STATIC_CANDIDATES, Dimension
from fewstep.vbench.image_to_video import crop_of, read_beginning
from fewstep.vbench.prompts import Item, PromptList
from fewstep.video import write_image

PROMPTS, STATIC, PICTURES = "prompts.txt", "flickering.txt", "pictures"


@dataclass(frozen=True)
class Order:
    """One call of `fewstep sample`: a clip of each prompt for each seed."""

    prompts: Path
    count: int
    """Lines of it."""
    first_seed: int
    samples: int
    """Of each prompt."""
    pictures: Path | None = None

    @property
    def clips(self) -> int:
        """To be made."""
        return self.count * self.samples

    @property
    def options(self) -> str:
        """For the command line, without model, plan and folder."""
        seeds = ",".join(str(self.first_seed + number) for number in range(self.samples))
        images = f" --images {self.pictures}" if self.pictures else ""
        return f"--prompts {self.prompts} --seeds {seeds}{images}"


def write_orders(
    prompts: PromptList,
    dimensions: Sequence[Dimension],
    out: Path,
    size: tuple[int, int] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Order]:
    """Write the prompts of some dimensions, each once, five clips of each; those of flickering again for twenty more.

    For VBench-I2V also a picture per line, at `size` (height, width). Raises PictureError, OutputError.
    """
    carried = {dimension.name for dimension in dimensions}
    items = [item for item in prompts.items if carried & set(item.dimensions)]
    if prompts.suite.begins_with == "image":
        if size is None:
            raise ValueError("the pictures of VBench-I2V are cropped to the clips: --size is required, such as 832x480")
        pictures = _write_pictures(prompts, items, out / PICTURES, size, on_progress)
        return [_order(items, out / PROMPTS, 0, SAMPLES, pictures)]
    # two short prompts may have one extended form, whose clips serve both
    orders = [_order(_once(items), out / PROMPTS, 0, SAMPLES)]
    static = {dimension.name for dimension in dimensions if dimension.counted == "static"}
    again = [item for item in items if static & set(item.dimensions)]
    if again:
        orders.append(_order(_once(again), out / STATIC, SAMPLES, STATIC_CANDIDATES - SAMPLES))
    return orders


def _order(items: Sequence[Item], path: Path, first: int, samples: int, pictures: Path | None = None) -> Order:
    write_text(path, "".join(f"{item.text}\n" for item in items))
    return Order(path, len(items), first, samples, pictures)


def _once(items: Sequence[Item]) -> list[Item]:
    return list({item.text: item for item in reversed(items)}.values())[::-1]


def _write_pictures(
    prompts: PromptList,
    items: Sequence[Item],
    folder: Path,
    size: tuple[int, int],
    on_progress: Callable[[int, int], None],
) -> Path:
    """Pictures whose names are in the order of the lines."""
    height, width = size
    crop = crop_of(width, height)
    for number, item in enumerate(items):
        path = folder / f"{number:04d}.png"
        write_image(path, read_beginning(prompts.checkout, crop, item, size))
        on_progress(number + 1, len(items))
    return folder
