"""The demo from start to page."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fewstep.demo.compare import ANIMATOR, START, STUDENT, TEACHER, animator, columns, measure
from fewstep.demo.distil import Distilled, distil
from fewstep.demo.hero import write_hero
from fewstep.demo.page import Animation, Report, Variant, render_page
from fewstep.files import require_writable, write_text
from fewstep.models.checkpoint_dir import bundled_models
from fewstep.pipeline import Pipeline
from fewstep.shapes.grammar import Scene, World, caption, sample_scene
from fewstep.shapes.render import render
from fewstep.video import write_image

COUNTS = (1, 2, 1, 3, 2, 1)
"""Objects in the scenes of the page, in order and over again."""
FIRST_SCENE = 500_000
"""Numbers of the demo's scenes start here, far from those of training."""
PAGE, PICTURE = "index.html", "first.png"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Distil a student live, compare every model and plan, and write a page about it."""

    out: Path = Path("out/demo")
    """Folder of the page and of the live run; a run from before is replaced."""
    seconds: float = 90.0
    """How long to distil; 0 leaves the live part out."""
    scenes: int = 24
    """Scenes that every model and plan is judged on."""
    shown: int = 6
    """Scenes on the page."""
    seed: int = 0
    """Of the noise and of the live run."""
    hero: Path | None = None
    """Also write the README's picture to this .webp, .gif or .mp4."""

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.scenes:
            raise ValueError(f"--shown must be 1 to --scenes, got {self.shown} of {self.scenes} scenes")
        if self.seconds < 0:
            raise ValueError(f"--seconds must be 0 or more, got {self.seconds}")


def run_demo(options: Options) -> Path:
    """Do all of it, telling the terminal; returns the page's path."""
    console = Console()
    page = options.out / PAGE
    require_writable(page)
    available = [folder.name for folder in bundled_models()]
    missing = tuple(name for name in (TEACHER, START, STUDENT, ANIMATOR) if name not in available)
    if {TEACHER, START, STUDENT} <= set(missing):
        raise ValueError(f"the demo needs bundled models, got none of {', '.join(missing)}: run `make embedded` first")
    for name in missing:
        console.print(f"[yellow]not bundled here, left out: {name}[/yellow]")
    live = _distil(options, available, console)
    scenes = [sample_scene(FIRST_SCENE + i, count=COUNTS[i % len(COUNTS)]) for i in range(options.scenes)]
    variants = _compare(options, available, scenes, live, console)
    animation = _animate(options, console) if ANIMATOR in available else None
    report = Report(
        prompts=tuple(caption(scene) for scene in scenes[: options.shown]),
        variants=variants,
        animation=animation,
        fps=World().fps,
        scenes=len(scenes),
        curves=live.curves if live else {},
        live_seconds=live.seconds if live else 0.0,
        live_updates=live.updates if live else 0,
        missing=missing,
        seed=options.seed,
    )
    write_text(page, render_page(report))
    _print(variants if animation is None else (*variants, animation.variant), console)
    if options.hero is not None:
        console.print(f"picture: {write_hero(report, options.hero)}")
    console.print(f"\nOpen [bold]{page.resolve()}[/bold] in a browser.")
    return page


def _distil(options: Options, available: list[str], console: Console) -> Distilled | None:
    if options.seconds == 0 or not {START, TEACHER} <= set(available):
        return None
    console.print(f"\n[bold]1. Distilling a one-step student[/bold] for about {options.seconds:.0f} s, from {START}")
    return distil(options.out / "run", options.seconds, options.seed)


def _compare(
    options: Options, available: list[str], scenes: list[Scene], live: Distilled | None, console: Console
) -> tuple[Variant, ...]:
    console.print(f"\n[bold]2. The same {len(scenes)} prompts and noise[/bold] through every model and plan")
    wanted = columns(available, live.model if live else None, f"after {live.seconds:.0f} s" if live else "")
    loaded: dict[str, Pipeline] = {}
    variants = []
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=console) as progress:
        task = progress.add_task("", total=len(wanted) * len(scenes))
        for column in wanted:
            key = str(column.model)
            progress.update(task, description=column.weights + (f", steps: {column.plan}" if column.plan else ""))
            loaded[key] = loaded.get(key) or Pipeline.load(column.model)
            variants.append(measure(column, loaded[key], scenes, options.seed, lambda: progress.advance(task)))
    return tuple(variants)


def _animate(options: Options, console: Console) -> Animation:
    console.print(f"\n[bold]3. {options.scenes} first pictures[/bold], each gone on from in one step a chunk")
    scenes = moving_scenes(options.scenes)
    variant = measure(animator(), Pipeline.load(ANIMATOR), scenes, options.seed, lambda: None)
    truth = render(scenes[0])
    picture = write_image(options.out / PICTURE, truth[0])
    return Animation(prompt=caption(scenes[0]), truth=truth, picture=picture, variant=variant)


def moving_scenes(number: int) -> list[Scene]:
    """Scenes in which everything moves, which a picture cannot tell, of compositions that training never shows."""
    drawn = (sample_scene(FIRST_SCENE + i, "heldout", count=COUNTS[i % len(COUNTS)]) for i in count())
    return list(islice((scene for scene in drawn if all(obj.speed for obj in scene.objects)), number))


def _print(variants: tuple[Variant, ...], console: Console) -> None:
    table = Table("steps", "weights", "evaluations", "time a clip", "right")
    for variant in variants:
        cells = (variant.title, variant.weights, str(variant.evaluations))
        table.add_row(*cells, f"{variant.seconds * 1000:.0f} ms", f"{variant.score:.0%}")
    console.print(table)
