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

from fewstep.diffusion.ode import record_trajectory
from fewstep.methods.base import Batch
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE, from_uint8
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.grammar import World
from fewstep.training.captions import Captions, trimmed
from fewstep.training.log import Display
from fewstep.training.networks import RecipeNetworks
from fewstep.training.precision import computing
from fewstep.training.precompute import Bank, Part, build_bank, fingerprint
from fewstep.types import Latents

CLIPS_AT_ONCE = 8
"""Clips encoded in one call."""
TRAJECTORIES_AT_ONCE = 16
"""Trajectories integrated in one call; also those that an interruption loses."""


class Materials:
    """Shared by the sources and the monitor of a stage; banks live in `cache`, named by what they were made from."""

    def __init__(self, networks: RecipeNetworks, cache: Path, display: Display):
        self.networks, self.cache, self.display = networks, cache, display
        self.device, self.dtype = networks.device, networks.dtype

    @cached_property
    def vae(self) -> VideoVAE:
        return self.networks.frozen_autoencoder()

    @cached_property
    def text_encoder(self) -> TextEncoder:
        return self.networks.frozen_text_encoder()

    def captions(self, negative_prompt: str = "") -> Captions:
        """The text encoder with a memory."""
        return Captions(self.text_encoder, negative_prompt)

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

    def latent_bank(self, world: World, seed: int, count: int) -> Bank:
        """Latents of the training clips 0..count-1 of a world, in half precision."""
        clips = ShapeWorld(seed, "train", world)

        def make(indices: range) -> Part:
            frames = [torch.from_numpy(clips.clip(i)[0]).permute(0, 3, 1, 2) for i in indices]
            pieces = [
                self.encode(torch.stack(frames[start : start + CLIPS_AT_ONCE])).half()
                for start in range(0, len(frames), CLIPS_AT_ONCE)
            ]
            return Part({"latents": torch.cat(pieces)}, list(indices))

        spec = {"world": asdict(world), "seed": seed, "vae": fingerprint(self.vae), "dtype": str(self.dtype)}
        return self._bank("latents", spec, count, make, part_size=256)

    def text_bank(self, prompts: Sequence[str]) -> Bank:
        """Embeddings of prompts, without the rows that are zero in all of a part; labels are the padded lengths."""
        captions = self.captions()

        def make(indices: range) -> Part:
            texts = [prompts[i] for i in indices]
            rows = torch.cat([captions.embed([text]) if text else captions.null(1) for text in texts])
            longest = max(len(trimmed(row)) for row in rows)
            captions.known.clear()
            return Part({"text": rows[:, :longest].bfloat16()}, [rows.shape[1]] * len(texts))

        spec = {"prompts": list(prompts), "encoder": fingerprint(self.text_encoder)}
        return self._bank("text", spec, len(prompts), make, part_size=64)

    def trajectory_bank(self, cfg: Mapping[str, Any], count: int, prompts: Callable[[Sequence[int]], Batch]) -> Bank:
        """The teacher's ODE states for prompts 0..count-1 at `cfg`'s levels, in half precision; see TrajectoryData."""
        teacher = self.networks.teacher()

        @torch.no_grad()
        def make(indices: range) -> Part:
            batch = prompts(indices).to(self.device)
            noise = torch.stack([_noise(cfg["latent_shape"], cfg["seed"], i) for i in indices]).to(self.device)
            options = {name: cfg[name] for name in ("levels", "steps", "shift", "guidance")}
            with computing(self.dtype, self.device):
                path = record_trajectory(teacher, noise, batch.text, batch.null_text, **options)
            return Part({"trajectory": path.half()}, list(batch.captions))

        spec = {**cfg, "teacher": fingerprint(teacher), "dtype": str(self.dtype)}
        return self._bank("trajectories", spec, count, make, part_size=TRAJECTORIES_AT_ONCE)

    def _bank(
        self, kind: str, spec: Mapping[str, Any], count: int, make: Callable[[range], Part], *, part_size: int
    ) -> Bank:
        plain = json.loads(json.dumps(spec, default=asdict))
        return build_bank(self.cache, kind, plain, count, make, part_size=part_size, display=self.display)


def _noise(shape: Sequence[int], seed: int, index: int) -> Tensor:
    """Starting noise of trajectory `index`, its own whatever the batch."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + index) * 2 + 1)
    return torch.randn(*shape, generator=generator)
