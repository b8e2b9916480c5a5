"""From a recipe's names to modules: weights, device, precision, compilation. Methods ask, this decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from fewstep.hardware import require_compiler
from fewstep.models.checkpoint_dir import resolve_model
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import load_transformer
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

    def student(self) -> VideoDiT:
        """The network that the stage trains: the stage's `init`."""
        return self._learning(self._transformer(self.stage.init, "student", torch.float32))

    def teacher(self) -> VideoDiT:
        """The frozen score of the data, held in the dtype that products run in."""
        return self._compiled(self._transformer(self.recipe.teacher, "teacher", self.dtype))

    def fake_score(self) -> VideoDiT:
        """The score of the student's samples, which starts as the recipe's `fake_score` or as a copy of the teacher."""
        return self._learning(
            self._transformer(self.recipe.fake_score or self.recipe.teacher, "teacher", torch.float32)
        )

    def autoencoder(self) -> VideoVAE:
        """The autoencoder that the stage trains."""
        folder = None if self.stage.init is None else self.folder(self.stage.init) / "vae"
        return self._placed(self._seeded("autoencoder", lambda: _vae(folder, self.recipe.preset)))

    def text_encoder(self) -> TextEncoder:
        """The text encoder that the stage trains."""
        folder = None if self.stage.init is None else self.folder(self.stage.init)
        return self._placed(self._seeded("text_encoder", lambda: _text_encoder(folder, self.recipe.preset)))

    def frozen_autoencoder(self) -> VideoVAE:
        """The recipe's autoencoder, to make latents and pictures with."""
        folder = None if self.recipe.components is None else self.folder(self.recipe.components) / "vae"
        return self._placed(self._seeded("autoencoder", lambda: _vae(folder, UNTRAINED)))

    def frozen_text_encoder(self) -> TextEncoder:
        """The recipe's text encoder, to make embeddings with."""
        folder = None if self.recipe.components is None else self.folder(self.recipe.components)
        return self._placed(self._seeded("text_encoder", lambda: _text_encoder(folder, UNTRAINED)))

    def folder(self, name: str) -> Path:
        """Folder of a model that is named by an earlier stage, a bundled name, or a path."""
        return self.earlier[name] if name in self.earlier else Path(resolve_model(name))

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

    def _transformer(self, name: str | None, purpose: str, dtype: torch.dtype) -> VideoDiT:
        if name is not None:
            return self._placed(load_transformer(transformer_folder(self.folder(name)), dtype, self.device))
        if self.recipe.preset not in PRESETS:
            raise RecipeError(f"Recipe.preset must be one of {', '.join(PRESETS)}, got {self.recipe.preset!r}")
        return self._placed(self._seeded(purpose, lambda: VideoDiT(PRESETS[self.recipe.preset])).to(dtype))

    def _placed(self, module: nn.Module) -> nn.Module:
        return module.to(self.device).eval().requires_grad_(False)

    def _learning(self, net: VideoDiT) -> VideoDiT:
        net.gradient_checkpointing = self.recipe.runtime.gradient_checkpointing
        return self._compiled(net)

    def _compiled(self, net: VideoDiT) -> VideoDiT:
        if self.recipe.runtime.compile:
            require_compiler(self.device)
            for block in net.blocks:
                block.compile()
        return net


def transformer_folder(folder: Path) -> Path:
    """Where the transformer of a model folder is: in `transformer/`, or the folder itself when it is one's own."""
    return folder / "transformer" if (folder / "transformer").is_dir() else folder


def _vae(folder: Path | None, preset: str) -> VideoVAE:
    return VideoVAE.from_preset(preset) if folder is None else VideoVAE.load(folder)


def _text_encoder(folder: Path | None, preset: str) -> TextEncoder:
    return TextEncoder.from_preset(preset) if folder is None else TextEncoder.load(folder)
