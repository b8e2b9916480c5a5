"""What data is made from: the frozen autoencoder, text encoder and teacher, each loaded when first asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewstep.methods.base import Batch
from fewstep.models.dit import DiTConfig
from fewstep.models.embeddings import PromptEmbeddings
from fewstep.models.prompt_store import PromptStore, StoreError, build_store, fingerprint_of
from fewstep.models.vae import VideoVAE, from_uint8
from fewstep.sampling import CausalManySteps, ManySteps
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.grammar import World
from fewstep.shapes.render import render
from fewstep.training.log import Display
from fewstep.training.networks import RecipeNetworks
from fewstep.training.precision import computing
from fewstep.training.precompute import Bank, Part, Unstored, build_bank, fingerprint
from fewstep.training.recipe import Chunkwise
from fewstep.types import Latents

CLIPS_AT_ONCE = 8
"""Clips encoded in one call."""
TRAJECTORIES_IN_PART = 16
"""Trajectories of one file of the bank; also those that an interruption loses."""
TOKENS_AT_ONCE = 32_768
"""Of the trajectories that the teacher makes together: all of a part at embedded size, one at Wan's."""


class Materials:
    """Shared by the sources and the monitor of a stage; banks live in `cache`, named by what they were made from."""

    def __init__(self, networks: RecipeNetworks, cache: Path, display: Display):
        self.networks, self.cache, self.display = networks, cache, display
        self.device, self.dtype = networks.device, networks.dtype

    @cached_property
    def vae(self) -> VideoVAE:
        return self.networks.frozen_autoencoder()

    @cached_property
    def text(self) -> PromptEmbeddings:
        """What prompts mean, remembered in half precision; the text encoder is loaded at the first new one."""
        return PromptEmbeddings(self.networks.frozen_text_encoder, memory=torch.float16)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Latents:
        """Latents of `b f 3 H W` uint8 frames, on the CPU in fp32."""
        pieces = []
        for piece in frames.split(CLIPS_AT_ONCE):
            with computing(self.dtype, self.device):
                pieces.append(self.vae.encode(from_uint8(piece.to(self.device))).float().cpu())
        return torch.cat(pieces)

    @torch.no_grad()
    def decode(self, latents: Latents) -> Tensor:
        """`b f 3 H W` frames in [-1, 1] of latents, on the CPU in fp32."""
        with computing(self.dtype, self.device):
            pieces = [self.vae.decode(clip.to(self.device)).float().cpu() for clip in latents.split(1)]
        return torch.cat(pieces)

    def latent_bank(self, world: World, seed: int, count: int, frames: int | None = None) -> Bank:
        """Latents, or the first `frames` of them, of the training clips 0..count-1 of a world, in half precision.

        The autoencoder is causal: a clip's first latents are those of its first pixels, and only these are drawn.
        Raises ValueError for clips shorter than the method's or of another size.
        """
        self._require_clips(world, frames)
        clips = ShapeWorld(seed, "train", world)
        pixels = None if frames is None else self.vae.pixel_frames(frames)

        def make(indices: range) -> Part:
            drawn = [torch.from_numpy(render(clips.scene(i)[0], world, pixels)).permute(0, 3, 1, 2) for i in indices]
            pieces = [
                self.encode(torch.stack(drawn[start : start + CLIPS_AT_ONCE])).half()
                for start in range(0, len(drawn), CLIPS_AT_ONCE)
            ]
            return Part({"latents": torch.cat(pieces)}, list(indices))

        spec = {"world": asdict(world), "seed": seed, "vae": fingerprint(self.vae), "dtype": str(self.dtype)}
        spec |= {} if frames is None else {"frames": frames}
        return self._bank("latents", spec, count, make, part_size=256)

    def prompt_store(self, prompts: Sequence[str], folder: str | None = None) -> PromptStore:
        """A store that holds all `prompts`: that in `folder`, or one in the cache, completed where it is not whole.

        The text encoder is loaded only to complete it, and given up afterwards. Raises StoreError for a folder that
        lacks prompts or was made by another text encoder.
        """
        known = self.networks.text_fingerprint()
        if folder is not None:
            store = PromptStore(folder)
            store.require(known)
            if missing := store.missing(prompts):
                raise StoreError(
                    f"the prompt store {folder} must hold all prompts of the run, {len(missing)} are not in it, the "
                    f"first is {missing[0]!r}: add them with `fewstep encode`, negative prompt included"
                )
            return store
        known = known or fingerprint_of(self.networks.frozen_text_encoder().model.state_dict())
        self.display.begin("preparing prompts", 0, len(prompts))
        return build_store(
            self.cache / f"prompts-{known}",
            prompts,
            lambda: self.networks.frozen_text_encoder(self.dtype),
            fingerprint=known,
            dtype=torch.bfloat16,
            on_progress=lambda done, _: self.display.advance(done),
        )

    def trajectories(
        self,
        cfg: Mapping[str, Any],
        sampling: ManySteps | CausalManySteps,
        count: int,
        prompts: Callable[[Sequence[int]], Batch],
        *,
        stored: bool = True,
    ) -> Bank | Unstored:
        """The teacher's ODE states for prompts 0..count-1 at `cfg`'s levels, in half precision; see TrajectoryData.

        Those that are not stored are made whenever they are read, by a teacher that stays in memory for it.
        """
        teacher = self.networks.teacher()

        @torch.no_grad()
        def make(indices: Sequence[int]) -> Part:
            paths: list[Tensor] = []
            captions: list[str] = []
            for few in _split(indices, trajectories_at_once(teacher.cfg, cfg["latent_shape"])):
                batch = prompts(few).to(self.device)
                noise = torch.stack([_noise(cfg["latent_shape"], cfg["seed"], i) for i in few]).to(self.device)
                with computing(self.dtype, self.device):
                    path = sampling.record(teacher, noise, batch.text, batch.null_text, cfg["levels"])
                paths.append(path.half().cpu())
                captions += batch.captions
            return Part({"trajectory": torch.cat(paths)}, captions)

        if not stored:
            return Unstored(make, count)
        spec = {**cfg, "teacher": fingerprint(teacher), "dtype": str(self.dtype)}
        return self._bank("trajectories", spec, count, make, part_size=TRAJECTORIES_IN_PART)

    def _require_clips(self, world: World, frames: int | None) -> None:
        method, side = self.networks.stage.method, world.size // self.vae.spatial_stride
        if not isinstance(method, Chunkwise):
            return
        length, *size = method.latent_shape
        there = frames or self.vae.latent_frames(world.frames)
        if there < length or size[1:] != [side, side]:
            raise ValueError(
                f"the method works on {length} latent frames of {size[1]} x {size[2]}, the clips of the world have "
                f"{there} of {side} x {side}: change LatentData.world or frames, or the method's latent_shape"
            )

    def _bank(
        self, kind: str, spec: Mapping[str, Any], count: int, make: Callable[[range], Part], *, part_size: int
    ) -> Bank:
        plain = json.loads(json.dumps(spec, default=asdict))
        return build_bank(self.cache, kind, plain, count, make, part_size=part_size, display=self.display)


def trajectories_at_once(teacher: DiTConfig, latent_shape: Sequence[int]) -> int:
    """How many trajectories of `t c h w` latents the teacher makes together."""
    frames, _, rows, cols = latent_shape
    tokens = frames * rows * cols // (teacher.patch[1] * teacher.patch[2])
    return min(TRAJECTORIES_IN_PART, max(1, TOKENS_AT_ONCE // tokens))


def _split(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _noise(shape: Sequence[int], seed: int, index: int) -> Tensor:
    """Starting noise of trajectory `index`, its own whatever the batch."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + index) * 2 + 1)
    return torch.randn(*shape, generator=generator)
