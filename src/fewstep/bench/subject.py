"""What the bench measures: networks and the clip that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fewstep.bench.flops import parameter_count
from fewstep.diffusion.steps import shifted_levels
from fewstep.hardware import total_memory
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline, compile_blocks
from fewstep.types import Latents, TextEmbeds

CLIPS: dict[str, tuple[str, tuple[int, int, int], float]] = {
    "tiny": ("tiny", (9, 64, 64), 16.0),
    "shapes": ("shapes", (9, 64, 64), 16.0),
    "wan_1_3b": ("wan", (21, 480, 832), 16.0),
    "wan_14b": ("wan", (21, 480, 832), 16.0),
}
"""DiT preset -> VAE preset, (latent frames, height, width) and frames per second of the clip it is made for."""


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

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline, prompt: str) -> Subject:
        """A student as it is used."""
        if not pipeline.is_student:
            raise ValueError(f"the bench streams, '{pipeline.passport.name}' is a teacher: choose a student")
        passport, vae = pipeline.passport, pipeline.vae

        def encode() -> TextEmbeds:
            return pipeline.text_encoder.encode([prompt]).to(pipeline.device, pipeline.dtype)

        stride = vae.spatial_stride
        shape = (passport.latent_frames, vae.channels, passport.height // stride, passport.width // stride)
        levels = tuple(passport.levels)
        parts = (encode, encode(), passport.layout, passport.context, levels, shape, passport.fps)
        return cls(passport.name, pipeline.net, vae, *parts)

    @classmethod
    def from_preset(cls, preset: str, device: torch.device, dtype: torch.dtype, *, vae: str | None = None) -> Subject:
        """Random weights at the size of a preset: speed does not depend on training.

        Raises ValueError for an unknown preset, and for one whose weights do not fit into the device's memory.
        """
        if preset not in CLIPS:
            raise ValueError(f"a preset must be one of {', '.join(CLIPS)}, got '{preset}'")
        vae_preset, (frames, height, width), fps = CLIPS[preset]
        cfg = PRESETS[preset]
        needed, there = parameter_count(cfg) * torch.float32.itemsize, total_memory(device)
        if needed > there:
            raise ValueError(
                f"preset '{preset}' is made in float32 and needs {needed / 1e9:.0f} GB, {device} has "
                f"{there / 1e9:.0f} GB: choose a smaller preset or another device"
            )
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            net = randomized(VideoDiT(cfg).to(dtype)).eval()
            decoder = VideoVAE.from_preset(vae or vae_preset).to(device, dtype).eval()
            text = torch.randn(1, cfg.text_len, cfg.text_dim, dtype=dtype)
        stride = decoder.spatial_stride
        shape = (frames, cfg.in_channels, height // stride, width // stride)
        return cls(preset, net, decoder, None, text, ChunkLayout(3), Context(), shifted_levels(), shape, fps)

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


def randomized(net: VideoDiT) -> VideoDiT:
    """Every weight matrix normal * 0.02, the head included."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.02)
    return net
