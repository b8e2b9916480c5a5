"""`fewstep data ingest`: folders of video to shards that training reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.progress import TaskID
from tyro.conf import Positional

from fewstep.commands.console import counter, or_truncate, read_size

if TYPE_CHECKING:
    from fewstep.ingest.run import Ingest, OnProgress
    from fewstep.ingest.scan import Cutting
    from fewstep.models.checkpoint_dir import Passport
    from fewstep.models.vae import VideoVAE

USAGE = """usage: fewstep data ingest SOURCES... --model M --out SHARDS [options]

  ingest  cut videos into clips, and encode them with their captions for training

`fewstep data ingest --help` lists the options."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Cut videos of any kind into clips, and encode them with their captions into shards (WebDataset layout)."""

    sources: Positional[tuple[Path, ...]]
    """Folders, which are searched through, and files."""
    out: Path
    """The shards' folder. An interrupted command goes on where it stopped; finished shards are kept."""
    model: str
    """A bundled model, a folder or a hub id, whose autoencoder and text encoder to use."""
    captions: Path | None = None
    """A .csv, .json, .jsonl or .txt file, or a folder of .txt or .json files. Default: such files beside the clips."""
    frames: int | None = None
    """Pictures of a clip. Default: those that the model was trained for."""
    size: str | None = None
    """Width and height in pixels, such as 832x480. Default: those that the model was trained for."""
    fps: float | None = None
    """Pictures per second. Default: those that the model was trained for."""
    jump: float = 3.0
    """How many times the usual difference between pictures makes a cut; more finds fewer cuts."""
    repeats: float = 0.6
    """Share of a clip's pictures that may be repeated because the file has fewer; a clip of more stands still."""
    negative: str | None = None
    """The negative prompt, which is stored too. Default: the model's own."""
    truncate: bool = False
    """Cut captions that have more tokens than the model reads, instead of refusing them."""
    shard_size: int = 64
    """Clips of a shard; also those that an interruption loses."""
    workers: int = min(8, os.cpu_count() or 1)
    """Files that are decoded at once."""
    tile: int | None = None
    """Encode in tiles of this many pixels, in less memory."""
    revision: str | None = None
    """Branch, tag or commit of a repository on the hub."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoders; auto is bfloat16 where the hardware is fast at it."""


def main(argv: Sequence[str]) -> None:
    """Run `ingest`, the one thing that is done with data so far."""
    what, *rest = argv or ["--help"]
    if what in ("-h", "--help"):
        print(USAGE)
    elif what == "ingest":
        _ingest(tyro.cli(Options, prog="fewstep data ingest", args=rest))
    else:
        raise ValueError(f"`fewstep data` is followed by ingest, got '{what}'")


def _ingest(options: Options) -> None:
    """Make the shards that are not there yet, and say what became of the files."""
    from fewstep.ingest.report import REPORT, summary
    from fewstep.ingest.sources import find_sources, read_captions

    for name in ("workers", "shard_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(options, name)}")
    sources = find_sources(options.sources)
    captions, without = read_captions(sources, options.captions)
    if not captions:
        raise ValueError(f"none of {len(sources)} files has a caption: {next(iter(without.values()))}")
    with counter() as bar, or_truncate():
        tasks: dict[str, TaskID] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(label)
            bar.update(tasks[label], completed=done, total=total)

        outcomes = _prepare(options, show).run(sources, captions, without)
    if not any(outcome.clips for outcome in outcomes):
        raise ValueError(f"none of {len(sources)} files gives a clip: {options.out / REPORT} says why")
    print(f"{options.out}: {summary(outcomes)}; see {options.out / REPORT}")


def _prepare(options: Options, on_progress: OnProgress) -> Ingest:
    """The work with the model's autoencoder, and its text encoder when it is needed."""
    from fewstep.checkpoints.model_files import find_model
    from fewstep.checkpoints.texts import encoder_fingerprint
    from fewstep.hardware import pick_device, pick_dtype
    from fewstep.ingest.run import Ingest
    from fewstep.models.tiling import Tiling

    device = pick_device(options.device)
    dtype = pick_dtype(options.dtype, device)
    files = find_model(options.model, revision=options.revision)
    vae = files.vae(dtype=dtype, device=device)
    vae.tiling = Tiling.square(options.tile)
    return Ingest(
        out=options.out,
        cutting=_cutting(options, files.passport, vae),
        vae=vae,
        load_text_encoder=lambda: files.text_encoder(dtype=dtype, device=device),
        text_encoder=encoder_fingerprint(files.parts.get("text_encoder")),
        negative_prompt=files.passport.negative_prompt if options.negative is None else options.negative,
        truncate=options.truncate,
        shard_size=options.shard_size,
        workers=options.workers,
        on_progress=on_progress,
    )


def _cutting(options: Options, passport: Passport, vae: VideoVAE) -> Cutting:
    """Clips as asked for, or else as the model was trained on. Raises ValueError for what would not fill its chunks."""
    from fewstep.ingest.scan import Cutting

    frames = vae.pixel_frames(passport.latent_frames) if options.frames is None else options.frames
    latent_frames = vae.latent_frames(frames)
    if passport.kind == "student":
        passport.layout.sizes(latent_frames)
    height, width = read_size(options.size) or (passport.height, passport.width)
    fps = passport.fps if options.fps is None else options.fps
    return Cutting(frames=frames, fps=fps, height=height, width=width, jump=options.jump, repeats=options.repeats)
