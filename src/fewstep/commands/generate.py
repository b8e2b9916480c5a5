"""`fewstep generate`: prompts in, clips and contact sheets out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table
from tyro.conf import Positional, arg

from fewstep.commands.console import progress, results
from fewstep.files import require_writable
from fewstep.video import SUFFIXES, Frames, check_video_path, contact_sheet, video_grid, write_image, write_video

if TYPE_CHECKING:
    from fewstep.pipeline import Generation, Pipeline

VISIBLE = 256
"""Clips whose shorter side has fewer pixels are enlarged to about this many, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make clips from prompts."""

    prompt: Positional[str | None] = None
    """What the clip shows."""
    prompts: Path | None = None
    """A text file with one prompt per line, instead of the prompt."""
    model: str = "shapes-asd"
    """A bundled model (see `fewstep models`) or a folder."""
    steps: int | None = None
    """Network evaluations per chunk, 1 to 4; for a teacher, Euler steps. Default: the model's own."""
    first: int | None = None
    """Steps of the first chunk, when it should have more than the others (`--steps 1 --first 4` is 1*)."""
    frames: int | None = None
    """Pictures per clip. Default: the length that the model was trained for."""
    seed: int = 0
    """Where the noise comes from; a seed starts from the same noise at any step count."""
    seeds: tuple[int, ...] = ()
    """Several seeds: one clip per prompt and seed."""
    guidance: float | None = None
    """Classifier-free guidance, for teachers only. Default: the model's own."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """The video file (.mp4, .gif, .webp). Several clips are numbered. Default: out/clip.mp4, or none with a sheet."""
    sheet: Path | None = None
    """All clips in one picture: moments side by side in a .png, playing together in a .gif, .webp or .mp4."""
    enlarge: int | None = None
    """Repeat each pixel this many times. Default: until the shorter side has about 256."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the networks; auto is bfloat16 where the hardware is fast at it."""
    compile: bool = False
    """Fuse the transformer first (torch.compile): worth it for many clips."""
    batch: int = 8
    """Clips made at once."""


@dataclass(frozen=True)
class Made:
    """One clip and where it came from."""

    prompt: str
    seed: int
    frames: Frames
    cost: Generation
    target: Path | None


def main(argv: Sequence[str]) -> None:
    """Make the clips, write them, and print what each cost."""
    options = tyro.cli(Options, prog="fewstep generate", args=list(argv))
    for name in ("batch", "enlarge"):
        if (count := getattr(options, name)) is not None and count < 1:
            raise ValueError(f"--{name} must be 1 or more, got {count}")
    prompts, seeds = read_prompts(options.prompt, options.prompts), options.seeds or (options.seed,)
    _check_targets(options)

    from fewstep.pipeline import Pipeline

    console = progress()
    with console.status(f"loading {options.model}"):
        pipeline = Pipeline.load(options.model, device=options.device, dtype=options.dtype, compile=options.compile)
    clips = []
    for clip in _generate(pipeline, options, prompts, seeds, console):
        clips.append(clip)
        if clip.target is not None:
            write_video(clip.target, clip.frames, clip.cost.fps, enlarge=_factor(options, clip.frames))
    if options.sheet is not None:
        _write_sheet(options, clips, columns=len(seeds))
    _report(clips, options.sheet)


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompt, or the lines of the file that are not blank; exactly one of the two must be given."""
    if (prompt is None) == (file is None):
        got = "neither" if prompt is None else "both"
        raise ValueError(f'a prompt or --prompts FILE is required, got {got}: fewstep generate "a red ball"')
    if file is None:
        return [prompt or ""]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"a UTF-8 text file of prompts is required, '{file}' is not one: save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"a readable file of prompts is required, got '{file}' ({error.strerror})") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ValueError(f"one prompt per line is required, '{file}' has none: add a line")
    return found


def _check_targets(options: Options) -> None:
    """Refuse, before anything is computed, places that could not be written when it is done."""
    if options.output is not None:
        require_writable(check_video_path(options.output))
    if options.sheet is not None:
        if options.sheet.suffix.lower() not in (".png", *SUFFIXES):
            raise ValueError(f"a sheet ends in .png, {', '.join(SUFFIXES)}, got '{options.sheet}': change the ending")
        require_writable(options.sheet)


def _target(options: Options, number: int, count: int, seed: int) -> Path | None:
    if options.output is None and options.sheet is not None:
        return None
    path = options.output or Path("out/clip.mp4")
    return path if count == 1 else path.with_name(f"{path.stem}-{number:03d}-seed{seed}{path.suffix}")


def _generate(
    pipeline: Pipeline, options: Options, prompts: list[str], seeds: Sequence[int], console: Console
) -> Iterator[Made]:
    """Clips seed by seed, with a progress bar that counts denoising steps."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
    sampling = pipeline.sampling(options.steps, options.first, options.guidance)
    count = len(prompts) * len(seeds)
    total = count * sampling.num_steps(pipeline.latent_frames(options.frames))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"{count} clip{'s' * (count > 1)}", total=total)
        for seed in seeds:
            for start in range(0, len(prompts), options.batch):
                part = prompts[start : start + options.batch]
                made = pipeline.generate(
                    part,
                    steps=options.steps,
                    first=options.first,
                    frames=options.frames,
                    seed=seed,
                    guidance=options.guidance,
                    index=start,
                    batch=len(part),
                    on_step=lambda chunk, step, x0: bar.advance(task, len(x0)),
                )
                for offset, (prompt, frames) in enumerate(zip(part, made.frames, strict=True)):
                    target = _target(options, start + offset, count, seed)
                    yield Made(prompt, seed, frames, made, target)


def _factor(options: Options, frames: Frames) -> int:
    return options.enlarge or max(1, round(VISIBLE / min(frames.shape[1:3])))


def _write_sheet(options: Options, clips: list[Made], columns: int) -> None:
    """One row per prompt, one column per seed."""
    assert options.sheet is not None
    order = {prompt: row for row, prompt in enumerate(dict.fromkeys(clip.prompt for clip in clips))}
    clips = sorted(clips, key=lambda clip: order[clip.prompt])
    videos = [clip.frames for clip in clips]
    labels = [f"{clip.prompt}\nseed {clip.seed}" for clip in clips]
    if options.sheet.suffix.lower() == ".png":
        factor = options.enlarge or max(1, round(VISIBLE / 2 / min(videos[0].shape[1:3])))
        write_image(options.sheet, contact_sheet(videos, labels, columns, enlarge=factor))
    else:
        grid = video_grid(videos, labels, columns, enlarge=_factor(options, videos[0]))
        write_video(options.sheet, grid, clips[0].cost.fps)


def _report(clips: list[Made], sheet: Path | None) -> None:
    table = Table(Column("file", overflow="fold"), "prompt", "seed", "evaluations", "seconds", "frames/s")
    for clip in clips:
        cost, total = clip.cost, clip.cost.seconds["total"]
        passes = (
            f"{cost.network_evaluations} + {cost.commits} commits" if cost.commits else f"{cost.network_evaluations}"
        )
        rate = f"{len(clip.frames) / total:.0f}"
        table.add_row(str(clip.target or "-"), clip.prompt, str(clip.seed), passes, f"{total:.2f}", rate)
    results().print(table)
    if sheet is not None:
        print(f"contact sheet: {sheet}")
