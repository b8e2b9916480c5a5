"""What a student predicts at each denoising step of each chunk, in latents and in pictures, and how alike that is."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from fewstep.evaluation.entries import plan_options
from fewstep.metrics.similarity import StepRecorder, StepSimilarity, Unit, step_similarity
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline
from fewstep.session import to_pictures

SIDE = 64
"""Pictures are shrunk to about this many pixels on the shorter side, so that hundreds of clips stay in memory."""
VIEWS = ("latents", "latents, centred", "pictures", "pictures, centred")


def record_steps(
    pipeline: Pipeline, prompts: Sequence[str], plan: str, *, seed: int = 0, batch: int = 16
) -> list[np.ndarray]:
    """Predictions `[clips, steps, frames, c, h, w]` fp16 of each chunk, as `generate` makes the clips of these prompts.

    Clip i starts from the noise of (seed, i), so students are paired. Raises ValueError for a teacher.
    """
    if not pipeline.is_student:
        raise ValueError(f"steps of chunks are a student's, '{pipeline.passport.name}' is a teacher: name a student")
    recorder = StepRecorder()
    pipeline.generate(prompts, **plan_options(pipeline, plan), seed=seed, batch=batch, on_step=recorder)
    return recorder.chunks()


@torch.inference_mode()
def decode_steps(vae: VideoVAE, chunks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pictures `[clips, steps, f, h, w, 3]` uint8 of every prediction, each behind the finished chunks before it.

    Each step goes on from the decoder's state behind the chunk before, so nothing is decoded twice.
    """
    weight = next(vae.parameters())
    made: list[list[np.ndarray]] = [[] for _ in chunks]
    for clip in range(len(chunks[0])):
        stream = vae.decode_stream()
        for out, chunk in zip(made, chunks, strict=True):
            steps = []
            for step in chunk[clip]:
                ahead = stream.copy()
                steps.append(_shrunk(to_pictures(ahead.push(torch.from_numpy(step[None]).to(weight)))[0]))
            stream = ahead
            out.append(np.stack(steps))
    return [np.stack(clips) for clips in made]


def similarity_views(vae: VideoVAE, chunks: Sequence[np.ndarray], by: Unit = "chunk") -> dict[str, StepSimilarity]:
    """The similarity of recorded predictions in each of `VIEWS`; centred ones need two clips or more.

    A frame of latents is one block; of pictures, every picture is.
    """
    pictures = decode_steps(vae, chunks)
    found = [
        step_similarity(space, by=by, centred=centred) for space in (chunks, pictures) for centred in (False, True)
    ]
    return dict(zip(VIEWS, found, strict=True))


def _shrunk(frames: np.ndarray) -> np.ndarray:
    height, width = frames.shape[1:3]
    factor = min(height, width) // SIDE
    if factor < 2:
        return frames
    size = (width // factor, height // factor)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
