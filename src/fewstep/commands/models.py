"""`fewstep models`: the bundled models, or any folders, as their passports describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

if TYPE_CHECKING:
    from fewstep.models.checkpoint_dir import ModelDir


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the bundled models, or describe model folders."""

    folders: Positional[tuple[Path, ...]] = ()
    """Model folders. Default: the bundled models."""


def main(argv: Sequence[str]) -> None:
    """Print one row per model; a folder that is no model is an error."""
    options = tyro.cli(Options, prog="fewstep models", args=list(argv))

    from fewstep.models.checkpoint_dir import ModelDir, bundled_models

    folders = options.folders or bundled_models()
    table = Table("model", "kind", "clip", "layout", "levels", "size", "trained by", "scores")
    for folder in folders:
        table.add_row(*_row(ModelDir(folder)))
    Console().print(table)
