"""`fewstep models`: the bundled models, or any folders, as their passports describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table
from tyro.conf import Positional

from fewstep.commands.console import results

if TYPE_CHECKING:
    from fewstep.checkpoints.model_files import ModelFiles
    from fewstep.models.layout import ChunkLayout


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the bundled models, or describe model folders."""

    folders: Positional[tuple[Path, ...]] = ()
    """Model folders. Default: the bundled models."""


def main(argv: Sequence[str]) -> None:
    """Print one row per model; a folder that is no model is an error."""
    options = tyro.cli(Options, prog="fewstep models", args=list(argv))

    from fewstep.checkpoints.model_files import read_model
    from fewstep.models.checkpoint_dir import bundled_models

    folders = options.folders or bundled_models()
    if not folders:
        print("no bundled models in this installation: `make embedded` trains them")
        return
    table = Table("model", "kind", "clip", "sampling", "size", "trained by", "scores")
    for folder in folders:
        table.add_row(*_row(read_model(folder)))
    results().print(table)


def _row(model: ModelFiles) -> tuple[str, ...]:
    from fewstep.models.checkpoint_dir import BEGINNINGS

    passport = model.passport
    if passport.kind == "student":
        levels = " ".join(f"{level:.3g}" for level in passport.levels)
        begins = passport.begins_with
        begun = f", begins with {BEGINNINGS[begins]}" if begins else ""
        sampling = f"chunks of {_chunks(passport.layout)}, levels {levels}{begun}"
    else:
        chunks = f"chunks of {_chunks(passport.layout)}, " if passport.causal_teacher else ""
        sampling = f"{chunks}guidance {passport.guidance:g}, shift {passport.shift:g}"
    return (
        passport.name,
        passport.kind,
        f"{passport.latent_frames} latent frames, {passport.height} x {passport.width}, {passport.fps:g} fps",
        sampling,
        f"{model.size / 1e6:.1f} MB",
        passport.trained_by or "-",
        ", ".join(f"{name} {score:.3g}" for name, score in passport.scores.items()) or "-",
    )


def _chunks(layout: ChunkLayout) -> str:
    return str(layout.chunk) if layout.first is None else f"{layout.first}, then {layout.chunk}"
