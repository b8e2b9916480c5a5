"""`fewstep long`: a student's clip of any length, and what memory, time, quality and motion did on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table
from tyro.conf import Positional, arg

from fewstep.commands.console import choose_model, counter, progress, read_size, results
from fewstep.commands.generate import VISIBLE
from fewstep.files import require_writable, write_text
from fewstep.video import open_video

if TYPE_CHECKING:
    from fewstep.bench.long import LongRollout
    from fewstep.models.cache import Context
    from fewstep.models.checkpoint_dir import Passport
    from fewstep.pipeline import Pipeline

FIGURES, CHART, CLIP = "long.json", "long.png", "clip.mp4"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Let a student go on without end for a while, and measure it."""

    prompts: Positional[tuple[str, ...]]
    """What the clip shows. Several take equal shares of it, one behind the other."""
    model: str | None = None
    """A bundled student or a folder. Default: shapes-i2v behind an image, shapes-asd else."""
    seconds: float = 60.0
    """Length of what is made."""
    steps: int | None = None
    """Network evaluations per chunk. Default: the model's own."""
    first: int | None = None
    """Steps of the first chunk, when it should have more than the others."""
    recache: bool = False
    """At a new prompt, commit all that is still seen anew under it, instead of only what follows."""
    window: int | None = None
    """Latent frames that a chunk sees, the sink and itself included. Default: the model's, or its trained length."""
    sink: int | None = None
    """First latent frames that stay visible. Default: the model's, or its first chunk."""
    image: Path | None = None
    """A picture that the clip begins with."""
    video: Path | None = None
    """A clip that it goes on from."""
    size: str | None = None
    """Width and height in pixels. Default: those that the model was trained for."""
    seed: int = 0
    """Where the noise comes from."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("out/long")
    """Folder of the figures (long.json), the picture of them (long.png), and the clip."""
    clip: bool = True
    """Write the clip too (clip.mp4)."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format; auto is bfloat16 where the hardware is fast at it."""
    threads: int | None = None
    """CPU threads. Default: all cores."""


def main(argv: Sequence[str]) -> None:
    """Make the clip, write what was measured, and print what follows from it."""
    options = tyro.cli(Options, prog="fewstep long", args=list(argv))
    if not 0 < options.seconds < math.inf:
        raise ValueError(f"--seconds must be above 0 and have an end, got {options.seconds:g}: ask for 60, say")
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be 1 or more, got {options.threads}")
    for name in (FIGURES, CHART, CLIP):
        require_writable(options.output / name)

    import torch

    from fewstep.bench.long_chart import draw_long_rollout
    from fewstep.pipeline import Pipeline

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = choose_model(options.model, options.image)
    with progress().status(f"loading {model}"):
        pipeline = Pipeline.load(model, device=options.device, dtype=options.dtype)
    made = _make(pipeline, options)
    write_text(options.output / FIGURES, json.dumps(made.to_json(), indent=1, ensure_ascii=False) + "\n")
    draw_long_rollout(made, options.output / CHART)
    _report(made)
    print(f"written: {options.output}")


def _make(pipeline: Pipeline, options: Options) -> LongRollout:
    from fewstep.bench.long import long_rollout

    passport, target = pipeline.passport, options.output / CLIP
    height, width = read_size(options.size) or (passport.height, passport.width)
    with ExitStack() as stack:
        enlarge = max(1, round(VISIBLE / min(height, width)))
        write = stack.enter_context(open_video(target, passport.fps, enlarge=enlarge)) if options.clip else None
        bar = stack.enter_context(counter("pictures"))
        task = bar.add_task("one rollout", total=round(options.seconds * passport.fps))

        def see(frames) -> None:
            bar.advance(task, len(frames))
            if write is not None:
                write(frames)

        return long_rollout(
            pipeline,
            options.prompts,
            options.seconds,
            seed=options.seed,
            context=_context(options, passport),
            recache=options.recache,
            see=see,
            steps=options.steps,
            first=options.first,
            height=height,
            width=width,
            image=options.image,
            video=options.video,
        )


def _context(options: Options, passport: Passport) -> Context:
    from fewstep.shot import rolling_context

    return rolling_context(passport, window=options.window, sink=options.sink)


def _report(made: LongRollout) -> None:
    table = Table("segment", "imaging quality", "dynamic", "motion, sides/s", title_justify="left")
    table.title = f"{made.frames} pictures of {made.settings.model}, in segments of two seconds"
    step = max(1, len(made.segments) // 10)
    for segment in made.segments[::step]:
        dynamic = "yes" if segment.dynamic else "no"
        table.add_row(f"{segment.start:.0f} s", f"{segment.quality:.1f}", dynamic, f"{segment.motion:.3f}")
    console = results()
    console.print(table)
    for name, flat in made.flat.items():
        console.print(f"{name}: {flat}")
    drift = made.drift
    told = "too short to tell" if drift is None else f"{drift.score:.2f}, last minus first segment {drift.slope:+.1f}"
    console.print(f"drift of imaging quality: {told}; dynamic degree {made.told_dynamic_degree}")
