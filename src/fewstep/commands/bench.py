"""`fewstep bench`: speed and memory of streaming on this machine, as tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.table import Table

from fewstep.commands.console import progress, read_size, results
from fewstep.files import require_writable, write_text

if TYPE_CHECKING:
    from fewstep.bench.measure import Report
    from fewstep.bench.subject import Subject

PROMPT = "a red circle moves to the right"
STEPS = 1, 2, 4
"""Step counts where none are asked for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure speed and memory of streaming."""

    model: str = "shapes-asd"
    """A bundled student or a folder."""
    preset: str | None = None
    """Random weights at the size of a preset instead of a model: tiny, shapes, wan_1_3b, wan_14b."""
    vae: Literal["tiny", "shapes", "wan"] | None = None
    """With a preset: another VAE than its own."""
    size: str | None = None
    """With a preset: width and height in pixels, such as 256x256, instead of its own."""
    chunks: int | None = None
    """With a preset: chunks per clip, instead of its own length."""
    steps: tuple[int, ...] = ()
    """Step counts to stream at. Default: those of 1, 2 and 4 that the student has noise levels for."""
    commits: tuple[Literal["sequential", "packed"], ...] = ("sequential", "packed")
    """How finished chunks are written to the cache."""
    cache: Literal["ring", "value"] = "ring"
    """Memory of the past: preallocated and written in place, or a value that grows."""
    backends: tuple[Literal["eager", "compiled"], ...] = ("eager",)
    """compiled takes minutes of compilation first."""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ()
    """Number formats. Default: float32, and bfloat16 where the hardware is fast at it."""
    clips: int = 5
    """Clips per figure, after two of warm-up."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: Path = Path("out/bench.json")
    """Where the figures go."""


def main(argv: Sequence[str]) -> None:
    """Measure, print, and write the figures."""
    options = tyro.cli(Options, prog="fewstep bench", args=list(argv))
    for name in ("clips", "threads", "chunks"):
        if (count := getattr(options, name)) is not None and count < 1:
            raise ValueError(f"--{name} must be 1 or more, got {count}")
    if not (options.commits and options.backends):
        raise ValueError("--commits and --backends each need one value or more, got none for one of them")
    if options.preset is None and (options.size or options.chunks):
        raise ValueError("--size and --chunks go with --preset: a model makes clips of its own size")
    require_writable(options.json)
    size = read_size(options.size)

    import torch

    from fewstep.bench.measure import measure

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    console = progress()
    reports = []
    for backend, subject in _subjects(options, size):
        with console.status("") as status:
            told = f"{subject.name}, {backend}, {subject.dtype}"
            steps = options.steps or tuple(count for count in STEPS if count <= len(subject.levels))
            report = measure(
                subject,
                backend=backend,
                steps=steps,
                commits=options.commits,
                cache=options.cache,
                clips=options.clips,
                log=lambda what, told=told: status.update(f"{told}: {what}"),  # type: ignore[misc]
            )
        report.planned_memory_mb = _planned(options, max(steps), size, report.dtype)
        reports.append(report)
        _print(report)
    write_text(options.json, json.dumps(_as_json(options, reports), indent=2) + "\n")
    print(f"written: {options.json}")


def _subjects(options: Options, size: tuple[int, int] | None) -> Iterator[tuple[str, Subject]]:
    """Each backend with each number format, loaded when its turn comes."""
    import torch

    from fewstep.bench.subject import Subject
    from fewstep.hardware import has_fast_bf16, pick_device
    from fewstep.pipeline import Pipeline

    device = pick_device(options.device)
    dtypes = options.dtypes or (("float32", "bfloat16") if has_fast_bf16(device) else ("float32",))
    for backend in options.backends:
        for name in dtypes:
            dtype = getattr(torch, name)
            if options.preset is not None:
                subject = Subject.from_preset(
                    options.preset, device, dtype, vae=options.vae, size=size, chunks=options.chunks
                )
            else:
                subject = Subject.from_pipeline(Pipeline.load(options.model, device=device, dtype=dtype), PROMPT)
            if backend == "compiled":
                subject.compile()
            yield backend, subject


def _planned(options: Options, steps: int, size: tuple[int, int] | None, dtype: str) -> float | None:
    """MB of the plan for the same clips; None for a model's."""
    if options.preset is None:
        return None
    from fewstep.planning.generate import Making, plan_clip
    from fewstep.planning.sizes import model_of

    itemsize = 2 if dtype == "bfloat16" else 4
    height, width = size or (None, None)
    making = Making(
        steps=steps,
        frames=None if options.chunks is None else 3 * options.chunks,
        height=height,
        width=width,
        itemsize=itemsize,
        block_itemsize=itemsize,
        store=True,
    )
    plan = plan_clip(model_of(options.preset), making)
    return max(sum(phase.lasting.values()) + sum(phase.passing.values()) for phase in plan.phases) / 2**20


def _print(report: Report) -> None:
    console = results()
    title = f"{report.model}, {report.backend}, {report.dtype}, {report.cache} cache"
    console.print(
        f"\n[bold]{title}[/bold]: matrix products at {report.gemm_tflops:.3g} TFLOP/s, "
        f"copies at {report.copy_gb_s:.3g} GB/s, on {report.device}"
    )
    passes = Table("latent frames seen", *map(str, report.forward_ms), title="one pass, ms", title_justify="left")
    for name in ("forward", "commit", "packed"):
        times = getattr(report, f"{name}_ms")
        passes.add_row(name, *(f"{times[frames]:.2f}" if frames in times else "-" for frames in report.forward_ms))
    console.print(passes)
    text = "random embeddings" if report.text_ms is None else f"text {report.text_ms:.2f} ms"
    if report.planned_memory_mb is not None:
        console.print(f"`fewstep plan` says {report.planned_memory_mb:.0f} MB, the device's own software aside")
    console.print(f"decode of a chunk {report.decode_ms:.2f} ms, {text}")
    head = (
        "steps",
        "commit",
        "first frame ms",
        "chunk ms p50",
        "p90",
        "frames/s",
        "without decode",
        "x floor",
        "peak MB",
    )
    streams = Table(*head, title="streams", title_justify="left")
    for s in report.streams:
        periods = (s.period_ms.get("p50"), s.period_ms.get("p90"))
        figures = (s.first_frame_ms, *periods, s.fps_with_decode, s.fps_without_decode, s.floor_ratio)
        shown = ("-" if value is None else f"{value:.1f}" for value in figures)
        streams.add_row(str(s.steps), s.commit, *shown, f"{s.peak_memory_mb:.0f}")
    console.print(streams)


def _as_json(options: Options, reports: list[Report]) -> dict[str, Any]:
    import platform

    import torch

    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "clips": options.clips,
        "reports": [report.to_json() for report in reports],
    }
