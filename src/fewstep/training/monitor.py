"""Eyes on a run: sample clips every so often, and an alarm when they stop moving."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fewstep.diffusion.steps import StepPlan
from fewstep.methods.base import Batch
from fewstep.models.dit import VideoDiT
from fewstep.models.vae import VideoVAE, to_uint8
from fewstep.rollout import rollout
from fewstep.sampling import CausalManySteps, ManySteps, Sampling
from fewstep.sheets import contact_sheet, video_grid
from fewstep.training.materials import Materials
from fewstep.training.precision import computing
from fewstep.training.recipe import Beginning, Chunkwise, ClipConfig, Streaming
from fewstep.types import Latents, Pixels
from fewstep.video import write_image, write_video

CLIPS = 4
"""Clips sampled at a time, always for the same prompts and from the same noise."""
ODE_STEPS = 20
"""Euler steps of a teacher's samples."""
LEAST_MOTION = 0.5
"""Share of the reference's motion below which the alarm goes off; a collapsed student comes close to 0."""
NOISE_SEED = 20_240_601


def motion(latents: Latents) -> float:
    """Mean absolute change from one latent frame to the next; 0 for frozen clips and pictures."""
    if latents.shape[1] == 1:
        return 0.0
    return float((latents[:, 1:] - latents[:, :-1]).float().abs().mean())


class Monitor:
    """Samples of one stage's generator in `folder`; noise and prompts never change, so pictures can be compared."""

    def __init__(self, folder: Path, generator: torch.nn.Module, method: object, clip: ClipConfig, watch: Batch):
        self.folder, self.generator, self.method, self.clip = folder, generator, method, clip
        self.watch = watch
        self.reference = motion(watch.latents) if watch.latents is not None else None

    @torch.no_grad()
    def look(self, cycle: int, materials: Materials) -> dict[str, float]:
        """Write sample clips as an animation and a contact sheet; returns signals to log."""
        if isinstance(self.generator, VideoVAE):
            return self._reconstruct(cycle, materials)
        if not isinstance(self.generator, VideoDiT):
            return {}
        signals: dict[str, float] = {}
        for name, latents in self._samples(materials).items():
            self._write(f"cycle-{cycle:08d}-{name}", to_uint8(materials.decode(latents)))
            signals[f"monitor/motion_{name}"] = motion(latents)
        if self.reference is None:
            self.reference = next(iter(signals.values()))
        signals["monitor/motion_reference"] = self.reference
        return signals

    def alarm(self, signals: dict[str, float]) -> str | None:
        """What to warn of, if anything: sampled clips that move much less than the reference does."""
        floor = LEAST_MOTION * (self.reference or 0.0)
        slow = {name.split("_", 1)[1]: v for name, v in signals.items() if "/motion_" in name and v < floor}
        if not slow:
            return None
        found = ", ".join(f"{name} {value:.3g}" for name, value in slow.items())
        return (
            f"motion collapse: clips change by {found} per latent frame where the reference changes by "
            f"{self.reference:.3g}; go back to a checkpoint before the fall, or lower the generator's learning rate"
        )

    def _samples(self, materials: Materials) -> dict[str, Latents]:
        """Clips by the name of their plan: all levels and one for a student, the ODE for a teacher."""
        batch = self.watch.to(materials.device)
        method = self.method
        with computing(materials.dtype, materials.device):
            if not isinstance(method, Streaming):
                return {"ode": self._solved(batch)}
            clips = {}
            given = isinstance(method, Beginning) and method.first_frame == "given"
            images = batch.latents[:, :1].split(1) if given else [None] * len(batch.text)
            frames, *size = method.latent_shape
            for steps in dict.fromkeys((len(method.levels), 1)):
                noise = self._noise((frames - given, *size), materials.device)
                rng = torch.Generator(materials.device).manual_seed(NOISE_SEED + 1)
                plan = StepPlan.uniform(method.levels).truncate(steps)
                options: dict[str, Any] = {"layout": method.layout, "context": method.context, "rng": rng}
                # one after the other: at full size a single clip's past takes gigabytes
                made = [
                    rollout(self.generator, start, text, plan, **options, prefix=image).float()
                    for start, text, image in zip(noise.split(1), batch.text.split(1), images, strict=True)
                ]
                clips[f"{steps}step"] = torch.cat(made)
            return clips

    def _solved(self, batch: Batch) -> Latents:
        """A teacher's clips, down the ODE: in one piece, or chunk by chunk."""
        each, shape = ManySteps(ODE_STEPS, self.clip.shift, self.clip.guidance), tuple(batch.latents.shape[1:])
        sampling: Sampling = each
        if isinstance(self.method, Chunkwise):
            sampling, shape = CausalManySteps(each, self.method.layout, self.method.context), self.method.latent_shape
        noise = self._noise(shape, batch.latents.device)
        made = sampling.stream(self.generator, noise, batch.text, batch.null_text, None, None)
        return torch.cat(list(made), dim=1).float()

    def _reconstruct(self, cycle: int, materials: Materials) -> dict[str, float]:
        frames = self.watch.frames.to(materials.device)
        with computing(materials.dtype, materials.device):
            again = torch.cat([self.generator.decode(self.generator.encode(clip)) for clip in frames.split(1)])
        self._write(f"cycle-{cycle:08d}", to_uint8(torch.cat([frames, again.float()], dim=-1).cpu()))
        error = (again.float() - frames).square().mean() / 4
        return {"monitor/psnr": float(-10 * torch.log10(error))}

    def _noise(self, shape: Sequence[int], device: torch.device) -> Latents:
        count = len(self.watch.captions)
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(NOISE_SEED)).to(device)

    def _write(self, name: str, pixels: Pixels) -> None:
        clips = [clip.permute(0, 2, 3, 1).contiguous().numpy() for clip in pixels]
        titles = list(self.watch.captions) or [""] * len(clips)
        write_image(self.folder / f"{name}.png", contact_sheet(clips, titles, 1, enlarge=2))
        write_video(self.folder / f"{name}.gif", video_grid(clips, titles, len(clips), enlarge=2), self.clip.fps)


class MotionWatch:
    """Whether a student's samples still move as they did: it falls once they keep less than `share` of their motion.

    Measured against the most so far, or that of real clips where it is less, for moving more than those is no merit.
    """

    def __init__(self, share: float, real: float | None, most: float = 0.0):
        self.share, self.most, self.now = share, most, most
        self.real = math.inf if real is None else real

    def fell(self, signals: Mapping[str, float]) -> bool:
        """Whether these signals of a look, of which the slowest plan counts, are those of a fall."""
        self.now = min(value for name, value in signals.items() if re.fullmatch(r"monitor/motion_\d+step", name))
        self.most = max(self.most, self.now)
        return self.now < self.share * min(self.most, self.real)
