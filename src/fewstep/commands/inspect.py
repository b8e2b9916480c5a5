"""`fewstep inspect`: what checkpoints are, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from fewstep.commands.console import results

if TYPE_CHECKING:
    from fewstep.checkpoints.lineage import CheckpointInfo


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what checkpoints are, from their headers alone."""

    paths: Positional[tuple[str, ...]]
    """Files (.safetensors, .pt, .pth, .ckpt), folders, bundled names, or hub ids."""
    revision: str | None = None
    """Branch, tag or commit of a repository on the hub."""
    json: bool = False
    """Print JSON: one object, or a list for several paths."""


def main(argv: Sequence[str]) -> None:
    """Print one table per path; what is no checkpoint is an error."""
    options = tyro.cli(Options, prog="fewstep inspect", args=list(argv))
    if not options.paths:
        raise ValueError("a file or folder is required: fewstep inspect self_forcing_dmd.pt")

    from fewstep.checkpoints.hub import fetch_weights
    from fewstep.checkpoints.lineage import identify

    found = [identify(fetch_weights(path, options.revision)) for path in options.paths]
    if options.json:
        values = [info.to_json() for info in found]
        print(json.dumps(values[0] if len(values) == 1 else values, indent=2, ensure_ascii=False))
        return
    for info in found:
        results().print(_table(info))


def _table(info: CheckpointInfo) -> Table:
    table = Table(title=str(info.path), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(info):
        if value:
            table.add_row(name, Text(value))
    return table


def _rows(info: CheckpointInfo) -> list[tuple[str, str]]:
    numbers = f"{info.parameters / 1e9:.3f} B" if info.parameters >= 1e8 else f"{info.parameters / 1e6:.2f} M"
    storage = f"{info.format}, {', '.join(info.dtypes)}, {info.bytes / 1e9:.2f} GB"
    return [
        ("network", info.network),
        ("lineage", info.lineage),
        ("kind", info.kind if info.network == "transformer" else ""),
        ("stage", info.stage if info.network == "transformer" else ""),
        ("training step", "" if info.step is None else str(info.step)),
        ("size", f"{info.size}, {numbers} parameters" if info.shape else f"{numbers} parameters"),
        ("stored as", storage),
        ("names", info.naming + (f", wrapped in {', '.join(info.wrappers)}" if info.wrappers else "")),
        ("holds", ", ".join(group or "one network" for group in info.groups)),
        ("average (EMA)", "yes" if info.has_ema else "none"),
        ("discriminator heads", ", ".join(info.heads)),
        ("sampling", _sampling(info)),
        ("because", "; ".join(info.why)),
    ]


def _sampling(info: CheckpointInfo) -> str:
    from fewstep.models.checkpoint_dir import BEGINNINGS

    if info.sampling is None:
        return ""
    layout, context = info.sampling.layout, info.sampling.context
    chunks = str(layout.chunk) if layout.first is None else f"{layout.first}, then {layout.chunk}"
    levels = " ".join(f"{level:.4g}" for level in info.sampling.levels)
    window = "all frames" if context.window is None else f"a window of {context.window}, {context.sink or 0} of it sink"
    plan = f", usually {info.sampling.plan}" if info.sampling.plan else ""
    guess = "" if info.passport else " (by its lineage; --chunk and --levels change it)"
    begins = info.sampling.begins_with
    begun = f", begins with {BEGINNINGS[begins]}" if begins else ""
    return f"chunks of {chunks}, levels {levels}{plan}, sees {window}{begun}{guess}"
