"""Clips of every model at every plan on the same prompts and noise, in folders that any measure can read later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from fewstep.clips import ClipSet
from fewstep.evaluation.controls import TITLES, ControlSet
from fewstep.evaluation.entries import PLANS, Entry, plan_options, require_distinct
from fewstep.evaluation.measure import beginning_of
from fewstep.evaluation.prompts import FIRST_FRAMES, PromptSource, describe_scene, find_pictures, place_pictures
from fewstep.evaluation.results import file_name
from fewstep.files import require_writable
from fewstep.hardware import Format
from fewstep.manifest import MANIFEST
from fewstep.pipeline import Pipeline
from fewstep.shot import behind_window

CLIP = "clip.mp4"
"""Numbered: clip-000-seed0.mp4."""
FINE = 256
"""Clips whose shorter side has fewer pixels are stored twice as large, so that 4:2:0 has a colour for each."""
FINE_CRF, CRF = 6, 10
"""Quality of H.264 for these and for larger clips; docs/evaluation.md says what it costs a score."""


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """What clips are made of each model. Raises ValueError for values that name none."""

    plans: tuple[str, ...] = PLANS
    """Steps per chunk; students without the levels for a plan leave it out."""
    teacher_steps: int = 50
    """Euler steps of teachers, which have no other plan."""
    seeds: tuple[int, ...] = (0,)
    """Of the noise: one clip for each prompt and seed."""
    frames: int | None = None
    """Pictures per clip; the trained length when None."""
    size: tuple[int, int] | None = None
    """Height and width in pixels; the trained ones when None."""
    images: str | None = None
    """What clips begin with: a folder with one picture per prompt, or `first` for the first frames of ShapeWorld."""
    zero_shot: bool = False
    """Let students that were trained from text alone begin with pictures too."""
    window: int | None = None
    """Latent frames that a student's chunk sees, the sink and itself included; with `sink` None too, as trained."""
    sink: int | None = None
    """First latent frames that stay visible in the window."""
    batch: int | None = None
    """Clips made at once; by default several small ones or one large one."""
    shard: tuple[int, int] = (0, 1)
    """Make only batches i, i + n, … of each folder: (i, n)."""
    controls: bool = False
    """Also the ground truth of ShapeWorld's prompts, and its round trip through the first model's autoencoder."""
    device: str | None = None
    dtype: Format = "auto"
    offload: bool = False
    """Keep the transformer's blocks in host memory."""
    tile: int | None = None
    """Pixels of the tiles that the autoencoder works in."""
    prompt_store: Path | None = None
    """Embeddings that `fewstep encode` made."""

    def __post_init__(self) -> None:
        number, count = self.shard
        if not 0 <= number < count:
            raise ValueError(f"a shard is (i, n) with 0 <= i < n, got ({number}, {count})")
        if (
            not self.seeds
            or len(set(self.seeds)) != len(self.seeds)
            or not 0 <= min(self.seeds) <= max(self.seeds) < 2**31
        ):
            raise ValueError(f"seeds must be different whole numbers from 0 to {2**31 - 1}, got {list(self.seeds)}")
        for name in ("teacher_steps", "batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")


@dataclass(frozen=True)
class Watcher:
    """Who hears of progress."""

    begin: Callable[[str, int, int], None] = lambda folder, missing, steps: None
    """A folder, the clips that it lacks, and the steps that these take: of denoising, or one for a control."""
    advance: Callable[[int], None] = lambda steps: None
    end: Callable[[Path], None] = lambda folder: None


class Storage(TypedDict):
    """Of a video file."""

    enlarge: int
    crf: int


def clip_folder(out: Path, row: str, training_seed: int, plan: str) -> Path:
    """Where the clips of a model at a plan belong: `out/asd-seed0-1star`."""
    return out / Path(file_name(row, training_seed, plan)).stem


def sample(
    entries: Sequence[Entry],
    out: Path,
    source: PromptSource,
    settings: SamplingSettings,
    watcher: Watcher | None = None,
) -> list[Path]:
    """Fill a folder of clips for each model and plan; what is there, as the same settings make it, is kept.

    Raises ValueError for two models of one row and training seed, and for what a model cannot make; ManifestError for
    a folder of other clips.
    """
    require_distinct(entries)
    require_writable(out / MANIFEST)
    watcher, folders = watcher or Watcher(), list[Path]()
    for number, entry in enumerate(entries):
        pipeline = Pipeline.load(
            entry.folder,
            prompt_store=settings.prompt_store,
            tile=settings.tile,
            device=settings.device,
            dtype=settings.dtype,
            offload=settings.offload,
            passport={"begins_with": "either"} if settings.zero_shot else None,
        )
        if settings.controls and number == 0:
            folders += _controls(out, source, settings, pipeline, watcher)
        for plan in entry.plans(settings.plans, settings.teacher_steps):
            folder = clip_folder(out, entry.row, entry.training_seed, plan)
            clips = _clip_set(folder, pipeline, plan, source, settings)
            watcher.begin(folder.name, len(clips.missing), clips.num_steps)
            for _ in clips.make(lambda chunk, step, x0: watcher.advance(len(x0))):
                pass
            watcher.end(folder)
            folders.append(folder)
    return folders


def _clip_set(folder: Path, pipeline: Pipeline, plan: str, source: PromptSource, settings: SamplingSettings) -> ClipSet:
    """The clips of one model at one plan."""
    shapes = source.shapes(pipeline)
    captions = source.captions(shapes)
    height, width = settings.size or (pipeline.passport.height, pipeline.passport.width)
    options = {**plan_options(pipeline, plan), "frames": settings.frames, "height": height, "width": width}
    images, pictures = settings.images, tuple[Path, ...]()
    if images is None and beginning_of(pipeline) == "image":
        if shapes is None:
            raise ValueError(
                f"'{pipeline.passport.name}' goes on from a picture, got none: name a folder with one for each prompt "
                "(--images DIR)"
            )
        images = FIRST_FRAMES
    if images is not None:
        found = find_pictures(images, captions, shapes)
        pipeline.shot(**options, image=found[0])  # a model that cannot begin with them says so before they are written
        pictures = place_pictures(found, folder, height, width)
    shot = pipeline.shot(**options, image=pictures[0] if pictures else None)
    if settings.window is not None or settings.sink is not None:
        shot = behind_window(shot, pipeline.passport, settings.window, settings.sink)
    return ClipSet(
        pipeline=pipeline,
        shot=shot,
        prompts=captions,
        scenes=[describe_scene(scene, shapes.world) for scene in shapes.scenes] if shapes else (),
        pictures=pictures,
        seeds=settings.seeds,
        output=folder / CLIP,
        resumable=True,
        numbered=True,
        batch=settings.batch or shot.batch,
        shard=settings.shard,
        **_storage(height, width),
    )


def _controls(
    out: Path, source: PromptSource, settings: SamplingSettings, pipeline: Pipeline, watcher: Watcher
) -> Iterator[Path]:
    """The folders of ground truth and round trip."""
    shapes = source.shapes(pipeline)
    if shapes is None:
        raise ValueError("controls are the ground truth of ShapeWorld's prompts, these are not: leave --controls out")
    world = shapes.world
    for kind in TITLES:
        clips = ControlSet(
            kind=kind,
            prompts=shapes,
            frames=settings.frames or world.frames,
            seed=settings.seeds[0],
            vae=pipeline.vae,
            output=clip_folder(out, kind, 0, "-") / CLIP,
            **_storage(world.size, world.size),
            shard=settings.shard,
        )
        watcher.begin(clips.output.parent.name, len(clips.missing), len(clips.missing))
        for _ in clips.make():
            watcher.advance(1)
        watcher.end(clips.output.parent)
        yield clips.output.parent


def _storage(height: int, width: int) -> Storage:
    """How clips of this size are stored, so that measures see what the model made."""
    return {"enlarge": 2, "crf": FINE_CRF} if min(height, width) < FINE else {"enlarge": 1, "crf": CRF}
