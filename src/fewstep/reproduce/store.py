"""What was measured, on disk: a cell like ShapeBench's for each arm and training seed, with arrays and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.evaluation.results import Cell, Protocol, ResultsError, file_name, load_cell, save_cell
from fewstep.files import atomic_output
from fewstep.reproduce.measuring import Measured
from fewstep.reproduce.paper import Arm
from fewstep.types import Picture
from fewstep.video import write_image

MOMENTS = 5
"""Frames of a clip in its strip, first to last."""


@dataclass(frozen=True)
class Store:
    """A report's own results, and those of `fewstep shapebench`, which are taken where they say the same."""

    folder: Path
    shapebench: Path

    def path(self, row: str, seed: int, plan: str) -> Path:
        """Where a cell is; its arrays and its picture have the same name."""
        return self.folder / "cells" / file_name(row, seed, plan)

    def find(self, arm: Arm, seed: int, fingerprint: str, protocol: Protocol) -> Cell | None:
        """The results of an arm for these weights under this protocol, or None."""
        places = [self.path(arm.key, seed, arm.plan)]
        if arm.plain:
            places.append(self.shapebench / file_name(arm.row, seed, arm.plan))
        return next((cell for path in places if (cell := _matching(path, fingerprint, protocol))), None)

    def find_control(self, name: str, fingerprint: str, protocol: Protocol) -> Cell | None:
        """The results of a control, or None."""
        return _matching(self.path(name, 0, "-"), fingerprint, protocol)

    def save(self, cell: Cell, measured: Measured) -> None:
        """Keep everything; the cell comes last, for it says that the rest is there."""
        path = self.path(cell.row, cell.training_seed, cell.plan)
        with atomic_output(path.with_suffix(".npz")) as scratch, scratch.open("wb") as file:
            arrays: dict[str, Any] = {"extractor": np.array(measured.extractor), **measured.arrays}
            np.savez_compressed(file, **arrays)
        write_image(path.with_suffix(".png"), _strips(measured))
        save_cell(cell, path.parent)

    def arrays(self, cell: Cell) -> dict[str, np.ndarray]:
        """Those of a cell; none for one that `fewstep shapebench` made."""
        path = self.path(cell.row, cell.training_seed, cell.plan).with_suffix(".npz")
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files if name != "extractor"}

    def picture(self, cell: Cell) -> Path | None:
        """Its strips, a row for each clip."""
        path = self.path(cell.row, cell.training_seed, cell.plan).with_suffix(".png")
        return path if path.is_file() else None


def _matching(path: Path, fingerprint: str, protocol: Protocol) -> Cell | None:
    if not path.is_file():
        return None
    try:
        cell = load_cell(path)
    except ResultsError:
        return None  # damaged, or of an older layout: it is measured anew
    return cell if cell.fingerprint == fingerprint and cell.protocol == protocol else None


def _strips(measured: Measured) -> Picture:
    """Moments of each kept clip side by side, clips below each other."""
    rows = []
    for clip in measured.shown:
        moments = np.linspace(0, len(clip) - 1, MOMENTS).round().astype(int)
        rows.append(np.concatenate(list(clip[moments]), axis=1))
    return np.concatenate(rows)
