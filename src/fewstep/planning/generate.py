"""What it takes to make a clip: the real loop and the real decoder, rehearsed at the clip's size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from fewstep.models.dit import DiTConfig
from fewstep.models.tiling import Tiling
from fewstep.models.vae import VideoVAE, to_uint8
from fewstep.pipeline import DECODED_AT_ONCE
from fewstep.planning.flops import cache_bytes
from fewstep.planning.plan import Phase, Plan, Switch
from fewstep.planning.rehearsal import META, Cost, at_depth, meta, rehearse, rehearsing
from fewstep.planning.sizes import Model, block_numbers, network
from fewstep.sampling import ManySteps, Sampling
from fewstep.shot import choose_sampling

TEXT_WORKING_SET = 0.03
"""What a text encoder needs for one prompt besides its weights, as a share of them; an estimate."""
TEXT_LAYERS = 24
"""Blocks of UMT5-XXL."""
SPATIAL, TEMPORAL = 8, 4
"""Pixels per latent row or column, and pixel frames per latent frame: Wan's autoencoder's."""


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a clip is made; defaults are the model's own."""

    steps: int | None = None
    first: int | None = None
    frames: int | None = None
    """Latent frames."""
    height: int | None = None
    width: int | None = None
    guidance: float | None = None
    batch: int = 1
    itemsize: int = 2
    """Bytes of a number in the networks."""
    block_itemsize: float = 2
    """Bytes of a weight in the transformer's blocks: 1 in float8."""
    offload: bool = False
    tile: int | None = None
    store: bool = False
    """Whether the prompts' embeddings are in a store, so that no text encoder is needed."""


def plan_clip(model: Model, making: Making) -> Plan:
    """Memory, work and disk of one clip, or of a batch. Raises ValueError for what the model cannot do."""
    clip = Clip.of(model, making)
    denoise, past, dtype = clip.denoising(), clip.past(), clip.dtype
    first, piece, state = decoding(model.vae, *clip.size, clip.piece, making.tile, dtype)
    blocks = block_numbers(model.transformer)
    held, rest = blocks * making.block_itemsize, (model.weights - blocks) * dtype.itemsize
    encoder, table = (numbers * dtype.itemsize for numbers in model.text_encoder)
    working, host = max(denoise.peak - past, 0.0), {}
    if making.offload:
        host = {"transformer blocks": held, "keys and values": past}
        layers = model.transformer.num_layers
        working += 2 * past / layers  # the next block's past, and both joined with the present
        held, past = 2 * held / layers, past / layers
    lasting = {
        "transformer": held + rest,
        "autoencoder": float(vae_numbers(model.vae) * dtype.itemsize),
    }
    during = {**lasting, "keys and values": past}
    decoded = making.batch * (first.flops + (clip.frames - 1) * piece.flops / clip.piece)
    phases = [
        Phase("denoise", during, {"working set": working, "decoder's past": state * making.batch}, denoise.flops),
        Phase("decode", during, {"working set": piece.peak + (making.batch - 1) * state}, decoded),
    ]
    if not making.store:
        there = 2 * (encoder - table) / TEXT_LAYERS if making.offload else encoder
        work = 2 * (encoder - table) / dtype.itemsize * model.transformer.text_len * making.batch
        used = {"working set": TEXT_WORKING_SET * encoder}
        phases.insert(0, Phase("text", {**lasting, "text encoder": there}, used, work))
        host["text encoder"] = encoder
    files = model.weights * dtype.itemsize + lasting["autoencoder"] + (0 if making.store else encoder)
    return Plan(
        name=model.name,
        unit="clip" if making.batch == 1 else f"batch of {making.batch} clips",
        units=1,
        phases=tuple(phases),
        host=host,
        disk={f"model in {str(dtype).removeprefix('torch.')}": files},
    )


@dataclass(frozen=True)
class Clip:
    """A clip of a model, in the model's own terms."""

    model: Model
    making: Making
    sampling: Sampling
    frames: int
    """Latent frames."""
    size: tuple[int, int]
    """Latent rows and columns."""

    @classmethod
    def of(cls, model: Model, making: Making) -> Clip:
        """Raises ValueError for what the model cannot do."""
        passport = model.passport
        sampling = choose_sampling(passport, making.steps, making.first, making.guidance)
        size = ((making.height or passport.height) // SPATIAL, (making.width or passport.width) // SPATIAL)
        return cls(model, making, sampling, making.frames or passport.latent_frames, size)

    @property
    def dtype(self) -> torch.dtype:
        return {2: torch.bfloat16, 4: torch.float32}[self.making.itemsize]

    @property
    def piece(self) -> int:
        """Latent frames that are decoded together."""
        return DECODED_AT_ONCE if isinstance(self.sampling, ManySteps) else self.sampling.layout.chunk

    def denoising(self) -> Cost:
        """All passes of the transformer."""
        cfg = self.model.transformer
        shape = (self.making.batch, self.frames, cfg.in_channels, *self.size)

        def at(layers: int) -> Cost:
            return _sampling(replace(cfg, num_layers=layers), self.sampling, shape, self.dtype)

        cost = at_depth(cfg.num_layers, at)
        return replace(cost, flops=cost.flops * self.sampling.steps) if isinstance(self.sampling, ManySteps) else cost

    def past(self) -> float:
        """Bytes of the keys and values that chunks see."""
        if isinstance(self.sampling, ManySteps):
            return 0.0
        cfg, seen = self.model.transformer, min(self.sampling.context.window or self.frames, self.frames)
        branches = 2 if self.sampling.needs_null else 1
        tokens = branches * self.making.batch * seen * (self.size[0] // cfg.patch[1]) * (self.size[1] // cfg.patch[2])
        return float(cache_bytes(cfg, tokens, self.dtype.itemsize))


def switches(model: Model, making: Making, memory: float) -> list[Switch]:
    """Ways to make clips in less memory, each smaller than those before, to the first that fits; none if all fits."""
    found: list[Switch] = []
    plan = plan_clip(model, making)
    ways: dict[str, dict[str, Any]] = {
        "--prompt-store STORE": {"store": True},
        "--prompt-store STORE --dtype float8": {"store": True, "block_itemsize": 1},
        "--offload": {"offload": True},
        "--offload --tile 256": {"offload": True, "tile": 256},
        "--offload --tile 256 --prompt-store STORE": {"offload": True, "tile": 256, "store": True},
    }
    for say, change in ways.items():
        if plan.fits(memory):
            break
        smaller = plan_clip(model, replace(making, **change))
        if smaller.peak < plan.peak:
            plan = smaller
            found.append(Switch(say, plan))
    return found


@cache
def _sampling(cfg: DiTConfig, sampling: Sampling, shape: tuple[int, ...], dtype: torch.dtype) -> Cost:
    """One clip made chunk by chunk, or one step of a bidirectional teacher."""
    net = network(cfg, dtype)
    text = meta(shape[0], cfg.text_len, cfg.text_dim, dtype=dtype)
    if isinstance(sampling, ManySteps):
        sampling = replace(sampling, steps=1)
    null = text if sampling.needs_null else None

    def make() -> None:
        with torch.no_grad():
            for _ in sampling.stream(net, meta(*shape), text, null, torch.Generator(), None):
                pass

    return rehearse(make)


@cache
def whole_pass(cfg: DiTConfig, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Cost:
    """One bidirectional pass over a clip of `shape` frames, channels, rows and columns, without gradient."""
    text, clip = meta(1, cfg.text_len, cfg.text_dim, dtype=dtype), meta(1, *shape)

    def at(layers: int) -> Cost:
        net = network(replace(cfg, num_layers=layers), dtype)
        with torch.no_grad():
            return rehearse(lambda: net(clip, meta(1, shape[0]), text))

    return at_depth(cfg.num_layers, at)


@cache
def decoding(
    vae: str, rows: int, cols: int, piece: int, tile: int | None, dtype: torch.dtype
) -> tuple[Cost, Cost, float]:
    """Cost of a clip's first latent frame and of a piece of `piece` later ones, and bytes that a stream keeps."""
    with META:
        decoder = VideoVAE.from_preset(vae).to(dtype).eval()
    decoder.tiling = Tiling.square(tile)
    stream = decoder.decode_stream()
    with torch.no_grad():
        first = rehearse(lambda: to_uint8(stream.push(meta(1, 1, decoder.channels, rows, cols, dtype=dtype))))
        with rehearsing() as tally:
            stream.push(meta(1, piece, decoder.channels, rows, cols, dtype=dtype))
            held = tally.alive
            flops = tally.flops
            to_uint8(stream.push(meta(1, piece, decoder.channels, rows, cols, dtype=dtype)))
    return first, Cost(flops, tally.peak), held


@cache
def vae_numbers(vae: str) -> int:
    """Weights of an autoencoder."""
    with META:
        return sum(parameter.numel() for parameter in VideoVAE.from_preset(vae).parameters())
