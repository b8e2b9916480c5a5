"""`fewstep doctor`: what this machine has and which presets fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table

from fewstep.commands.console import results
from fewstep.files import require_writable, write_text

if TYPE_CHECKING:
    from fewstep.doctor import Examination


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what this machine has and which presets fit."""

    json: Path | None = None
    """Also write the findings to this file."""


def main(argv: Sequence[str]) -> None:
    """Look, print, and write the findings where asked."""
    options = tyro.cli(Options, prog="fewstep doctor", args=list(argv))
    if options.json is not None:
        require_writable(options.json)

    from fewstep.doctor import examine

    found = examine()
    _print(found)
    if options.json is not None:
        write_text(options.json, json.dumps(found.to_json(), indent=2) + "\n")


def _print(found: Examination) -> None:
    console = results()
    console.print("  ".join(f"{name} {version}" for name, version in found.versions.items()))
    console.print(
        f"{found.cores} cores, {found.threads} threads in torch, {found.disk_free_gb:.0f} GB of disk free here"
    )
    console.print(f"torch computes with {', '.join(found.backends) or 'its own code alone'}")
    for name, use in found.missing.items():
        console.print(f"not installed: {name} ({use})")
    for device in found.devices:
        formats = "bfloat16 is fast" if device.fast_bf16 else "bfloat16 is emulated and slow, float32 is used"
        console.print(f"\n[bold]{device.device}[/bold] {device.name}, {device.memory_gb:.0f} GB, {formats}")
        if device.features:
            console.print(f"  has {', '.join(device.features)}")
        caption = "transformers and their cache; a large text encoder comes on top"
        table = Table("preset", "parameters", "to generate", "to distil (teacher of its own size)", caption=caption)
        for fit in device.fits:
            needs = [
                f"{'fits' if fits else 'too large'}: about {_memory(gb)}"
                for gb, fits in ((fit.generate_gb, fit.generates), (fit.distil_gb, fit.distils))
            ]
            table.add_row(fit.preset, _count(fit.parameters), *needs)
        console.print(table)


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:,.1f} M" if parameters >= 1e6 else f"{parameters / 1e3:,.0f} k"


def _memory(gb: float) -> str:
    return f"{gb * 1000:.2g} MB" if gb < 0.1 else f"{gb:.3g} GB"
