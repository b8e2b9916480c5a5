"""Causal consistency distillation: a student agrees with itself along a causal teacher's ODE, behind a clean past.

The other second stage of the Causal Forcing line (Causal Forcing++): no trajectories are stored, for one step of the
teacher tells the student where its own earlier answer must be found again. Page: docs/methods/consistency.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from fewstep.diffusion.flow import add_noise, euler_step, x0_from_v
from fewstep.diffusion.guidance import guided_velocity
from fewstep.diffusion.noise import DiscreteNoise
from fewstep.diffusion.ode import ode_grid
from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import StepPlan, shifted_levels
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals, require_numbers
from fewstep.methods.inputs import FirstFrame, TaughtNetworks, Teaching, clip_of, require_geometry, required
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.regression import ode_regression_loss
from fewstep.types import Latents, MoreLatents, Sigma, TextEmbeds


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    """Hyper-parameters of Causal Forcing's second stage, by consistency distillation."""

    taught_by: ClassVar[Teaching] = "causal"
    """A teacher that makes clips chunk by chunk, in this layout and context."""
    levels: tuple[float, ...] = shifted_levels()
    """Noise levels that the result is sampled at; training covers all levels of the grid, and so these."""
    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=3))
    """Frames denoised together; the teacher's."""
    context: Context = field(default_factory=Context)
    """What a chunk sees of earlier ones; the teacher's."""
    first_frame: FirstFrame = "generated"
    """Leave the first frame out of the loss where the student will be given an image (AAD-1 stage I)."""
    latent_shape: tuple[int, int, int, int] = (21, 16, 60, 104)
    """Frames, channels, rows and columns of a clip; longer ones are cut."""
    grid: int = 48
    """Steps of the teacher's ODE from noise to clean, N (Causal Forcing: 48)."""
    shift: float = 5.0
    """Warp of the grid (Causal Forcing: 5)."""
    guidance: float = 3.0
    """Of the teacher's step, in the usual convention (Causal Forcing: 3)."""
    batch_guidance: bool = True
    """Run both branches of guidance in one pass; False halves the memory that the teacher needs."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-6, ema=0.99))
    """AdamW of the student, and the running average that answers for it one step further on (Causal Forcing: .99,
    3000 updates or more). The average is also the result."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_geometry(self.layout, self.context, self.latent_shape[0], self.first_frame)
        StepPlan.uniform(self.levels)  # refuses what are no levels
        require_numbers(self, at_least={"guidance": 0}, above={"shift": 0})
        if self.grid < 2 or self.optim.ema is None or self.optim.ema_start:
            raise ValueError(
                "consistency distillation needs a grid of 2 steps or more and a running average from the first update "
                f"on, got grid={self.grid}, ema={self.optim.ema} and ema_start={self.optim.ema_start}: set optim.ema"
            )

    def build(self, networks: TaughtNetworks, rng: Rng) -> Consistency:
        return Consistency(self, networks, rng)


class Consistency:
    """Each step noises real chunks to neighbouring levels of the grid; what the student says at the higher one must be
    what its average says where the teacher's Euler step ends."""

    generator = "generator"

    def __init__(self, cfg: ConsistencyConfig, networks: TaughtNetworks, rng: Rng):
        self.cfg, self.rng = cfg, rng
        self.grid = ode_grid(cfg.grid, cfg.shift)
        self.noise = DiscreteNoise(self.grid[:-2], cfg.layout)  # the step to 0 is never drawn: at 0 all x0 agree
        self.student, self.average, self.teacher = networks.student(), networks.student(), networks.teacher()
        self.players = {self.generator: Player(self.student, cfg.optim, average=self.average)}

    def turns(self, step: int) -> Sequence[Turn]:
        return [Turn(self.generator, self.loss)]

    def loss(self, batch: Batch) -> Loss:
        """MSE between x0 of the student and of its average, one teacher's step apart, behind the real past."""
        cfg, text = self.cfg, required(batch.text, "text", "LatentData or ShardData")
        clean = clip_of(batch, cfg.latent_shape, "LatentData or ShardData")
        index = self.noise.draw(clean.shape[0], clean.shape[1], self.rng)
        grid = clean.new_tensor(self.grid)
        high, low = grid[index], grid[index + 1]
        if cfg.first_frame == "given":
            high[:, 0] = low[:, 0] = 0.0  # clean frames cost nothing
        x = add_noise(clean, self.rng.normal_like(clean), high)
        with torch.no_grad():
            further = euler_step(x, self._taught(clean, x, high, text, batch.null_text), high, low)
            target = self._x0(self.average, clean, further, low, text)
        regression = ode_regression_loss(self._x0(self.student, clean, x, high, text), target, high)
        return Loss(regression, {"consistency": regression.detach()})

    def _x0(self, net: VideoDiT, clean: Latents, x: Latents, sigma: Sigma, text: TextEmbeds) -> Latents:
        v = net.forward_forced(clean, x, sigma, text, layout=self.cfg.layout, context=self.cfg.context)
        return x0_from_v(x, v, sigma)

    def _taught(
        self, clean: Latents, x: Latents, sigma: Sigma, text: TextEmbeds, null_text: TextEmbeds | None
    ) -> Latents:
        """The teacher's guided velocity; each branch has the clean past under its own prompt."""
        cfg = self.cfg

        def behind(x: MoreLatents, sigma: Sigma, text: TextEmbeds) -> Latents:
            past = clean.repeat(len(x) // len(clean), 1, 1, 1, 1)
            return self.teacher.forward_forced(past, x, sigma, text, layout=cfg.layout, context=cfg.context)

        return guided_velocity(behind, x, sigma, text, null_text, cfg.guidance, batched=cfg.batch_guidance)
