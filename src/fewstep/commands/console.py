"""Where the commands print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

WIDE = 160
"""Columns of tables that go to a file or a pipe, where nothing need be cut to a screen."""


def read_size(text: str | None) -> tuple[int, int] | None:
    """Height and width of "WIDTHxHEIGHT" in pixels. Raises ValueError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text.strip().lower())
    if found is None:
        raise ValueError(f"--size must be WIDTHxHEIGHT in pixels, such as 832x480, got '{text}'")
    return int(found[2]), int(found[1])


def read_list(words: Sequence[str]) -> tuple[str, ...]:
    """The words of an option that takes several, apart by spaces or commas."""
    return tuple(part for word in words for part in word.split(",") if part)


def choose_model(named: str | None, image: Path | None) -> str:
    """The model that was named; else the bundled student for what is asked, and the user is told which."""
    if named is not None:
        return named
    from fewstep.models.checkpoint_dir import FROM_IMAGE, FROM_TEXT

    model, skill = (FROM_TEXT, "begins with text") if image is None else (FROM_IMAGE, "goes on from a picture")
    progress().print(f"model: {model}, the bundled student that {skill}", highlight=False)
    return model


@contextmanager
def or_truncate() -> Iterator[None]:
    """For commands that cut prompts when they are told to: say so where one is too long."""
    from fewstep.models.text import LongPromptError

    try:
        yield
    except LongPromptError as error:
        raise ValueError(f"{error}, or cut it with --truncate") from error


def results() -> Console:
    """For results: standard output, as wide as the screen, or wide enough for whole tables where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def progress() -> Console:
    """For everything that is only news: standard error."""
    return Console(stderr=True)


def counter(unit: str = "") -> Progress:
    """A bar that says how many of how many, with the time gone and left; it vanishes when its `with` ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    shown = columns if unit else columns[:-1]
    return Progress(*shown, TimeElapsedColumn(), TimeRemainingColumn(), console=progress(), transient=True)
