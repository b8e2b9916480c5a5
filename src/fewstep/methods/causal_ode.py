"""Causal ODE initialisation: a student learns the ODE of a causal teacher, chunk by chunk behind a clean past.

Stage 2 of Causal Forcing. Given the past, a causal teacher's ODE maps a chunk's noise to one clean chunk, which a
causal student can learn; a bidirectional teacher's map also depends on noise that the student never sees, so that
regression ends in a mean (`ode_init.py`). Page: docs/methods/causal_ode.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fewstep.diffusion.flow import x0_from_v
from fewstep.diffusion.noise import DiscreteNoise
from fewstep.diffusion.ode import states_at
from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import StepPlan, shifted_levels
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals
from fewstep.methods.inputs import FirstFrame, StudentNetworks, Teaching, require_geometry, required, trajectory_of
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.regression import ode_regression_loss


@dataclass(frozen=True, kw_only=True)
class CausalODEConfig:
    """Hyper-parameters of Causal Forcing's second stage, by ODE regression."""

    taught_by: ClassVar[Teaching] = "causal"
    """A teacher that makes clips chunk by chunk, in this layout and context."""
    levels: tuple[float, ...] = shifted_levels()
    """Noise levels of the student's steps; the trajectories hold the teacher's state at each, then the clean end."""
    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=3))
    """Frames denoised together; the teacher's."""
    context: Context = field(default_factory=Context)
    """What a chunk sees of earlier ones; the teacher's."""
    first_frame: FirstFrame = "generated"
    """Leave the first frame out of the loss where the student will be given an image (AAD-1 stage I)."""
    latent_shape: tuple[int, int, int, int] = (21, 16, 60, 104)
    """Frames, channels, rows and columns of a clip; trajectories of another shape are refused."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-6, betas=(0.9, 0.999)))
    """AdamW of the student (Causal Forcing: 2e-6, betas (.9, .999), 1000 updates of 64 clips or more)."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_geometry(self.layout, self.context, self.latent_shape[0], self.first_frame)
        StepPlan.uniform(self.levels)  # refuses what are no levels

    def build(self, networks: StudentNetworks, rng: Rng) -> CausalODE:
        return CausalODE(self, networks.student(), rng)


class CausalODE:
    """Each step puts every chunk at a level of its trajectory, behind the clean ends of the chunks before it."""

    generator = "generator"

    def __init__(self, cfg: CausalODEConfig, student: VideoDiT, rng: Rng):
        self.cfg, self.student, self.rng = cfg, student, rng
        levels = StepPlan.uniform(cfg.levels).rest
        self.levels = (*levels, 0.0)
        self.noise = DiscreteNoise(levels, cfg.layout)
        self.players = {self.generator: Player(student, cfg.optim)}

    def turns(self, step: int) -> Sequence[Turn]:
        return [Turn(self.generator, self.loss)]

    def loss(self, batch: Batch) -> Loss:
        """MSE of the student's x0 to the chunk's end; the past is what the teacher itself went on from."""
        cfg, text = self.cfg, required(batch.text, "text", "TrajectoryData")
        path = trajectory_of(batch, cfg.levels, cfg.latent_shape)
        index = self.noise.draw(path.shape[0], path.shape[2], self.rng)
        if cfg.first_frame == "given":
            index[:, 0] = len(cfg.levels)  # the clean end, which costs nothing
        sigma, x, end = path.new_tensor(self.levels)[index], states_at(path, index), path[:, -1]
        v = self.student.forward_forced(end, x, sigma, text, layout=cfg.layout, context=cfg.context)
        regression = ode_regression_loss(x0_from_v(x, v, sigma), end, sigma)
        return Loss(regression, {"ode": regression.detach()})
