"""The clips of one arm, and all that is measured on each: ShapeBench, the metrics on frames, features, and the steps.

Clips are made, measured and forgotten a batch at a time. Clip i starts from the noise of (seed, i) in every arm, so
that arms are compared clip by clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from fewstep.evaluation.entries import plan_options
from fewstep.evaluation.measure import Prompts, round_trip, timing_of
from fewstep.evaluation.predictions import decode_steps
from fewstep.evaluation.results import Timing
from fewstep.evaluation.scores import row_of
from fewstep.evaluation.shapebench import score_clip
from fewstep.hardware import Stopwatch
from fewstep.metrics.base import Clip, ClipMetric
from fewstep.metrics.features import FeatureError, VideoFeatures
from fewstep.metrics.imaging import imaging_of_frames
from fewstep.metrics.registry import clip_metrics
from fewstep.metrics.similarity import StepRecorder, step_similarity
from fewstep.models.cache import Context
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline
from fewstep.reproduce.paper import Arm
from fewstep.sampling import Causal
from fewstep.shapes.render import render
from fewstep.shot import Shot, behind_pictures
from fewstep.types import Frames
from fewstep.video import shrink

SHOWN = 8
"""Clips kept for the contact sheet."""
FITTED = 16
"""Clips that the extractor sees at once where they are made one by one."""
TIMED = 5
"""Clips timed one by one, after one that is not counted."""
ARRAYS = 2
"""Of what the arrays hold; raised whenever the same clips would give others."""
Advance = Callable[[int], None]


@dataclass
class Measured:
    """What was found: a row per clip, a few clips to look at, vectors of all of them, and the cost of one."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    shown: list[Frames] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """`features [n, d]` of clips that are long enough, `imaging [n, f]` (quality of each frame), and `similarity.*`
    `[n, blocks, steps, steps]`."""
    measures: str = ""
    """`measures_of`: what it was measured by."""
    evaluations: int | None = None
    commits: int | None = None
    timing: Timing | None = None


def measures_of(extractor: VideoFeatures, metrics: Mapping[str, ClipMetric] | None = None) -> str:
    """Names all that clips are measured by, with versions: results of two names are never compared."""
    frames = (f"{each.name}:{each.version}:{each.extractor or ''}" for each in (metrics or clip_metrics()).values())
    return " ".join((extractor.id, f"arrays:{ARRAYS}", *frames))


class ArmJudge:
    """Measures clips as they come."""

    def __init__(self, prompts: Prompts, fps: float, extractor: VideoFeatures):
        self.prompts, self.fps, self.metrics, self.extractor = prompts, fps, clip_metrics(), extractor
        self.found = Measured(measures=measures_of(extractor, self.metrics))
        self._features: list[np.ndarray] = []
        self._imaging: list[np.ndarray] = []

    def see(self, clips: np.ndarray, start: int, given: np.ndarray | None = None, *, stated: int = 0) -> None:
        """A batch `[b, f, h, w, 3]` uint8 of the prompts from number `start` on.

        `given [b, h, w, 3]` is what they begin with; `stated` shifts the prompts that they are judged by, for controls.
        """
        for offset, frames in enumerate(clips):
            index = start + offset
            asked = (index + stated) % len(self.prompts.scenes)
            scene, caption = self.prompts.scenes[asked], self.prompts.captions[asked]
            clip = Clip(frames, self.fps, caption, None if given is None else given[offset])
            times = frames.shape[1] // self.prompts.world.size
            small = clip if times == 1 else Clip(shrink(frames, times), self.fps)  # the recogniser knows no other size
            known = [metric for metric in self.metrics.values() if len(frames) >= metric.minimum_frames]
            wanted = [metric for metric in known if given is not None or not metric.needs_picture]
            measured = {metric.name: float(metric.measure(clip)) for metric in wanted}
            scores = row_of(score_clip(small, scene, self.prompts.world))
            self._imaging.append(imaging_of_frames(clip))
            self.found.rows.append({"index": index, "caption": caption, **scores, "metrics": measured})
        self._features += self._extract(clips)
        self.found.shown += [frames.copy() for frames in clips[: max(0, SHOWN - len(self.found.shown))]]

    def done(self) -> Measured:
        """All of it."""
        self.found.arrays["imaging"] = np.stack(self._imaging)
        if self._features:
            self.found.arrays["features"] = np.concatenate(self._features)
        return self.found

    def _extract(self, clips: np.ndarray) -> list[np.ndarray]:
        """Features of a batch; none of clips that are too short for the extractor."""
        try:
            fitted = np.stack([self.extractor.takes.fit(Clip(frames, self.fps)) for frames in clips])
        except FeatureError:
            return []
        return [self.extractor.extract(fitted)]


def shot_of(pipeline: Pipeline, arm: Arm, pictures: np.ndarray | None) -> Shot:
    """What the arm makes: its plan, length and size, behind `pictures [b, h, w, 3]`."""
    passport, stride = pipeline.passport, pipeline.vae.temporal_stride
    height, width = passport.height * arm.enlarge, passport.width * arm.enlarge
    frames = None
    if arm.length > 1:
        chunk = passport.layout.chunk if pipeline.is_student else 1
        first = 1 if pictures is not None else (passport.layout.first or chunk) if pipeline.is_student else 1
        latent = first + round((arm.length * passport.latent_frames - first) / chunk) * chunk
        frames = 1 + (latent - 1) * stride
    image = None if pictures is None else pictures[0]
    options = plan_options(pipeline, arm.plan)
    shot = pipeline.shot(**options, frames=frames, height=height, width=width, image=image)
    if pictures is not None:
        shot = behind_pictures(shot, passport, pipeline.vae, pictures)
    if arm.length > 1 and isinstance(shot.sampling, Causal) and shot.sampling.context.window is None:
        # positions that a student never saw would drown everything else
        view = Context(sink=0, window=passport.latent_frames, rope="relative")
        shot = replace(shot, sampling=replace(shot.sampling, context=view))
    return shot


def measure_arm(
    pipeline: Pipeline,
    arm: Arm,
    prompts: Prompts,
    *,
    batch: int,
    extractor: VideoFeatures,
    advance: Advance = lambda clips: None,
) -> Measured:
    """Make and measure a clip of every prompt. Raises ValueError for what the model cannot make."""
    judge, recorder = ArmJudge(prompts, pipeline.passport.fps, extractor), StepRecorder() if arm.observe else None
    shot = None
    for part in prompts.batches(batch):
        given = _first_frames(prompts, part, arm.enlarge) if arm.from_picture else None
        if shot is None or given is not None:
            shot = shot_of(pipeline, arm, given)
        clips = _make(pipeline, shot, prompts.captions[part], arm.noise, part.start, on_step=recorder)
        judge.see(clips, part.start, given)
        advance(len(clips))
    assert shot is not None
    found = judge.done()
    found.evaluations, found.commits = shot.cost
    found.timing = _time(pipeline, arm, prompts)
    if recorder is not None:
        found.arrays |= _similarities(recorder, pipeline.vae)
    return found


def measure_control(
    name: str,
    prompts: Prompts,
    vae: VideoVAE,
    fps: float,
    *,
    extractor: VideoFeatures,
    advance: Advance = lambda clips: None,
) -> Measured:
    """Measure what is no model's: ground truth, and what is done to it.

    Ground truth also has the array `features.others` of as many other true clips, whose distance is the floor at
    these numbers.
    """
    judge = ArmJudge(prompts, fps, extractor)
    for part in prompts.batches(1):
        truth = np.stack([render(scene, prompts.world, prompts.world.frames) for scene in prompts.scenes[part]])
        judge.see(CONTROLS[name](truth, part.start, vae), part.start, stated=int(name == "shuffled"))
        advance(len(truth))
    found = judge.done()
    if name == "truth" and "features" in found.arrays:
        found.arrays["features.others"] = _features_of_others(prompts, fps, extractor)
    return found


def _features_of_others(prompts: Prompts, fps: float, extractor: VideoFeatures) -> np.ndarray:
    """Features `[n, d]` of the true clips of the prompts that follow in the same split."""
    count, features = len(prompts.scenes), []
    for start in range(count, 2 * count, FITTED):
        clips = (prompts.true_clip(index) for index in range(start, min(start + FITTED, 2 * count)))
        features.append(extractor.extract(np.stack([extractor.takes.fit(Clip(frames, fps)) for frames in clips])))
    return np.concatenate(features)


CONTROLS: dict[str, Callable[[np.ndarray, int, VideoVAE], np.ndarray]] = {
    "truth": lambda truth, index, vae: truth,
    "vae": lambda truth, index, vae: round_trip(vae, truth),
    "frozen": lambda truth, index, vae: np.repeat(truth[:, :1], truth.shape[1], axis=1),
    "noise": lambda truth, index, vae: np.random.default_rng(index).integers(256, size=truth.shape).astype(np.uint8),
    "shuffled": lambda truth, index, vae: truth,
}
"""Clips that no model made; those of `shuffled` are judged by the caption of the next one."""


def _make(
    pipeline: Pipeline, shot: Shot, captions: tuple[str, ...], seed: int, index: int, **observers: Any
) -> np.ndarray:
    """`[b, f, h, w, 3]` uint8."""
    pieces: list[list[Frames]] = [[] for _ in captions]
    for row, piece in pipeline.pieces(shot, captions, seed=seed, index=index, **observers):
        pieces[row].append(piece)
    return np.stack([np.concatenate(each) for each in pieces])


def _time(pipeline: Pipeline, arm: Arm, prompts: Prompts) -> Timing:
    """Medians over clips made alone; text encoding is left out."""
    costs = []
    for index in range(min(TIMED, len(prompts.captions)) + 1):
        at = slice(max(0, index - 1), max(0, index - 1) + 1)
        given = _first_frames(prompts, at, arm.enlarge) if arm.from_picture else None
        with torch.inference_mode():
            shot = shot_of(pipeline, arm, given)
        watch = Stopwatch(pipeline.device)
        _make(pipeline, shot, prompts.captions[at], arm.noise, at.start, watch=watch)
        costs.append(watch.seconds)
    return timing_of(pipeline, costs[1:])


def _first_frames(prompts: Prompts, part: slice, enlarge: int) -> np.ndarray:
    """What true clips begin with `[b, h, w, 3]`."""
    pictures = np.stack(prompts.first_frames[part])
    return pictures.repeat(enlarge, axis=1).repeat(enlarge, axis=2)


def _similarities(recorder: StepRecorder, vae: VideoVAE) -> dict[str, np.ndarray]:
    """Cosines of the steps' predictions in every reading that the paper leaves open."""
    chunks = recorder.chunks()
    readings = {
        "chunk": partial(step_similarity, chunks),
        "chunk.centred": partial(step_similarity, chunks, centred=len(chunks[0]) > 1),
        "frame": partial(step_similarity, chunks, by="frame"),
        "pixels": partial(step_similarity, decode_steps(vae, chunks)),
    }
    return {f"similarity.{name}": np.stack(read().blocks, axis=1) for name, read in readings.items()}
