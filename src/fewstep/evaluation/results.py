"""What was measured, on disk: one JSON file for each model at each step plan, under one protocol per folder."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fewstep.files import write_text

VERSION = 1
"""Of the layout of the files."""
CONTROLS = ("truth", "vae")
"""Rows without a model: the ground truth, and its round trip through the autoencoder."""


class ResultsError(ValueError):
    """Results that are missing, foreign, damaged, or measured under different protocols."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What all cells of one folder have in common, so that they may stand in one table."""

    split: str
    """Split of ShapeWorld that the prompts come from."""
    clips: int
    """Prompts, and clips per cell."""
    seed: int
    """Of the starting noise; clip i has noise (seed, i) in every cell."""
    prompts: str
    """Hash of the scenes and captions, in order."""
    batch: int
    """Clips made at once, by which products are rounded a little differently."""
    scorer: int
    """Version of ShapeBench's normalisation."""
    begins_with: Literal["text", "image"] = "text"
    """Whether clips begin with the first frame of their scene; files from before there was a choice do not say it."""
    noise: Literal["clip", "batch"] = "batch"
    """Whose stream the noise between steps is drawn from; files from when it was the batch's do not say it."""

    def difference(self, other: Protocol) -> str:
        """`clips 256 and 64, seed 0 and 1`: where two protocols differ; empty where they do not."""
        pairs = zip(asdict(self).items(), asdict(other).values(), strict=True)
        return ", ".join(f"{name} {mine} and {theirs}" for (name, mine), theirs in pairs if mine != theirs)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall clock of clips made one at a time, text encoding left out."""

    seconds: float
    """Median per clip of denoising, commits included, and decoding."""
    denoise: float
    decode: float
    clips: int
    """Clips timed, after a first one that was not."""
    threads: int
    device: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model at one step plan."""

    row: str
    """Row of the table: truth, vae, teacher, init, dmd4, dmd2, dmd1, asd, or a name of one's own."""
    kind: Literal["control", "teacher", "student"]
    model: str
    """Name in the passport; empty for the ground truth."""
    plan: str
    """Column of the table; "50" for a teacher of 50 steps, "-" for controls."""
    training_seed: int
    fingerprint: str
    """Hash of weights and sampling settings; of the prompts for the ground truth."""
    commit: str | None
    """Git commit of the code that measured, with a plus where files had changed; None outside a repository."""
    trained_by: str
    """Recipe of the model."""
    protocol: Protocol
    evaluations: int | None
    """Denoising passes per clip, two per guided step."""
    commits: int | None
    timing: Timing | None
    summary: dict[str, dict[str, float]] = field(default_factory=dict)
    """Mean and 95 % bootstrap interval over clips of every total, dimension (normalised) and companion, in percent."""
    clips: list[dict[str, Any]] = field(default_factory=list)
    """Per clip: index, caption, every measure (raw, NaN where the caption states nothing of the kind), facts missed."""

    @property
    def file_name(self) -> str:
        """Where it belongs in its folder."""
        return file_name(self.row, self.training_seed, self.plan)


def file_name(row: str, training_seed: int, plan: str) -> str:
    """A file name for any row and plan: `asd-seed0-1star.json`."""
    plan = plan.replace("*", "star").replace("-", "all")
    return f"{re.sub(r'[^A-Za-z0-9_.+]+', '_', row)}-seed{training_seed}-{plan}.json"


def save_cell(cell: Cell, folder: Path) -> Path:
    """Write a cell into its folder, whole or not at all."""
    path = folder / cell.file_name
    plain = {"version": VERSION, **asdict(cell)}
    write_text(path, json.dumps(_without_nan(plain), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def load_cell(path: Path) -> Cell:
    """Read a cell. Raises ResultsError for a file that is none."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        version = plain.pop("version")
        if version != VERSION:
            raise ResultsError(f"{path} must be of version {VERSION}, it is of {version}: measure it anew")
        plain["protocol"] = Protocol(**plain["protocol"])
        plain["timing"] = Timing(**plain["timing"]) if plain["timing"] else None
        plain["summary"] = {name: _with_nan(numbers) for name, numbers in plain["summary"].items()}
        cell = Cell(**plain)
        if len(cell.clips) != cell.protocol.clips:
            raise ResultsError(f"{path} must hold {cell.protocol.clips} clips, it has {len(cell.clips)}: delete it")
        return cell
    except (OSError, AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ResultsError(
            f"a file of `fewstep shapebench` was required, {path} is none ({cause}): delete it"
        ) from error


def load_cells(folder: Path) -> list[Cell]:
    """All cells of a folder. Raises ResultsError when there are none or they differ in protocol."""
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise ResultsError(f"a folder with results was required, '{folder}' has none: run `fewstep shapebench` first")
    cells = [load_cell(path) for path in paths]
    for cell in cells[1:]:
        require_same_protocol(cells[0].protocol, cell.protocol, folder)
    return cells


def require_same_protocol(first: Protocol, second: Protocol, folder: Path) -> None:
    """Raise ResultsError when cells cannot stand in one table."""
    if first != second:
        raise ResultsError(
            f"results in '{folder}' must share one protocol, they differ in {first.difference(second)}: "
            "measure into another folder, or delete the older ones"
        )


def _without_nan(value: Any) -> Any:
    """The same with null for NaN, which JSON does not know, and six significant digits."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _with_nan(numbers: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in numbers.items()}
