"""What was measured, on disk: a cell like ShapeBench's for each arm and training seed, with arrays and pictures."""

from __future__ import annotations

import fcntl
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    """A report's own results."""

    folder: Path

    def path(self, row: str, seed: int, plan: str) -> Path:
        """Where a cell is; its arrays and its picture have the same name."""
        return self.folder / "cells" / file_name(row, seed, plan)

    def find(self, arm: Arm, seed: int, fingerprint: str, protocol: Protocol, measures: str) -> Cell | None:
        """The results of an arm for these weights under this protocol by these measures (`measures_of`), or None."""
        path = self.path(arm.key, seed, arm.plan)
        try:
            cell = load_cell(path) if path.is_file() else None
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                same = str(arrays["measures"]) == measures
        except (ResultsError, OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None  # damaged, or of an older layout: it is measured anew
        same = same and path.with_suffix(".png").is_file()
        return cell if cell and same and (cell.fingerprint, cell.protocol) == (fingerprint, protocol) else None

    @contextmanager
    def claim(self, arm: Arm, seed: int, *, wait: bool) -> Iterator[bool]:
        """Whether this process may measure an arm: no other one is at it. With `wait`, once it has finished.

        The claim ends with the body, or with the process.
        """
        path = self.path(arm.key, seed, arm.plan).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def save(self, cell: Cell, measured: Measured) -> None:
        """Keep everything; the cell comes last, for it says that the rest is there."""
        path = self.path(cell.row, cell.training_seed, cell.plan)
        with atomic_output(path.with_suffix(".npz")) as scratch, scratch.open("wb") as file:
            arrays: dict[str, Any] = {"measures": np.array(measured.measures), **measured.arrays}
            np.savez_compressed(file, **arrays)
        write_image(path.with_suffix(".png"), _strips(measured))
        save_cell(cell, path.parent)

    def arrays(self, cell: Cell) -> dict[str, np.ndarray]:
        """Those of a cell."""
        path = self.path(cell.row, cell.training_seed, cell.plan).with_suffix(".npz")
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files if name != "measures"}

    def picture(self, cell: Cell) -> Path | None:
        """Its strips, a row for each clip."""
        path = self.path(cell.row, cell.training_seed, cell.plan).with_suffix(".png")
        return path if path.is_file() else None


def _strips(measured: Measured) -> Picture:
    """Moments of each kept clip side by side, clips below each other."""
    rows = []
    for clip in measured.shown:
        moments = np.linspace(0, len(clip) - 1, MOMENTS).round().astype(int)
        rows.append(np.concatenate(list(clip[moments]), axis=1))
    return np.concatenate(rows)
