"""Trained parts, and their scores, into the package's own models: `python -m fewstep.bundle parts NAME FOLDER ...`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import tyro
from tyro.conf import Positional

from fewstep.checkpoints.folders import find_parts
from fewstep.evaluation.results import load_cells
from fewstep.files import write_text
from fewstep.models import checkpoint_dir
from fewstep.models.checkpoint_dir import PARTS, PASSPORT, ModelError, atomic_folder, read_passport, shared_parts

BASE = "shapes-base"
"""The bundled folder with the parts that the bundled models share."""
NAMES = (BASE, *checkpoint_dir.BUNDLED)


def bundle(name: str, *sources: Path) -> Path:
    """Make the bundled folder `name` from the parts in `sources`, the result folders of training runs.

    A model gets its bundled name, and takes what it lacks from the shared folder beside it. Raises ModelError for a
    name or sources that do not fit.
    """
    if name not in NAMES:
        raise ModelError(f"a bundled folder is called one of {', '.join(NAMES)}, got {name!r}")
    found = {part: folder / part for folder in sources for part in PARTS if (folder / part).is_dir()}
    wanted = set(PARTS[1:]) if name == BASE else {"transformer"}
    if not wanted <= found.keys():
        missing = ", ".join(sorted(wanted - found.keys()))
        raise ModelError(f"{name} needs {missing}, not found in {', '.join(map(str, sources))}: train it first")
    target = checkpoint_dir.ASSETS / name
    with atomic_folder(target) as scratch:
        for part in sorted(wanted):
            shutil.copytree(found[part], scratch / part)
        if "transformer" in wanted:
            passport = read_passport(found["transformer"].parent)
            shared = shared_parts(target, find_parts(checkpoint_dir.ASSETS / BASE))
            text = replace(passport, name=name, components=shared).to_json()
            (scratch / PASSPORT).write_text(text, encoding="utf-8")
    return target


def record_scores(results: Path) -> list[Path]:
    """Write what `fewstep shapebench` measured in folder `results` into the passports of the bundled models.

    Semantic by plan, of the cells that name a bundled model. Returns the passports written.
    """
    written = []
    cells = load_cells(results)
    for folder in checkpoint_dir.bundled_models():
        scores = {
            f"semantic@{cell.plan}": round(cell.summary["semantic"]["mean"], 1)
            for cell in cells
            if cell.model == folder.name
        }
        if scores:
            write_text(folder / PASSPORT, replace(read_passport(folder), scores=scores).to_json())
            written.append(folder / PASSPORT)
    return written


def parts(name: Positional[str], sources: Positional[tuple[Path, ...]]) -> None:
    """Put trained parts into the package.

    Args:
        name: The bundled folder.
        sources: Result folders of training runs.
    """
    print(f"bundled: {bundle(name, *sources)}")


def scores(results: Positional[Path]) -> None:
    """Put measured scores into the bundled models' passports.

    Args:
        results: What `fewstep shapebench` wrote.
    """
    for path in record_scores(results):
        print(f"scored: {path}")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"parts": parts, "scores": scores})
