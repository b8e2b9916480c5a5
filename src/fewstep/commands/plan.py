"""`fewstep plan`: what a recipe or a model takes, phase by phase, and what would make it fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.table import Table
from tyro.conf import Positional

from fewstep.commands.console import progress, read_size, results
from fewstep.files import require_writable, write_text

if TYPE_CHECKING:
    from fewstep.planning.generate import Making
    from fewstep.planning.plan import Plan, Switch


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a recipe or a model takes, and what would make it fit, before anything runs."""

    name: Positional[str]
    """A recipe (asd.wan_1_3b), a preset (wan_14b), a bundled or published model, or a folder. No weights are needed."""
    gpus: int = 1
    """GPUs that share the work."""
    memory: float | None = None
    """GB of each GPU. Default: those of this machine's GPU, else 80."""
    tflops: float | None = None
    """TFLOP/s of large matrix products. Default: measured on this machine's GPU; without one no time is told."""
    steps: int | None = None
    """Of a model: network evaluations per chunk; for a teacher, Euler steps."""
    first: int | None = None
    """Of a model: steps of the first chunk."""
    frames: int | None = None
    """Of a model: pictures per clip, 1 more than a multiple of 4."""
    size: str | None = None
    """Of a model: width and height in pixels, such as 1280x720."""
    batch: int = 1
    """Of a model: clips made at once."""
    dtype: Literal["bfloat16", "float32", "float8"] = "bfloat16"
    """Of a model: number format."""
    offload: bool = False
    """Of a model: keep blocks and the past in host memory."""
    tile: int | None = None
    """Of a model: pixels of the tiles that the autoencoder decodes in."""
    prompt_store: bool = False
    """Of a model: take the prompts' embeddings from a store, so that no text encoder is needed."""
    json: Path | None = None
    """Also write the plan to this file."""


def main(argv: Sequence[str]) -> None:
    """Plan, print, and write the plan where asked."""
    options = tyro.cli(Options, prog="fewstep plan", args=list(argv))
    for name in ("gpus", "batch", "memory", "tflops"):
        if (value := getattr(options, name)) is not None and value <= 0:
            raise ValueError(f"--{name} must be more than 0, got {value}")
    if options.json is not None:
        require_writable(options.json)
    memory, rate = _machine(options)
    with progress().status(f"planning {options.name}"):
        plans = _plans(options, memory * 1e9)
    for plan, ways in plans:
        _print(options, plan, ways, memory, rate)
    if options.json is not None:
        found = [_as_json(options, plan, ways, memory, rate) for plan, ways in plans]
        write_text(options.json, json.dumps(found, indent=2) + "\n")


def _machine(options: Options) -> tuple[float, float | None]:
    """GB of a GPU and its matrix rate in FLOP/s: as told, else as found here."""
    import torch

    from fewstep.bench.rates import machine_rates
    from fewstep.hardware import total_memory

    memory, rate = options.memory, None if options.tflops is None else options.tflops * 1e12
    if torch.cuda.is_available():
        device = torch.device("cuda")
        memory = memory or total_memory(device) / 1e9
        rate = rate or machine_rates(device, torch.bfloat16)[0] * 1e12
    return memory or 80.0, rate


def _plans(options: Options, memory: float) -> list[tuple[Plan, list[Switch]]]:
    """Of each stage of a recipe, or of a clip of a model."""
    from fewstep.models.presets import PRESETS
    from fewstep.planning import generate, train
    from fewstep.planning.sizes import model_of
    from fewstep.training.recipe import available, resolve

    if options.name in available() or (options.name not in PRESETS and _importable(options.name)):
        recipe, gpus = resolve(options.name)(), options.gpus
        plans = train.plan_recipe(recipe, gpus=gpus)
        return [(plan, train.switches(recipe, index, memory, gpus=gpus)) for index, plan in enumerate(plans)]
    model, making = model_of(options.name), _making(options)
    return [(generate.plan_clip(model, making), generate.switches(model, making, memory))]


def _importable(name: str) -> bool:
    """Whether a dotted name is a recipe of the user's own."""
    from fewstep.training.recipe import RecipeError, resolve

    if "." not in name or "/" in name:
        return False
    try:
        resolve(name)
    except RecipeError:
        return False
    return True


def _making(options: Options) -> Making:
    """How the clip is made, from the command line."""
    from fewstep.planning.generate import SPATIAL, TEMPORAL, Making

    height, width = read_size(options.size) or (None, None)
    for side in (height, width):
        if side is not None and side % (2 * SPATIAL):
            raise ValueError(f"--size must be multiples of {2 * SPATIAL}, got {options.size}")
    if options.frames is not None and (options.frames - 1) % TEMPORAL:
        raise ValueError(f"--frames must be 1 more than a multiple of {TEMPORAL}, got {options.frames}")
    itemsize = 4 if options.dtype == "float32" else 2
    return Making(
        steps=options.steps,
        first=options.first,
        frames=None if options.frames is None else 1 + (options.frames - 1) // TEMPORAL,
        height=height,
        width=width,
        batch=options.batch,
        itemsize=itemsize,
        block_itemsize=1 if options.dtype == "float8" else itemsize,
        offload=options.offload,
        tile=options.tile,
        store=options.prompt_store,
    )


def _print(options: Options, plan: Plan, ways: list[Switch], memory: float, rate: float | None) -> None:
    console = results()
    console.print(f"\n[bold]{plan.name}[/bold]")
    console.print(_table(plan))
    for name, sizes in (("host memory", plan.host), ("disk", plan.disk)):
        if sizes:
            console.print(f"{name}: " + ", ".join(f"{part} {size / 1e9:.3g} GB" for part, size in sizes.items()))
    console.print(_work(plan, rate, options.gpus))
    for note in plan.notes:
        console.print(f"note: {note}")
    fits = "it fits" if plan.fits(memory * 1e9) else "it does not fit"
    console.print(f"[bold]needs {plan.peak / 1e9:.1f} GB of {memory:.0f} GB: {fits}[/bold]")
    for way in ways:
        console.print(f"  {way.say}: {way.plan.peak / 1e9:.1f} GB{', and fits' * way.plan.fits(memory * 1e9)}")
    if not (ways[-1].plan if ways else plan).fits(memory * 1e9):
        console.print("  nothing that fewstep knows makes it fit: take more memory, or a smaller clip or model")


def _table(plan: Plan) -> Table:
    """Memory by part and phase; what is less than 5 MB everywhere is left out."""
    table = Table("GB on each GPU", *(phase.name for phase in plan.phases))
    for part in dict.fromkeys(part for phase in plan.phases for part in phase.memory):
        sizes = [phase.memory.get(part, 0.0) / 1e9 for phase in plan.phases]
        if max(sizes) >= 0.005:
            table.add_row(part, *(f"{size:.2f}" if size >= 0.005 else "" for size in sizes))
    table.add_section()
    table.add_row("in all", *(f"[bold]{phase.peak / 1e9:.1f}[/bold]" for phase in plan.phases))
    table.add_row("TFLOP", *(_tflop(phase.flops) if phase.flops else "" for phase in plan.phases))
    return table


def _tflop(flops: float) -> str:
    return f"{flops / 1e12:,.0f}" if flops >= 1e14 else f"{flops / 1e12:.3g}"


def _work(plan: Plan, rate: float | None, gpus: int) -> str:
    from fewstep.planning.plan import SHARE

    told = f"{_tflop(plan.flops)} TFLOP per {plan.unit}"
    if plan.units > 1:
        told += f", {plan.units:,} of them"
    if plan.once:
        told += f", and {plan.once / 1e18:.3g} EFLOP before"
    if rate is None:
        return f"{told}; --tflops RATE tells the time"
    seconds = plan.seconds(rate, gpus)
    time = f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds:.3g} seconds"
    rates = f"matrix products run at {rate / 1e12:.0f} TFLOP/s, and whole steps at {SHARE:.0%} of that"
    return f"{told}: about {time} where {rates}"


def _as_json(options: Options, plan: Plan, ways: list[Switch], memory: float, rate: float | None) -> dict[str, Any]:
    return {
        **plan.to_json(),
        "gpus": options.gpus,
        "memory_gb": memory,
        "fits": plan.fits(memory * 1e9),
        "hours": None if rate is None else plan.seconds(rate, options.gpus) / 3600,
        "switches": [
            {"say": way.say, "peak_gb": way.plan.peak / 1e9, "fits": way.plan.fits(memory * 1e9)} for way in ways
        ],
    }
