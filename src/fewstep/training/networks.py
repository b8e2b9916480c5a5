"""From a recipe's names to modules: weights, device, precision, compilation. Methods ask, this decides."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from fewstep.checkpoints.folders import find_parts
from fewstep.checkpoints.hub import fetch
from fewstep.checkpoints.open import open_text_encoder, open_transformer, open_vae
from fewstep.checkpoints.texts import encoder_fingerprint
from fewstep.models.compilation import compile_blocks
from fewstep.models.dit import VideoDiT
from fewstep.models.offload import offload
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.training.recipe import Recipe, RecipeError, Stage

UNTRAINED = "tiny"
"""Preset of the autoencoder and text encoder of a recipe without components."""


class RecipeNetworks:
    """The networks of one stage: from the recipe's preset when untrained, else from model folders.

    Everything comes frozen and in eval mode; the trainer lets its players learn, one at a time.
    """

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        *,
        device: torch.device,
        dtype: torch.dtype,
        earlier: Mapping[str, Path] | None = None,
    ):
        self.recipe, self.stage, self.device, self.dtype = recipe, stage, device, dtype
        self.earlier = earlier or {}
        self._teacher: weakref.ref[VideoDiT] | None = None

    def student(self) -> VideoDiT:
        """The network that the stage trains: the stage's `init`."""
        return self._running(self._transformer(self.stage.init, "student", torch.float32))

    def teacher(self) -> VideoDiT:
        """The frozen score of the data, held in the dtype that products run in; one for all who hold it at a time."""
        held = None if self._teacher is None else self._teacher()
        if held is not None:
            return held
        offloaded = self.recipe.runtime.offload_teacher and self.device.type != "cpu"
        net = self._transformer(self.recipe.teacher, "teacher", self.dtype, torch.device("cpu") if offloaded else None)
        net = self._running(offload(net, self.device) if offloaded else net)  # a discriminator's gradient may cross it
        self._teacher = weakref.ref(net)
        return net

    def fake_score(self) -> VideoDiT:
        """The score of the student's samples, which starts as the recipe's `fake_score` or as a copy of the teacher."""
        return self._running(self._transformer(self.recipe.fake_score or self.recipe.teacher, "teacher", torch.float32))

    def autoencoder(self) -> VideoVAE:
        """The autoencoder that the stage trains."""
        folder = None if self.stage.init is None else self.folder(self.stage.init)
        return self._placed(self._seeded("autoencoder", lambda: _vae(folder, self.recipe.preset)))

    def text_encoder(self) -> TextEncoder:
        """The text encoder that the stage trains."""
        folder = None if self.stage.init is None else self.folder(self.stage.init)
        return self._placed(self._seeded("text_encoder", lambda: _text_encoder(folder, self.recipe.preset)))

    def frozen_autoencoder(self) -> VideoVAE:
        """The recipe's autoencoder, to make latents and pictures with."""
        folder = None if self.recipe.components is None else self.folder(self.recipe.components)
        return self._placed(self._seeded("autoencoder", lambda: _vae(folder, UNTRAINED)))

    def frozen_text_encoder(self, dtype: torch.dtype = torch.float32) -> TextEncoder:
        """The recipe's text encoder, to make embeddings with."""
        folder = None if self.recipe.components is None else self.folder(self.recipe.components)
        return self._placed(self._seeded("text_encoder", lambda: _text_encoder(folder, UNTRAINED, dtype)))

    def text_fingerprint(self) -> str | None:
        """Of the recipe's text encoder, from its files alone; None where there are none to tell it from."""
        if self.recipe.components is None:
            return None
        return encoder_fingerprint(find_parts(self.folder(self.recipe.components))["text_encoder"])

    def folder(self, name: str) -> Path:
        """Folder of a model that is named by an earlier stage, a bundled name, a path, or a hub id."""
        return self.earlier[name] if name in self.earlier else fetch(name)

    @contextmanager
    def seeded(self, purpose: str) -> Iterator[None]:
        """The global random stream, which initialises modules, set by the recipe's seed; put back afterwards."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed(purpose))
            yield

    def seed(self, purpose: str) -> int:
        """A number of its own for each purpose and recipe seed."""
        text = f"{self.recipe.seed} {purpose}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:5], "big")

    def _seeded(self, purpose: str, make: Callable[[], nn.Module]) -> nn.Module:
        with self.seeded(purpose):
            return make()

    def _transformer(
        self, name: str | None, purpose: str, dtype: torch.dtype, device: torch.device | None = None
    ) -> VideoDiT:
        """On `device`, or the run's."""
        device = device or self.device
        if name is not None:
            return self._placed(open_transformer(self.folder(name), dtype=dtype, device=device), device)
        if self.recipe.preset not in PRESETS:
            raise RecipeError(f"Recipe.preset must be one of {', '.join(PRESETS)}, got {self.recipe.preset!r}")
        net = self._seeded(purpose, lambda: VideoDiT(PRESETS[self.recipe.preset]))
        return self._placed(net.to(dtype), device)

    def _placed(self, module: nn.Module, device: torch.device | None = None) -> nn.Module:
        return module.to(device or self.device).eval().requires_grad_(False)

    def _running(self, net: VideoDiT) -> VideoDiT:
        net.gradient_checkpointing = self.recipe.runtime.gradient_checkpointing
        return self._compiled(net)

    def _compiled(self, net: VideoDiT) -> VideoDiT:
        if self.recipe.runtime.compile:
            compile_blocks(net)
        return net


def _vae(folder: Path | None, preset: str) -> VideoVAE:
    return VideoVAE.from_preset(preset) if folder is None else open_vae(folder)


def _text_encoder(folder: Path | None, preset: str, dtype: torch.dtype = torch.float32) -> TextEncoder:
    return TextEncoder.from_preset(preset).to(dtype) if folder is None else open_text_encoder(folder, dtype=dtype)
