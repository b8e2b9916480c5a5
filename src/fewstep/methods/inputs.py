"""What the video methods ask for: transformers from training, and batches that hold what their losses read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from fewstep.diffusion.ode import Trajectory
from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch
from fewstep.models.cache import Context
from fewstep.models.discriminator import Discriminator, DiscriminatorConfig
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.types import Latents, TextEmbeds

FirstFrame = Literal["generated", "given"]
"""Where a clip's first latent frame comes from: the student's first chunk, or a real clip, as its image (AAD-1)."""


Teaching = Literal["bidirectional", "causal"]
"""How the clips of a method's teacher come about: as a whole, or chunk by chunk behind clean ones. Configs of methods
that have a teacher say it as `taught_by`."""


@runtime_checkable
class StudentNetworks(Protocol):
    """The network that a stage trains."""

    def student(self) -> VideoDiT: ...


@runtime_checkable
class TaughtNetworks(StudentNetworks, Protocol):
    """A student, and the frozen network that teaches it."""

    def teacher(self) -> VideoDiT: ...


@runtime_checkable
class ScoreNetworks(TaughtNetworks, Protocol):
    """A student, and the two networks whose scores teach it."""

    def fake_score(self) -> VideoDiT: ...


def make_discriminator(
    cfg: DiscriminatorConfig,
    networks: ScoreNetworks,
    fake_score: VideoDiT | None,
    layout: ChunkLayout,
    context: Context,
) -> Discriminator:
    """A discriminator with new heads on the backbone that `cfg` names; `fake_score` is the one that it may share.

    A backbone that is not shared has the pretrained bidirectional weights of the teacher, or those that the fake score
    starts from, or where its attention is causal those that the student starts from (AAD-1 5.2).
    """
    if cfg.backbone == "shared":
        if fake_score is None:
            raise ValueError(
                "this method has no fake score that a discriminator could share, got backbone='shared'; use 'own' or "
                "'frozen', or a method with DMD: ASDConfig takes real='videos'"
            )
        backbone = fake_score
    elif cfg.visibility == "causal":
        backbone = networks.student()
    else:
        backbone = networks.teacher() if cfg.backbone == "frozen" else networks.fake_score()
    return Discriminator(cfg, backbone, layout=layout, context=context)


def require_geometry(layout: ChunkLayout, context: Context, frames: int, first_frame: str = "generated") -> None:
    """Refuse, when a config is made, chunks, windows and lengths with which no rollout can go on.

    Raises:
        ValueError: the clip is no whole number of chunks, the window cannot hold the sink and a chunk, or the image
            is not a chunk of its own.
    """
    layout.sizes(frames)
    context.require_room(layout.chunk, layout.first)
    if first_frame == "given" and (layout.first != 1 or frames < 1 + layout.chunk):
        raise ValueError(
            "first_frame='given' makes the image a chunk of its own and needs at least one chunk behind it: "
            f"ChunkLayout({layout.chunk}, first=1) and {1 + layout.chunk} latent frames or more, got {layout} and "
            f"{frames}"
        )


def clip_of(batch: Batch, latent_shape: tuple[int, int, int, int], source: str = "LatentData") -> Latents:
    """The real clips of a batch, cut to the frames of `latent_shape`.

    Raises:
        ValueError: there are none, they are too short, or they are of another size.
    """
    clip = required(batch.latents, "latents", source)
    frames, *size = latent_shape
    if clip.shape[1] < frames or list(clip.shape[2:]) != size:
        raise ValueError(
            f"real clips must have {frames} latent frames or more of c h w = {tuple(size)}, as the method's "
            f"latent_shape says, got {clip.shape[1]} of {tuple(clip.shape[2:])}; use data of that geometry"
        )
    return clip[:, :frames]


def required(value: Tensor | None, field: str, source: str) -> Tensor:
    """A field of a batch that must be there.

    Raises:
        ValueError: it is None; the message says which kind of data provides it.
    """
    if value is None:
        raise ValueError(f"this method trains on Batch.{field}, got None; give its stage data with {field}: {source}")
    return value


def trajectory_of(batch: Batch, levels: Sequence[float], latent_shape: tuple[int, int, int, int]) -> Trajectory:
    """The teacher's ODE states of a batch: one at each of a student's levels, then the clean end.

    Raises:
        ValueError: there are none, or they are of other levels or another size.
    """
    path, expected = required(batch.trajectory, "trajectory", "TrajectoryData"), (len(levels) + 1, *latent_shape)
    if tuple(path.shape[1:]) != expected:
        raise ValueError(
            f"ODE trajectories must be (states, t, c, h, w) = {expected}, a state for each of {len(levels)} levels and "
            f"the clean end, got {tuple(path.shape[1:])}; record them again with this config's levels and latent_shape"
        )
    return path


def require_chance(name: str, chance: float) -> None:
    """Raise ValueError for a chance that is none."""
    if not 0 <= chance <= 1:
        raise ValueError(f"{name} is a chance and must lie in [0, 1], got {chance}")


def drop_prompts(text: TextEmbeds, null_text: TextEmbeds | None, chance: float, rng: Rng) -> TextEmbeds:
    """The prompts, each replaced by the unconditional one with this chance, as classifier-free guidance needs."""
    if chance == 0:
        return text
    drop = rng.uniform(text.shape[0]) < chance
    return torch.where(drop[:, None, None], required(null_text, "null_text", "LatentData"), text)
