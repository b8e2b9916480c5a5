"""Where the commands print."""

from __future__ import annotations

from rich.console import Console

WIDE = 160
"""Columns of tables that go to a file or a pipe, where nothing need be cut to a screen."""


def results() -> Console:
    """For results: standard output, as wide as the screen, or wide enough for whole tables where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def progress() -> Console:
    """For everything that is only news: standard error."""
    return Console(stderr=True)
