"""`fewstep shapebench`: score models at every step plan on the same prompts and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.progress import Progress
from tyro.conf import Positional, arg

from fewstep.commands.console import counter
from fewstep.files import require_writable

if TYPE_CHECKING:
    from fewstep.evaluation.results import Cell


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score models at every step plan on the same prompts and noise, beside ground truth and VAE round trip."""

    models: Positional[tuple[str, ...]]
    """Bundled models or folders, each MODEL or ROW=MODEL; models of one row are its training seeds."""
    plans: tuple[str, ...] = ("4", "2*", "2", "1*", "1")
    """Steps per chunk; a star gives the first chunk four, a plus (1+) the second one. Students without the levels for a
    plan leave it out."""
    clips: int = 256
    """Prompts, and clips per model and plan."""
    split: Literal["test", "heldout"] = "test"
    """Prompts like those of training but other ones, or with compositions that training never shows."""
    seed: int = 0
    """Of the noise."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("results/shapes")
    """Folder of the results. What is there for the same weights is kept."""
    teacher_steps: int = 50
    """Euler steps of teachers."""
    batch: int = 32
    """Clips made at once for the scores; time is taken one by one."""
    timed: int = 5
    """Clips timed per model and plan."""
    threads: int | None = None
    """CPU threads. Default: torch's own choice."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the networks; auto is bfloat16 where the hardware is fast at it."""


def main(argv: Sequence[str]) -> None:
    """Measure what is missing, write it, and print the table."""
    options = tyro.cli(Options, prog="fewstep shapebench", args=list(argv))
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be 1 or more, got {options.threads}")
    require_writable(options.output / "_.json")

    import torch

    from fewstep.commands.table import show
    from fewstep.evaluation.entries import Entry
    from fewstep.evaluation.results import load_cells
    from fewstep.evaluation.run import Settings, count_cells, evaluate

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    names = ("plans", "clips", "split", "seed", "teacher_steps", "batch", "timed", "device", "dtype")
    settings = Settings(**{name: getattr(options, name) for name in names})
    entries = [Entry.parse(words) for words in options.models]
    with counter("clips") as progress:
        evaluate(entries, options.output, settings, _Bar(progress, count_cells(entries, settings) * options.clips))
    show(load_cells(options.output))


class _Bar:
    """Progress of the whole run, and one line for each cell that is done."""

    def __init__(self, progress: Progress, clips: int):
        self.progress, self.task = progress, progress.add_task("", total=clips)
        self.name = ""

    def begin(self, cell: str, clips: int) -> None:
        self.name = cell
        self.progress.update(self.task, description=cell)

    def advance(self, clips: int) -> None:
        self.progress.advance(self.task, clips)

    def end(self, cell: Cell, kept: bool) -> None:
        from fewstep.metrics.base import Estimate

        found = cell.summary["semantic"]
        value = Estimate(found["mean"], found["low"], found["high"], len(cell.clips))
        self.progress.console.print(f"{self.name}: Semantic {value}{', from before' if kept else ''}", highlight=False)
