"""One model at one step plan on fixed prompts and noise: the score of every clip, and what a clip costs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import Any, Literal

import numpy as np
import torch

from fewstep.clips import ClipSet
from fewstep.evaluation.entries import plan_options
from fewstep.evaluation.results import Timing
from fewstep.evaluation.scores import row_of
from fewstep.evaluation.shapebench import score_clip
from fewstep.models.vae import VideoVAE, from_uint8
from fewstep.pipeline import Pipeline
from fewstep.session import to_pictures
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.render import render
from fewstep.shapes.scene import Scene, World, scene_to_json
from fewstep.types import Frames, Picture

TEST_SEED = 20_011
"""Seed of the ShapeWorld that prompts come from; no recipe trains on it."""
SPLITS = {"test": "train", "heldout": "heldout"}
"""Prompts like those of training but other ones, or with compositions that training never shows."""


@dataclass(frozen=True)
class Prompts:
    """Scenes, their captions, and the format of their clips."""

    scenes: tuple[Scene, ...]
    captions: tuple[str, ...]
    world: World
    split: str = "test"

    @classmethod
    def sample(cls, world: World, split: str = "test", count: int = 256) -> Prompts:
        """The first `count` prompts of a split; a shorter list is the start of a longer one."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if count < 2:
            raise ValueError(f"2 clips or more are required for an interval, got {count}")
        source = ShapeWorld(TEST_SEED, SPLITS[split], world)
        scenes, captions = zip(*(source.scene(index) for index in range(count)), strict=True)
        return cls(scenes, captions, world, split)

    def true_clip(self, index: int) -> Frames:
        """The clip `[f, h, w, 3]` of prompt `index` of the split, which may lie beyond those at hand."""
        scene, _ = ShapeWorld(TEST_SEED, SPLITS[self.split], self.world).scene(index)
        return render(scene, self.world, self.world.frames)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name scenes, captions and format."""
        parts = [repr(self.world), *map(scene_to_json, self.scenes), *self.captions]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    @cached_property
    def first_frames(self) -> list[Picture]:
        """What clips of an image-to-video model begin with."""
        return [render(scene, self.world, 1)[0] for scene in self.scenes]

    def batches(self, size: int) -> Iterator[slice]:
        """Consecutive slices of `size` prompts."""
        return (slice(start, min(start + size, len(self.scenes))) for start in range(0, len(self.scenes), size))


@dataclass(frozen=True)
class Measurement:
    """Scores of every clip, a few clips to look at, and the cost of one."""

    clips: list[dict[str, Any]]
    shown: list[Frames]
    evaluations: int | None = None
    commits: int | None = None
    timing: Timing | None = None


def world_of(pipeline: Pipeline) -> World:
    """The format that a model makes. Raises ValueError where ShapeWorld has none like it."""
    passport = pipeline.passport
    if passport.height != passport.width:
        raise ValueError(
            f"ShapeWorld's clips are square, '{passport.name}' makes {passport.width}x{passport.height}: it measures "
            "models of that world only"
        )
    return World(size=passport.height, frames=pipeline.pixel_frames, fps=round(passport.fps))


def beginning_of(pipeline: Pipeline) -> Literal["text", "image"]:
    """What a model's clips begin with when nothing is said: a picture only where they must."""
    return "image" if pipeline.passport.begins_with == "image" else "text"


def measure(
    pipeline: Pipeline,
    plan: str,
    prompts: Prompts,
    *,
    seed: int = 0,
    batch: int = 32,
    timed: int = 5,
    shown: int = 8,
    advance: Callable[[int], None] = lambda clips: None,
) -> Measurement:
    """Make a clip of every prompt and score it; then time `timed` clips one by one.

    `plan` is "4", "2*", "2", "1*", "1+", "1" for a student, a number of Euler steps for a teacher. Clip i starts from
    the noise of (seed, i) under every plan and model, and where the model must begin with a picture from the first
    frame of its scene. `advance` hears how many clips came.
    """
    pictures = prompts.first_frames if beginning_of(pipeline) == "image" else []
    shot = pipeline.shot(**plan_options(pipeline, plan), image=pictures[0] if pictures else None)
    clips = ClipSet(
        pipeline=pipeline,
        shot=shot,
        prompts=prompts.captions,
        pictures=pictures,
        seeds=(seed,),
        output=None,
        batch=batch,
        keep=True,
    )
    made = (each.frames for each in clips.make() if each.frames is not None)
    rows, kept = _score_all(made, prompts, shown, advance)
    evaluations, commits = shot.cost
    return Measurement(rows, kept, evaluations, commits, _time(clips, timed) if timed else None)


def measure_truth(
    prompts: Prompts, *, shown: int = 8, advance: Callable[[int], None] = lambda clips: None
) -> Measurement:
    """The score of the ground truth: what the recogniser grants to perfect clips."""
    return Measurement(*_score_all(_truth(prompts), prompts, shown, advance))


def measure_round_trip(
    vae: VideoVAE, prompts: Prompts, *, shown: int = 8, advance: Callable[[int], None] = lambda clips: None
) -> Measurement:
    """The score of the ground truth after encoding and decoding: the ceiling of every model in this latent space."""
    clips = (round_trip(vae, clip[None])[0] for clip in _truth(prompts))
    return Measurement(*_score_all(clips, prompts, shown, advance))


@torch.inference_mode()
def round_trip(vae: VideoVAE, clips: np.ndarray) -> np.ndarray:
    """Clips `[b, f, H, W, 3]` uint8 through an autoencoder and back."""
    pixels = from_uint8(torch.from_numpy(clips).permute(0, 1, 4, 2, 3)).to(next(vae.parameters()))
    return to_pictures(vae.decode(vae.encode(pixels)))


def _time(clips: ClipSet, count: int) -> Timing:
    """Medians over `count` of the clips made alone, after one that is not counted."""
    order, pipeline = [0, *(i % len(clips.prompts) for i in range(count))], clips.pipeline
    prompts, pictures = [clips.prompts[i] for i in order], [clips.pictures[i] for i in order if clips.pictures]
    alone = replace(clips, prompts=prompts, pictures=pictures, batch=1, keep=False)
    return timing_of(pipeline, [made.seconds for made in alone.make()][1:])


def timing_of(pipeline: Pipeline, costs: Sequence[Mapping[str, float]]) -> Timing:
    """Medians over the seconds by part of clips made alone."""
    return Timing(
        seconds=median(cost["denoise"] + cost["decode"] for cost in costs),
        denoise=median(cost["denoise"] for cost in costs),
        decode=median(cost["decode"] for cost in costs),
        clips=len(costs),
        threads=torch.get_num_threads(),
        device=str(pipeline.device),
        dtype=str(pipeline.dtype).removeprefix("torch."),
    )


def _score_all(
    clips: Iterable[Frames], prompts: Prompts, shown: int, advance: Callable[[int], None]
) -> tuple[list[dict[str, Any]], list[Frames]]:
    """A row of measures for the clip of every prompt, and the first `shown` clips; the others are not kept."""
    rows: list[dict[str, Any]] = []
    kept: list[Frames] = []
    for index, (clip, scene, caption) in enumerate(zip(clips, prompts.scenes, prompts.captions, strict=True)):
        rows.append({"index": index, "caption": caption, **row_of(score_clip(clip, scene, prompts.world))})
        if index < shown:
            kept.append(clip)
        advance(1)
    return rows, kept


def _truth(prompts: Prompts) -> Iterator[Frames]:
    return (render(scene, prompts.world, prompts.world.frames) for scene in prompts.scenes)
