"""`fewstep table`: print saved results as the README's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

if TYPE_CHECKING:
    from fewstep.evaluation.report import Grid
    from fewstep.evaluation.results import Cell


@dataclass(frozen=True, kw_only=True)
class Options:
    """Print saved results as a table."""

    results: Positional[Path]
    """Folder that `fewstep shapebench` wrote."""
    markdown: bool = False
    """For a README, instead of the terminal."""
    dimensions: bool = False
    """Also every dimension behind Semantic and Quality."""
    relative: str | None = None
    """Also Semantic in percent of this row, such as teacher, with paired intervals."""


def main(argv: Sequence[str]) -> None:
    """Read all results of a folder and print them."""
    options = tyro.cli(Options, prog="fewstep table", args=list(argv))

    from fewstep.evaluation.results import load_cells

    show(
        load_cells(options.results),
        markdown=options.markdown,
        with_dimensions=options.dimensions,
        reference=options.relative,
    )


def show(
    cells: Sequence[Cell], *, markdown: bool = False, with_dimensions: bool = False, reference: str | None = None
) -> None:
    """Print the tables of some cells."""
    from fewstep.evaluation import report

    found = report.fields(cells)
    grids = [report.headline(found)]
    if reference is not None:
        grids.append(report.relative(found, reference))
    if with_dimensions:
        grids += report.dimensions(found)
    if markdown:
        below = "\n".join(f"- {note}" for note in report.notes(found))
        print("\n\n".join([*(grid.markdown() for grid in grids), below]))
        return
    console = Console()
    for grid in grids:
        console.print(as_table(grid, gap=1))
    for note in report.notes(found):
        console.print(note, highlight=False)


def as_table(grid: Grid, *, gap: int = 0) -> Table:
    """A grid for the terminal, with `gap` empty lines below each row."""
    found = Table(*grid.header, title=grid.title, box=box.SIMPLE_HEAD, show_lines=False, padding=(0, 1, gap, 0))
    for row in grid.rows:
        found.add_row(*row)
    return found
