"""What the bench measures: networks and the clip that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fewstep.diffusion.steps import shifted_levels
from fewstep.hardware import total_memory
from fewstep.models.cache import Context
from fewstep.models.compilation import compile_blocks
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline
from fewstep.planning.generate import vae_numbers
from fewstep.planning.rehearsal import META
from fewstep.planning.sizes import CLIPS, transformer_numbers
from fewstep.shot import count_frames
from fewstep.types import Latents, TextEmbeds


@dataclass(frozen=True)
class Subject:
    """What is measured: networks and the clip they make."""

    name: str
    net: VideoDiT
    vae: VideoVAE
    encode: Callable[[], TextEmbeds] | None
    """From a prompt to embeddings; None where there is no text encoder and random embeddings stand in."""
    text: TextEmbeds
    layout: ChunkLayout
    context: Context
    levels: tuple[float, ...]
    latents: tuple[int, int, int, int]
    """t c h w."""
    fps: float
    given: int = 0
    """Latent frames of the picture that a clip begins with, where the student needs one."""

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline, prompt: str) -> Subject:
        """A student as it is used, behind a picture where it was trained to go on from one."""
        if not pipeline.is_student:
            raise ValueError(f"the bench streams, '{pipeline.passport.name}' is a teacher: choose a student")
        passport, vae = pipeline.passport, pipeline.vae

        def encode() -> TextEmbeds:
            return pipeline.text_encoder.encode([prompt]).to(pipeline.device, pipeline.dtype)

        given, stride = int(passport.begins_with == "image"), vae.spatial_stride
        layout = ChunkLayout(passport.layout.chunk) if given else passport.layout
        frames = count_frames(passport, vae, None, given)
        shape = (frames, vae.channels, passport.height // stride, passport.width // stride)
        levels = tuple(passport.levels)
        parts = (encode, encode(), layout, passport.context, levels, shape, passport.fps, given)
        return cls(passport.name, pipeline.net, vae, *parts)

    @classmethod
    def from_preset(
        cls,
        preset: str,
        device: torch.device,
        dtype: torch.dtype,
        *,
        vae: str | None = None,
        size: tuple[int, int] | None = None,
        chunks: int | None = None,
    ) -> Subject:
        """Random weights at the size of a preset: speed does not depend on training.

        Clips have the preset's own height, width and length, or `size` and `chunks`. Weights are made where and in the
        format in which they compute. Raises ValueError for an unknown preset, a size that does not divide into patches,
        and for weights that do not fit into the device's memory.
        """
        if preset not in CLIPS:
            raise ValueError(f"a preset must be one of {', '.join(CLIPS)}, got '{preset}'")
        vae_preset, (frames, height, width), fps = CLIPS[preset]
        cfg, layout = PRESETS[preset], ChunkLayout(3)
        height, width = size or (height, width)
        frames = frames if chunks is None else chunks * layout.chunk
        with META:
            net, decoder = VideoDiT(cfg).to(dtype), VideoVAE.from_preset(vae or vae_preset).to(dtype)
        stride = decoder.spatial_stride
        if height % (stride * cfg.patch[1]) or width % (stride * cfg.patch[2]):
            raise ValueError(f"a size must be multiples of {stride * cfg.patch[1]}, got {width}x{height}")
        needed, there = (
            (transformer_numbers(cfg) + vae_numbers(vae or vae_preset)) * dtype.itemsize,
            total_memory(device),
        )
        if needed > there:
            raise ValueError(
                f"preset '{preset}' needs {needed / 1e9:.0f} GB for its weights, {device} has {there / 1e9:.0f} GB: "
                "choose a smaller preset, another number format or another device"
            )
        source = torch.Generator(device).manual_seed(0)
        for part in (net, decoder):
            randomized(part.to_empty(device=device), source).eval()
        text = torch.randn(1, cfg.text_len, cfg.text_dim, generator=source, device=device, dtype=dtype)
        shape = (frames, cfg.in_channels, height // stride, width // stride)
        return cls(preset, net, decoder, None, text, layout, Context(), shifted_levels(), shape, fps)

    @property
    def device(self) -> torch.device:
        return self.text.device

    @property
    def tokens_per_frame(self) -> int:
        """Transformer tokens of one latent frame."""
        _, _, h, w = self.latents
        _, ph, pw = self.net.cfg.patch
        return (h // ph) * (w // pw)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Latent frames of each chunk that is generated."""
        return self.layout.sizes(self.latents[0] - self.given)

    @property
    def pictures(self) -> int:
        """That are generated for a clip."""
        return self.vae.pixel_frames(self.latents[0]) - (self.vae.pixel_frames(self.given) if self.given else 0)

    @property
    def prefix(self) -> Latents | None:
        """What stands for the picture."""
        return self.noise(self.given) if self.given else None

    @property
    def dtype(self) -> str:
        """Number format of the transformer, as torch calls it."""
        return str(next(self.net.parameters()).dtype).removeprefix("torch.")

    def compile(self) -> None:
        """Compile as `Pipeline.compile` does."""
        compile_blocks(self.net)

    def noise(self, frames: int) -> Latents:
        """Random latents; zeros would run faster than real ones."""
        source = torch.Generator(device=self.device).manual_seed(0)
        shape = (1, frames, *self.latents[1:])
        return torch.randn(shape, generator=source, device=self.device, dtype=self.text.dtype)


def randomized(module: nn.Module, source: torch.Generator) -> nn.Module:
    """Every weight normal * 0.02, the head included; scales of norms 1, biases 0."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.numel() == max(parameter.shape):  # a vector, whatever its axes
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                parameter.normal_(0.0, 0.02, generator=source)
    return module
