"""`fewstep generate`: prompts in, clips and contact sheets out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.table import Column, Table
from tyro.conf import Positional, UseAppendAction, arg

from fewstep.commands.console import choose_model, counter, progress, read_size, results
from fewstep.files import require_writable
from fewstep.sheets import contact_sheet, video_grid
from fewstep.video import SUFFIXES, check_video_path, write_image, write_video

if TYPE_CHECKING:
    from fewstep.clips import ClipSet, Made
    from fewstep.pipeline import Pipeline

VISIBLE = 256
"""Clips whose shorter side has fewer pixels are enlarged to about this many, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make clips from prompts."""

    prompt: Positional[str | None] = None
    """What the clip shows."""
    prompts: Path | None = None
    """A text file with one prompt per line, instead of the prompt."""
    model: str | None = None
    """A bundled model (see `fewstep models`), a folder (ours, diffusers' or Wan's own), or a hub id. Default: the
    bundled student for what is asked, shapes-i2v behind an image and shapes-asd else."""
    revision: str | None = None
    """Branch, tag or commit of a repository on the hub."""
    student: str | None = None
    """File or folder of a causal student, whose transformer takes the model's place; `fewstep inspect` reads it."""
    weights: Literal["auto", "ema", "live"] = "auto"
    """Which network of a training state: its average, the live one, or by default the average where there is one."""
    chunk: int | None = None
    """Latent frames per chunk of a student. Default: what its passport, or its lineage, says."""
    levels: tuple[float, ...] = ()
    """Noise levels of a student, from 1 down. Default: what its passport, or its lineage, says."""
    lora: Annotated[tuple[str, ...], UseAppendAction] = ()
    """A LoRA, FILE or FILE:SCALE, folded into the transformer's weights; may be given several times."""
    merge_lora: bool = True
    """Or keep the LoRAs beside the weights: slower, and in bfloat16 closer to what they were trained as."""
    steps: int | None = None
    """Network evaluations per chunk, 1 to 4; for a teacher, Euler steps. Default: the model's own."""
    first: int | None = None
    """Steps of the first chunk, when it should have more than the others (`--steps 1 --first 4` is 1*)."""
    frames: int | None = None
    """Pictures per clip, those that it begins with included. Default: the length that the model was trained for."""
    size: str | None = None
    """Width and height in pixels, such as 832x480. Default: those that the model was trained for."""
    image: Path | None = None
    """A picture that the clips begin with, scaled to cover them and cropped about its middle. For students."""
    video: Path | None = None
    """A clip that the clips go on from: they begin with its last chunk. For students."""
    seed: int = 0
    """Where the noise comes from; a seed starts from the same noise at any step count."""
    seeds: tuple[int, ...] = ()
    """Several seeds: one clip per prompt and seed, in a set that can be resumed (as with --prompts)."""
    guidance: float | None = None
    """Classifier-free guidance, for teachers only. Default: the model's own."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """The video file (.mp4, .gif, .webp). Several clips are numbered. Default: out/clip.mp4, or none with a sheet."""
    sheet: Path | None = None
    """All clips in one picture: moments side by side in a .png, playing together in a .gif, .webp or .mp4."""
    enlarge: int | None = None
    """Repeat each pixel this many times. Default: until the shorter side has about 256."""
    prompt_store: Path | None = None
    """Embeddings that `fewstep encode` made: prompts that are in it need no text encoder."""
    decoder: Path | None = None
    """Weights of a small decoder (TAEHV, such as taew2_1.pth) that makes the pictures, in a twentieth of the time."""
    tile: int | None = None
    """Encode and decode pictures larger than this many pixels in tiles of that size, to save memory."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float8"] = "auto"
    """Number format of the networks; auto is bfloat16 where the hardware is fast at it, float8 is for large blocks."""
    offload: bool = False
    """Keep the transformer's blocks, the past and the text encoder in host memory, for GPUs with little of it."""
    compile: bool = False
    """Fuse the transformer first (torch.compile): worth it for many clips."""
    batch: int | None = None
    """Clips made at once. Default: eight small ones, or one large one."""


def main(argv: Sequence[str]) -> None:
    """Make the clips, write them, and print what each cost."""
    options = tyro.cli(Options, prog="fewstep generate", args=list(argv))
    for name in ("batch", "enlarge"):
        if (count := getattr(options, name)) is not None and count < 1:
            raise ValueError(f"--{name} must be 1 or more, got {count}")
    prompts, seeds = read_prompts(options.prompt, options.prompts), options.seeds or (options.seed,)
    _check_targets(options)
    _check_numbers(seeds, options.size)

    console, model = progress(), choose_model(options.model, options.image)
    with console.status(f"loading {model}"):
        _require_possible(model, options)
        pipeline = _load(model, options)
    with console.status("reading what is asked for"):
        clips = _clip_set(pipeline, options, prompts, seeds)
        todo = clips.num_steps
    with counter("steps") as bar:
        count = len(clips.missing)
        task = bar.add_task(f"{count} clip{'s' * (count != 1)}", total=todo)
        made = list(clips.make(lambda chunk, step, x0: bar.advance(task, len(x0))))
    if options.sheet is not None:
        _write_sheet(options, clips, made)
    _report(clips, made, options.sheet)


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompt, or the lines of the file that are not blank; exactly one of the two must be given."""
    if (prompt is None) == (file is None):
        got = "neither" if prompt is None else "both"
        raise ValueError(f'a prompt or --prompts FILE is required, got {got}: fewstep generate "a red ball"')
    if prompt is not None:
        if not prompt.strip():
            raise ValueError(f"a prompt must say something, got {prompt!r}: describe what the clip shows")
        return [prompt]
    assert file is not None
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


def _check_numbers(seeds: Sequence[int], size: str | None) -> None:
    from fewstep.sampling import LARGEST_SEED, require_whole

    for seed in seeds:
        require_whole("seed", seed, 0, LARGEST_SEED)
    read_size(size)


def _load(model: str, options: Options) -> Pipeline:
    from fewstep.checkpoints.lora_file import parse_lora
    from fewstep.pipeline import Pipeline

    return Pipeline.load(
        model,
        revision=options.revision,
        student=options.student,
        weights=options.weights,
        passport=_changes(options),
        lora=map(parse_lora, options.lora),
        merge_lora=options.merge_lora,
        prompt_store=options.prompt_store,
        decoder=options.decoder,
        tile=options.tile,
        device=options.device,
        dtype=options.dtype,
        offload=options.offload,
        compile=options.compile,
    )


def _require_possible(model: str, options: Options) -> None:
    """Refuse steps, lengths and sizes that the model does not have, before its large parts are read."""
    from fewstep.checkpoints.model_files import find_model
    from fewstep.checkpoints.open import transformer_config_of
    from fewstep.shot import choose_sampling, count_frames, pixel_size

    files = find_model(
        model, revision=options.revision, student=options.student, weights=options.weights, changes=_changes(options)
    )
    passport, given = files.passport, options.image or options.video
    choose_sampling(passport, options.steps, options.first, options.guidance, behind_prefix=given is not None)
    vae = files.vae()
    if options.video is None:  # how much of one is used depends on its length
        count_frames(passport, vae, options.frames, int(given is not None))
    patch = (files.shape or transformer_config_of(files.part("transformer"))).patch
    stride = vae.spatial_stride
    pixel_size(passport, (stride * patch[1], stride * patch[2]), *read_size(options.size) or (None, None))


def _changes(options: Options) -> dict[str, Any]:
    """What is to be different from the passport."""
    from fewstep.models.layout import ChunkLayout

    changes: dict[str, Any] = {} if options.chunk is None else {"layout": ChunkLayout(options.chunk)}
    return changes | ({"levels": options.levels} if options.levels else {})


def _clip_set(pipeline: Pipeline, options: Options, prompts: list[str], seeds: Sequence[int]) -> ClipSet:
    from fewstep.clips import ClipSet

    height, width = read_size(options.size) or (None, None)
    shot = pipeline.shot(
        steps=options.steps,
        first=options.first,
        frames=options.frames,
        height=height,
        width=width,
        image=options.image,
        video=options.video,
        guidance=options.guidance,
    )
    shorter = min(shot.shape[1:]) * pipeline.vae.spatial_stride
    return ClipSet(
        pipeline=pipeline,
        shot=shot,
        prompts=prompts,
        seeds=seeds,
        output=options.output or (None if options.sheet else Path("out/clip.mp4")),
        resumable=bool(options.prompts or options.seeds),
        begins_with=options.image or options.video,
        batch=options.batch or shot.batch,
        enlarge=options.enlarge or max(1, round(VISIBLE / shorter)),
        keep=options.sheet is not None,
    )


def _write_sheet(options: Options, clips: ClipSet, made: Sequence[Made]) -> None:
    """One row per prompt, one column per seed."""
    assert options.sheet is not None
    made = sorted(made, key=lambda each: each.take.index)
    videos = [each.frames for each in made if each.frames is not None]
    labels = [f"{each.take.prompt}\nseed {each.take.seed}" for each in made]
    columns = len(clips.seeds)
    if options.sheet.suffix.lower() == ".png":
        factor = options.enlarge or max(1, round(VISIBLE / 2 / min(videos[0].shape[1:3])))
        write_image(options.sheet, contact_sheet(videos, labels, columns, enlarge=factor))
    else:
        grid = video_grid(videos, labels, columns, enlarge=clips.enlarge)
        write_video(options.sheet, grid, clips.pipeline.passport.fps)


def _report(clips: ClipSet, made: Sequence[Made], sheet: Path | None) -> None:
    table = Table(Column("file", overflow="fold"), "prompt", "seed", "evaluations", "seconds", "frames/s")
    evaluations, commits = clips.shot.cost
    passes = f"{evaluations} + {commits} commits" if commits else f"{evaluations}"
    frames = clips.pipeline.vae.pixel_frames(clips.shot.frames)
    for each in made:
        take, total = each.take, each.seconds.get("total")
        costs = (passes, f"{total:.2f}", f"{frames / total:.0f}") if total else ("-", "was there", "-")
        table.add_row(str(take.target or "-"), take.prompt, str(take.seed), *costs)
    results().print(table)
    if sheet is not None:
        print(f"contact sheet: {sheet}")
