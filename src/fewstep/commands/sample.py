"""`fewstep sample`: clips of models at step plans on the same prompts and noise, for every measure to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.progress import Progress
from tyro.conf import Positional, arg

from fewstep.commands.console import counter, read_list, read_size
from fewstep.commands.generate import read_prompts

if TYPE_CHECKING:
    from fewstep.evaluation.prompts import PromptSource


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make clips of models at step plans on the same prompts and noise: one folder with a manifest for each."""

    models: Positional[tuple[str, ...]]
    """Bundled models or folders, each MODEL or ROW=MODEL; models of one row are its training seeds."""
    plans: tuple[str, ...] = ("4", "2*", "2", "1*", "1")
    """Steps per chunk; a star gives the first chunk four, a plus (1+) the second one. Students without the levels for a
    plan leave it out."""
    prompts: str = "shapes:test"
    """A text file with one prompt per line, or a split of ShapeWorld: shapes:test or shapes:heldout."""
    count: int | None = None
    """The first so many prompts. Default: all lines of the file, or 256 of ShapeWorld."""
    seeds: tuple[str, ...] = ("0",)
    """Of the noise: a clip for each prompt and seed, such as 0,1,2."""
    images: str | None = None
    """What clips begin with: a folder with one picture per prompt in the order of their names, or `first`, the first
    frames of ShapeWorld's scenes."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("out/clips")
    """Folder of the folders. Clips that are there, as the same settings make them, are kept."""
    controls: bool = False
    """Also the ground truth of ShapeWorld's prompts, and its round trip through the first model's autoencoder."""
    teacher_steps: int = 50
    """Euler steps of teachers."""
    frames: int | None = None
    """Pictures per clip. Default: the length that each model was trained for."""
    window: int | None = None
    """Latent frames that a student's chunk sees, the sink and itself included, with positions counted inside: for clips
    longer than it was trained for. Default: as it was trained."""
    sink: int | None = None
    """First latent frames that stay visible in the window. Default: the model's, or its first chunk."""
    zero_shot: bool = False
    """Let students that were trained from text alone begin with pictures too, as AAD-1's Table 1 does."""
    size: str | None = None
    """Width and height in pixels, such as 832x480. Default: those that each model was trained for."""
    batch: int | None = None
    """Clips made at once. Default: eight small ones, or one large one."""
    shard: str = "1/1"
    """Which part of the clips this process makes, such as 2/4: run all four, at once or not, into one folder."""
    prompt_store: Path | None = None
    """Embeddings that `fewstep encode` made: prompts that are in it need no text encoder."""
    tile: int | None = None
    """Encode and decode pictures larger than this many pixels in tiles of that size, to save memory."""
    offload: bool = False
    """Keep the transformer's blocks, the past and the text encoder in host memory, for GPUs with little of it."""
    threads: int | None = None
    """CPU threads. Default: torch's own choice."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float8"] = "auto"
    """Number format of the networks; auto is bfloat16 where the hardware is fast at it, float8 is for large blocks."""


def main(argv: Sequence[str]) -> None:
    """Make what is missing, and print the folders."""
    options = tyro.cli(Options, prog="fewstep sample", args=list(argv))
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be 1 or more, got {options.threads}")
    shard, seeds, size = read_shard(options.shard), read_seeds(options.seeds), read_size(options.size)

    import torch

    from fewstep.evaluation.entries import Entry
    from fewstep.evaluation.sampling import SamplingSettings, Watcher, sample

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    same = (
        *("teacher_steps", "frames", "images", "zero_shot", "window", "sink", "batch", "controls", "device", "dtype"),
        *("offload", "tile"),
    )
    settings = SamplingSettings(
        plans=read_list(options.plans),
        seeds=seeds,
        size=size,
        shard=shard,
        prompt_store=options.prompt_store,
        **{name: getattr(options, name) for name in same},
    )
    source, entries = _source(options), [Entry.parse(words) for words in options.models]
    with counter("steps") as progress:
        bar = _Bar(progress)
        sample(entries, options.output, source, settings, Watcher(bar.begin, bar.advance, bar.end))


def _source(options: Options) -> PromptSource:
    from fewstep.evaluation.prompts import SHAPES, PromptSource

    if options.prompts.startswith(SHAPES):
        return PromptSource(split=options.prompts.removeprefix(SHAPES), count=options.count)
    return PromptSource(texts=tuple(read_prompts(None, Path(options.prompts))), count=options.count)


def read_shard(text: str) -> tuple[int, int]:
    """(i, n) with i from 0 of "1/n" … "n/n". Raises ValueError for anything else."""
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"--shard must be PART/PARTS, from 1/4 to 4/4 for four processes, got '{text}'")
    return int(found[1]) - 1, int(found[2])


def read_seeds(words: Sequence[str]) -> tuple[int, ...]:
    """Whole numbers apart by spaces or commas. Raises ValueError for other words."""
    found = read_list(words)
    if not found or not all(word.isdecimal() for word in found):
        raise ValueError(f"--seeds must be whole numbers, such as 0,1,2, got '{' '.join(words)}'")
    return tuple(map(int, found))


class _Bar:
    """Progress of one folder at a time, and a line for each that is done."""

    def __init__(self, progress: Progress):
        self.progress, self.task = progress, progress.add_task("", total=None)
        self.missing = 0

    def begin(self, folder: str, missing: int, steps: int) -> None:
        self.missing = missing
        self.progress.reset(self.task, description=folder, total=steps)

    def advance(self, steps: int) -> None:
        self.progress.advance(self.task, steps)

    def end(self, folder: Path) -> None:
        done = f"{self.missing} clip{'s' * (self.missing != 1)} made" if self.missing else "was there"
        self.progress.console.print(f"{folder}: {done}", highlight=False, soft_wrap=True)
