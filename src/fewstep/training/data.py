"""Where batches come from: a source is a function from position to batch, so a position is all there is to save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fewstep.methods.base import Batch
from fewstep.methods.text_pretrain import scene_targets
from fewstep.models.cache import Context
from fewstep.models.embeddings import PromptEmbeddings
from fewstep.models.layout import ChunkLayout
from fewstep.models.prompt_store import PromptStore
from fewstep.models.text import TextEncoder
from fewstep.models.vae import from_uint8
from fewstep.sampling import CausalManySteps, ManySteps
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.grammar import World, caption
from fewstep.training.materials import Materials
from fewstep.training.precompute import Bank
from fewstep.types import Latents


class Source(Protocol):
    """An endless sequence of batches."""

    def batch(self, position: int, size: int) -> Batch:
        """Batch number `position`; the same every time it is asked for."""

    def reference(self, count: int) -> Batch:
        """`count` fixed prompts, with the clean latents or frames that belong to them where there are any."""


class Prompts(Protocol):
    """Numbered prompts; trajectory i belongs to prompt i. Those of a file repeat when it is exhausted."""

    def at(self, indices: Sequence[int]) -> Batch:
        """The prompts of these numbers."""


class Shuffled:
    """An endless sequence of indices: every epoch a new permutation of `count`, decided by the seed."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed = count, seed
        self.epoch, self.order = -1, np.empty(0, dtype=np.int64)

    def take(self, position: int, size: int) -> list[int]:
        """Indices of batch number `position`."""
        return [self._at(k) for k in range(position * size, (position + 1) * size)]

    def _at(self, k: int) -> int:
        epoch, offset = divmod(k, self.count)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        return int(self.order[offset])


@dataclass(frozen=True, kw_only=True)
class PixelData:
    """Windows of ShapeWorld clips as pixels, for the autoencoder."""

    world: World = field(default_factory=World)
    frames: int = 9
    """Pixel frames of a window: 1 more than a multiple of the autoencoder's temporal stride."""
    windows: int = 2
    """Windows taken from each rendered clip."""
    seed: int = 0
    """Of the world."""

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= self.world.frames:
            raise ValueError(f"PixelData.frames must be 1..{self.world.frames}, the clip's length, got {self.frames}")

    def open(self, materials: Materials) -> Source:
        return PixelSource(self)


class PixelSource:
    def __init__(self, cfg: PixelData):
        self.cfg, self.world = cfg, ShapeWorld(cfg.seed, "train", cfg.world)

    def batch(self, position: int, size: int) -> Batch:
        picked = [self._window(k) for k in range(position * size, (position + 1) * size)]
        return Batch(frames=from_uint8(torch.stack(picked)))

    def reference(self, count: int) -> Batch:
        clips = [_pixels(ShapeWorld(self.cfg.seed, "heldout", self.cfg.world).clip(i)[0]) for i in range(count)]
        return Batch(frames=from_uint8(torch.stack(clips)))

    def _window(self, k: int) -> Tensor:
        frames, _, _ = self.world.clip(k // self.cfg.windows)
        start = np.random.default_rng((self.cfg.seed, k)).integers(len(frames) - self.cfg.frames + 1)
        return _pixels(frames[start : start + self.cfg.frames])


@dataclass(frozen=True, kw_only=True)
class CaptionData:
    """Captions of ShapeWorld scenes as tokens, with what each states, for the text encoder. Endless."""

    world: World = field(default_factory=World)
    seed: int = 0
    """Of the world."""

    def open(self, materials: Materials) -> Source:
        return CaptionSource(self, materials.networks.text_encoder())


class CaptionSource:
    def __init__(self, cfg: CaptionData, encoder: TextEncoder):
        self.encoder, self.world = encoder, ShapeWorld(cfg.seed, "train", cfg.world)

    def batch(self, position: int, size: int) -> Batch:
        scenes, texts = zip(*map(self.world.scene, range(position * size, (position + 1) * size)), strict=True)
        return Batch(captions=texts, tokens=self.encoder.tokenize(texts), targets=scene_targets(scenes))

    def reference(self, count: int) -> Batch:
        return self.batch(0, count)


@dataclass(frozen=True, kw_only=True)
class LatentData:
    """Clean latents of captioned ShapeWorld clips, encoded once; captions are paraphrased anew each time."""

    world: World = field(default_factory=World)
    count: int = 6144
    """Clips in the bank; raising it later keeps those that are there."""
    paraphrases: int = 6
    """Sentences that each clip may be described with; the canonical one is among them."""
    frames: int | None = None
    """Latent frames from the start of each clip, so that a first stage can be cheap (1: pictures); None takes all."""
    seed: int = 0
    """Of the world and of the order."""

    def open(self, materials: Materials) -> Source:
        return LatentSource(self, materials.latent_bank(self.world, self.seed, self.count, self.frames), materials.text)


class LatentSource:
    def __init__(self, cfg: LatentData, bank: Bank, text: PromptEmbeddings):
        self.cfg, self.bank, self.text = cfg, bank, text
        self.order = Shuffled(cfg.count, cfg.seed)
        self.scene = cache(ShapeWorld(cfg.seed, "train", cfg.world).scene)  # drawing 128 takes a third of their update

    def batch(self, position: int, size: int) -> Batch:
        indices = self.order.take(position, size)
        ways = np.random.default_rng((self.cfg.seed, 1, position)).integers(self.cfg.paraphrases, size=size)
        texts = tuple(caption(self.scene(i)[0], int(way)) for i, way in zip(indices, ways, strict=True))
        return _texts(self.text, texts, latents=self.bank.rows("latents", indices))

    def reference(self, count: int) -> Batch:
        texts = tuple(caption(self.scene(i)[0]) for i in range(count))
        return _texts(self.text, texts, latents=self.bank.rows("latents", range(count)))


@dataclass(frozen=True, kw_only=True)
class PromptData:
    """ShapeWorld captions without clips, endless: all that distillation by distribution matching needs."""

    world: World = field(default_factory=World)
    seed: int = 0
    """Of the world."""
    distinct: int = 4096
    """Captions before they repeat; keeps their embeddings in memory."""

    def open(self, materials: Materials) -> Source:
        return PromptSource(self, materials)


class PromptSource:
    def __init__(self, cfg: PromptData, materials: Materials):
        self.cfg, self.materials = cfg, materials
        self.order, self.world = Shuffled(cfg.distinct, cfg.seed), ShapeWorld(cfg.seed, "train", cfg.world)

    def batch(self, position: int, size: int) -> Batch:
        return self.at(self.order.take(position, size))

    def at(self, indices: Sequence[int]) -> Batch:
        return _texts(self.materials.text, tuple(self.world.scene(i)[1] for i in indices))

    def reference(self, count: int) -> Batch:
        frames = torch.stack([_pixels(self.world.clip(i)[0]) for i in range(count)])
        return replace(self.at(range(count)), latents=self.materials.encode(frames))


@dataclass(frozen=True, kw_only=True)
class PromptFileData:
    """Prompts of a text file, one a line; embedded once, so that the text encoder need not stay in memory."""

    path: str
    """The prompts file."""
    negative_prompt: str = ""
    """The unconditional branch of guidance."""
    store: str | None = None
    """A prompt store that `fewstep encode` made, which must hold all prompts; None makes one beside the run."""
    seed: int = 0
    """Of the order."""

    def open(self, materials: Materials) -> PromptFileSource:
        path = Path(self.path)
        if not path.is_file():
            raise ValueError(f"PromptFileData.path must be a text file with one prompt a line, found no file {path}")
        prompts = tuple(dict.fromkeys(filter(None, (line.strip() for line in path.read_text("utf-8").splitlines()))))
        if not prompts:
            raise ValueError(f"PromptFileData.path must hold one prompt a line, {path} is empty")
        return PromptFileSource(self, prompts, materials.prompt_store((*prompts, self.negative_prompt), self.store))


class PromptFileSource:
    def __init__(self, cfg: PromptFileData, prompts: tuple[str, ...], store: PromptStore):
        self.cfg, self.prompts, self.store, self.order = cfg, prompts, store, Shuffled(len(prompts), cfg.seed)

    def batch(self, position: int, size: int) -> Batch:
        return self.at(self.order.take(position, size))

    def at(self, indices: Sequence[int]) -> Batch:
        captions = tuple(self.prompts[i % len(self.prompts)] for i in indices)
        texts = torch.stack([self.store.padded(prompt) for prompt in captions])
        null = self.store.padded(self.cfg.negative_prompt).expand_as(texts)
        return Batch(text=texts, null_text=null, captions=captions)

    def reference(self, count: int) -> Batch:
        return self.at(range(count))


@dataclass(frozen=True, kw_only=True)
class TrajectoryData:
    """ODE trajectories of the teacher at the student's levels (CausVid 4.2; Causal Forcing)."""

    levels: tuple[float, ...]
    """Noise levels to record at; the method's."""
    latent_shape: tuple[int, int, int, int]
    """Frames, channels, rows and columns of a clip; the method's."""
    layout: ChunkLayout | None = None
    """Chunks of a causal teacher, each with an ODE of its own behind the ends of those before; None: one for all."""
    context: Context = field(default_factory=Context)
    """What a causal teacher's chunk sees of them."""
    world: World = field(default_factory=World)
    count: int = 1024
    """Trajectories before they repeat."""
    stored: bool = True
    """Record them once, into the cache; or make each anew when it is asked for, which pays where none comes twice."""
    steps: int = 48
    """Euler steps of each."""
    shift: float = 5.0
    """Warp of the sampling grid; the teacher's."""
    guidance: float = 6.0
    """Of the teacher, in the usual convention; 1 is none."""
    seed: int = 0
    """Of prompts, noise and order."""
    prompts: str | None = None
    """A text file with one prompt a line; None takes ShapeWorld's captions."""
    store: str | None = None
    """A prompt store that holds them; see PromptFileData."""
    negative_prompt: str = ""
    """The unconditional branch of guidance."""

    def open(self, materials: Materials) -> Source:
        prompts: Prompts = PromptSource(PromptData(world=self.world, seed=self.seed), materials)
        if self.prompts is not None:
            texts, negative, store = self.prompts, self.negative_prompt, self.store
            prompts = PromptFileData(path=texts, negative_prompt=negative, store=store, seed=self.seed).open(materials)
        return TrajectorySource(self, prompts, materials)


class TrajectorySource:
    def __init__(self, cfg: TrajectoryData, prompts: Prompts, materials: Materials):
        self.prompts, self.order = prompts, Shuffled(cfg.count, cfg.seed)
        unrecorded = ("count", "store", "stored", *(() if cfg.layout else ("layout", "context")))
        spec = {name: value for name, value in asdict(cfg).items() if name not in unrecorded}
        each = ManySteps(cfg.steps, cfg.shift, cfg.guidance)
        sampling = CausalManySteps(each, cfg.layout, cfg.context) if cfg.layout else each
        self.bank = materials.trajectories(spec, sampling, cfg.count, prompts.at, stored=cfg.stored)

    def batch(self, position: int, size: int) -> Batch:
        indices = self.order.take(position, size)
        return replace(self.prompts.at(indices), trajectory=self.bank.rows("trajectory", indices))

    def reference(self, count: int) -> Batch:
        indices = range(min(count, len(self.bank)))
        return replace(self.prompts.at(indices), latents=self.bank.rows("trajectory", indices)[:, -1])


def _texts(text: PromptEmbeddings, prompts: tuple[str, ...], latents: Latents | None = None) -> Batch:
    embeds = text.embed(prompts)
    return Batch(text=embeds, null_text=text.null().expand_as(embeds), captions=prompts, latents=latents)


def _pixels(frames: np.ndarray) -> Tensor:
    """`f H W 3` to `f 3 H W`."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1)
