"""Shards of real video as a source of batches; see `fewstep data ingest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fewstep.ingest.shards import PROMPTS, Sample, ShardError, ShardLabel, Shards, vae_fingerprint
from fewstep.methods.base import Batch
from fewstep.models.prompt_store import PromptStore, padded
from fewstep.training.data import Shuffled, Source
from fewstep.training.materials import Materials
from fewstep.training.recipe import Chunkwise


@dataclass(frozen=True, kw_only=True)
class ShardData:
    """Latents of captioned clips from files, with the embeddings of their captions: neither is encoded again."""

    paths: tuple[str, ...]
    """Folders that `fewstep data ingest` made, all for the same networks and size."""
    negative_prompt: str = ""
    """The unconditional branch of guidance; the first folder's prompt store must hold it."""
    frames: int | None = None
    """Latent frames from the start of each clip; None takes all."""
    seed: int = 0
    """Of the order."""

    def open(self, materials: Materials) -> Source:
        """Raises ShardError for shards of other networks or another size than the run's, StoreError for no prompt."""
        shards = Shards(self.paths)
        where = ", ".join(self.paths)
        _require_networks(shards.label, materials, where)
        t, *rest = shards.label.latent_shape
        if self.frames is not None and not 1 <= self.frames <= t:
            raise ShardError(f"ShardData.frames must be 1..{t}, the clips' length in {where}, got {self.frames}")
        _require_size(shards.label, (self.frames or t, *rest), materials, where)
        return ShardSource(self, shards, PromptStore(Path(self.paths[0]) / PROMPTS).padded(self.negative_prompt))


class ShardSource:
    """Every clip once an epoch, in an order that the seed decides."""

    def __init__(self, cfg: ShardData, shards: Shards, null: Tensor):
        self.cfg, self.shards, self.null = cfg, shards, null
        self.order = Shuffled(len(shards), cfg.seed)

    def batch(self, position: int, size: int) -> Batch:
        return self._of([self.shards.read(index) for index in self.order.take(position, size)])

    def reference(self, count: int) -> Batch:
        return self._of([self.shards.read(index) for index in range(min(count, len(self.shards)))])

    def _of(self, samples: list[Sample]) -> Batch:
        text = torch.stack([padded(sample.text, self.shards.label.text_len) for sample in samples])
        latents = torch.stack([sample.latents[: self.cfg.frames] for sample in samples]).float()
        captions = tuple(sample.caption for sample in samples)
        return Batch(text=text, null_text=self.null.expand_as(text), captions=captions, latents=latents)


def _require_networks(label: ShardLabel, materials: Materials, where: str) -> None:
    """Raise ShardError unless the run's autoencoder and text encoder made the shards."""
    pairs = [("VAE", label.vae, vae_fingerprint(materials.vae))]
    if (text := materials.networks.text_fingerprint()) is not None:
        pairs.append(("text encoder", label.text_encoder, text))
    for part, made_by, runs in pairs:
        if made_by != runs:
            raise ShardError(
                f"the shards in {where} were made by {part} {made_by}, the run's is {runs}: choose components with "
                "that one, or make the shards again with `fewstep data ingest`"
            )


def _require_size(label: ShardLabel, shape: tuple[int, ...], materials: Materials, where: str) -> None:
    """Raise ShardError unless clips of this latent shape are what the recipe and its method work on."""
    clip, method = materials.networks.recipe.clip, materials.networks.stage.method
    asked = (clip.width, clip.height, clip.fps)
    if (label.width, label.height, label.fps) != asked:
        raise ShardError(
            f"the recipe's clips are {clip.width}x{clip.height} at {clip.fps:g} a second, the shards in {where} hold "
            f"{label.width}x{label.height} at {label.fps:g}: make them again, or change the recipe's clip"
        )
    if not isinstance(method, Chunkwise):
        return
    try:
        method.layout.sizes(shape[0])
    except ValueError as error:
        raise ShardError(f"the clips in {where} do not fill the student's chunks: {error}") from error
    if tuple(method.latent_shape) != shape:
        raise ShardError(
            f"the method works on latents {tuple(method.latent_shape)}, the shards in {where} give {shape}: make them "
            "again with another number of frames, or set ShardData.frames"
        )
