"""What is asked of a model (steps, length, size, beginning), checked against its passport, and what it gives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import UInt8

from fewstep.diffusion.steps import StepPlan, named_plan
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import FROM_IMAGE, Passport
from fewstep.models.layout import ChunkLayout
from fewstep.models.vae import VideoVAE, from_uint8
from fewstep.pictures import PictureSource, fit_picture, read_picture
from fewstep.sampling import Causal, CausalManySteps, ManySteps, Sampling, require_whole
from fewstep.types import Frames, Latents, TextEmbeds
from fewstep.video import check_frames, read_end

TEACHER_STEPS = 50
"""Euler steps of a teacher when none are asked for (Wan's default)."""
MOST_AT_ONCE = 8
"""Clips made at once when nothing is said, as long as they are small."""
TOKENS_AT_ONCE = 16_384
"""What "small" means: tokens of all clips made at once. One clip of Wan at 832x480 has 32,760."""


class ShotOptions(TypedDict, total=False):
    """What may be asked of a clip besides its prompt; `Pipeline.shot` says what each means."""

    steps: int | None
    first: int | None
    second: int | None
    frames: int | None
    height: int | None
    width: int | None
    image: PictureSource | None
    video: str | Path | Frames | None
    guidance: float | None


@dataclass(frozen=True)
class Shot:
    """Everything about a clip but its prompt and its noise, in the model's own terms."""

    sampling: Sampling
    frames: int
    """Latent frames of the whole clip, the prefix included."""
    shape: tuple[int, int, int]
    """c h w of a latent frame."""
    tokens: int
    """Of a clip in the transformer."""
    prefix: Latents | None = None
    """What the clip begins with, clean: a picture, or the end of another clip."""
    null: TextEmbeds | None = None
    """The unconditional branch of guidance, where there is one."""

    def __post_init__(self) -> None:
        if isinstance(self.sampling, Causal) and self.sampling.plan.enhanced:
            chunks = len(self.sampling.layout.sizes(self.new_frames))
            if chunks <= self.sampling.plan.enhanced:
                raise ValueError(
                    f"an enhanced second chunk (the plan N+) needs two chunks or more, the clip has {chunks}: "
                    "make it longer, or choose a plan without a plus"
                )

    @property
    def new_frames(self) -> int:
        """Latent frames to be generated."""
        return self.frames - (0 if self.prefix is None else self.prefix.shape[1])

    @property
    def num_steps(self) -> int:
        """Denoising steps of a clip."""
        return self.sampling.num_steps(self.new_frames)

    @property
    def cost(self) -> tuple[int, int]:
        """Network evaluations and commits of a clip; a prefix is committed like a chunk."""
        evaluations, commits = self.sampling.cost(self.new_frames)
        branches = 2 if self.sampling.needs_null else 1
        return evaluations, commits + (0 if self.prefix is None else branches)

    @property
    def batch(self) -> int:
        """Clips to make at once when nothing is said: several small ones, one large one."""
        return max(1, min(MOST_AT_ONCE, TOKENS_AT_ONCE // self.tokens))


@dataclass(frozen=True)
class Generation:
    """Clips and what they cost. The frames are also what `numpy.asarray(generation)` gives."""

    frames: UInt8[np.ndarray, "b f H W 3"]
    fps: float
    network_evaluations: int
    """Passes per clip that predict a velocity; guidance counts two per step, commits of clean context none."""
    commits: int
    """Passes per clip that write finished chunks to the cache."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall clock per clip of `text`, `denoise` (commits included) and `decode`, and their `total`."""

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.frames, dtype=dtype, copy=copy)


def step_plan(passport: Passport, steps: int | None, first: int | None, second: int | None = None) -> StepPlan:
    """A student's noise levels at `steps` per chunk, and `first` for the first chunk (FFE, ASD 3.3).

    `second` gives its steps to the second chunk instead: the control of FFE at equal cost.

    Raises ValueError for counts that the model has no levels for.
    """
    levels = passport.levels
    if first is not None and second is not None:
        raise ValueError(f"one chunk is enhanced, got first={first} and second={second}: drop one")
    for name, count in (("steps", steps), ("first", first), ("second", second)):
        if count is not None:
            require_whole(f"{name} (noise levels of '{passport.name}')", count, 1, len(levels))
    if steps is None and first is None and second is None and passport.plan is not None:
        return named_plan(levels, passport.plan, passport.schedule)
    full = StepPlan.uniform(levels)
    plan = full.shorten(steps or len(levels), passport.schedule)
    if second is not None:
        return plan.enhance_second(full.shorten(second, passport.schedule).rest)
    return plan if first is None else plan.enhance_first(full.shorten(first, passport.schedule).rest)


def choose_sampling(
    passport: Passport,
    steps: int | None,
    first: int | None,
    guidance: float | None,
    *,
    second: int | None = None,
    behind_prefix: bool = False,
) -> Sampling:
    """How the model makes a clip under these options. Raises ValueError for those that it cannot follow."""
    layout = ChunkLayout(passport.layout.chunk) if behind_prefix else passport.layout
    if passport.kind == "student":
        if guidance not in (None, 1):
            raise ValueError(f"a student has its guidance distilled in, got guidance={guidance}: leave it out")
        return Causal(step_plan(passport, steps, first, second), layout, passport.context)
    if behind_prefix and not passport.is_causal:
        raise ValueError(
            f"a clip begins with a picture or a clip only for a causal student, which keeps it as clean context; "
            f"'{passport.name}' is a teacher: choose a student"
        )
    if first is not None or second is not None:
        given = f"first={first}" if second is None else f"second={second}"
        raise ValueError(f"a teacher takes as many steps for every part of a clip, got {given}: drop it")
    steps = TEACHER_STEPS if steps is None else steps
    require_whole("steps", steps, 1)
    guidance = passport.guidance if guidance is None else guidance
    if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 0 <= guidance < math.inf:
        raise ValueError(f"guidance must be a number of 0 or more, got {guidance!r}")
    each = ManySteps(steps, passport.shift, float(guidance))
    return CausalManySteps(each, layout, passport.context) if passport.is_causal else each


def rolling_context(passport: Passport, *, window: int | None = None, sink: int | None = None) -> Context:
    """What a student's chunk sees of a clip without end: what it was trained to, or as much as a trained clip holds.

    Then the first chunk stays, and positions count inside the window, so that none is larger than in training.
    `window` and `sink`, in latent frames, take the place of either. Raises ValueError where a chunk finds no room.
    """
    context = passport.context
    if context.window is None:
        first = passport.layout.first or passport.layout.chunk
        context = Context(first, max(passport.latent_frames, first + passport.layout.chunk), "relative")
    context = replace(
        context,
        window=context.window if window is None else window,
        sink=context.sink if sink is None else sink,
    )
    context.require_room(passport.layout.chunk, passport.layout.first)
    return context


def behind_window(shot: Shot, passport: Passport, window: int | None, sink: int | None) -> Shot:
    """A student's shot whose chunks see a window of what is before them, as `rolling_context` has it.

    Raises ValueError for a teacher, which makes its clips as it was trained to.
    """
    if not isinstance(shot.sampling, Causal):
        raise ValueError(
            f"a window is of a student's chunks, '{passport.name}' is a teacher: leave --window and --sink out for it"
        )
    context = rolling_context(passport, window=window, sink=sink)
    return replace(shot, sampling=replace(shot.sampling, context=context))


def count_frames(passport: Passport, vae: VideoVAE, frames: int | None, given: int = 0) -> int:
    """Latent frames of a clip of `frames` pictures that begins with `given` latent frames.

    None is the length that the model was trained for, or what fits into it behind the given frames. Raises ValueError,
    naming counts near it that fit.
    """
    layout = passport.layout if passport.is_causal else ChunkLayout(1)
    chunk = layout.chunk
    least = given + chunk if given else layout.first or chunk
    if frames is None:
        whole = passport.latent_frames
        return max(given + (whole - given) // chunk * chunk, least) if given else whole
    require_whole("frames", frames, 1)
    stride = vae.temporal_stride
    below = max((-(-(frames - 1) // stride) + 1 - least) // chunk, 0) * chunk + least
    near = [vae.pixel_frames(count) for count in (below - chunk, below, below + chunk) if count >= least]
    if frames not in near:
        fitting = sorted(near, key=lambda count: abs(count - frames))[:2]
        raise ValueError(
            f"frames must be {vae.pixel_frames(least)} plus a multiple of {chunk * stride}, to fill whole "
            f"chunks, got {frames}: the nearest are {' and '.join(map(str, sorted(fitting)))}"
        )
    return 1 + (frames - 1) // stride


def pixel_size(passport: Passport, multiple: tuple[int, int], height: int | None, width: int | None) -> tuple[int, int]:
    """Height and width in pixels, the passport's where None. Raises ValueError, naming the nearest that fit."""
    sides = (passport.height if height is None else height, passport.width if width is None else width)
    for name, side, step in zip(("height", "width"), sides, multiple, strict=True):
        require_whole(name, side, 1)
        if side % step:
            near = [count for count in (side // step * step, -(-side // step) * step) if count]
            raise ValueError(
                f"{name} must be a multiple of {step} pixels, a token's side, got {side}: "
                f"the nearest {'are' if len(near) > 1 else 'is'} {' and '.join(map(str, near))}"
            )
    return sides


def begin_with(
    passport: Passport,
    vae: VideoVAE,
    image: PictureSource | None,
    video: str | Path | Frames | None,
    size: tuple[int, int],
) -> Latents | None:
    """Clean latents `1 t c h w`, in fp32, of what a clip begins with, scaled to cover `size`, cropped about the middle.

    None where nothing is given. An image is one latent frame. Of a video it is as much of the end as fills a student's
    chunk, the smallest context that it has seen, or less where the video is shorter; the autoencoder starts anew there
    (as CausVid's overlap does). Raises ValueError for both at once, for files that cannot be read, and for beginnings
    that the student was not trained to go on from.
    """
    if image is not None and video is not None:
        raise ValueError("a clip begins with an image or with a video, got both: drop one")
    _require_trained(passport, image is not None, video is not None)
    if image is not None:
        frames = fit_picture(read_picture(image), *size)[None]
    elif video is None:
        return None
    else:
        most = vae.pixel_frames(passport.layout.chunk)
        end = check_frames(video)[-most:] if isinstance(video, np.ndarray) else read_end(video, most, passport.fps)
        _require_chunk(passport, vae, len(end))
        count = vae.pixel_frames(1 + (len(end) - 1) // vae.temporal_stride)
        frames = np.stack([fit_picture(picture, *size) for picture in end[-count:]])
    pixels = torch.from_numpy(frames).movedim(-1, 1)[None]
    return vae.encode(from_uint8(pixels.to(next(vae.parameters()).device)))


@torch.inference_mode()
def behind_pictures(shot: Shot, passport: Passport, vae: VideoVAE, pictures: Iterable[PictureSource]) -> Shot:
    """The shot of a batch whose clips begin with a picture each; `shot` begins with one too. Raises ValueError."""
    rows, cols = (side * vae.spatial_stride for side in shot.shape[1:])
    beginnings = (begin_with(passport, vae, picture, None, (rows, cols)) for picture in pictures)
    return replace(shot, prefix=torch.cat([each for each in beginnings if each is not None]))


def _require_trained(passport: Passport, image: bool, video: bool) -> None:
    """Raise ValueError unless the model was trained to begin its clips so."""
    if passport.begins_with == "text" and image:
        raise ValueError(
            f"an image needs a student that was trained to go on from one, such as the bundled {FROM_IMAGE}; "
            f"'{passport.name}' was trained from text alone: leave the image out, or choose another student"
        )
    if passport.begins_with == "image" and not (image or video):
        raise ValueError(
            f"an image is required, for '{passport.name}' was trained to go on from one, got none: name it (--image)"
        )


def _require_chunk(passport: Passport, vae: VideoVAE, frames: int) -> None:
    """Raise ValueError for a past shorter than any that the student has seen, where text was its only beginning."""
    least = vae.pixel_frames(passport.layout.first or passport.layout.chunk)
    if passport.begins_with == "text" and frames < least:
        raise ValueError(
            f"a clip for '{passport.name}' to go on from must fill a chunk, {least} pictures at {passport.fps:g} a "
            f"second, got {frames}: give a longer one"
        )
