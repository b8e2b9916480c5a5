"""ODE initialisation: a causal student learns to jump to the end of a bidirectional teacher's ODE trajectories.

The start of CausVid, Self Forcing and ASD (CausVid 4.2-4.3; ASD 4.1), and stage I of AAD-1 by diffusion forcing, which
is the same with the first frame given. Page: docs/methods/ode_init.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from fewstep.diffusion.flow import x0_from_v
from fewstep.diffusion.noise import DiscreteNoise
from fewstep.diffusion.ode import states_at
from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import StepPlan, shifted_levels
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals
from fewstep.methods.inputs import FirstFrame, StudentNetworks, Teaching, require_geometry, required, trajectory_of
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.regression import ode_regression_loss


@dataclass(frozen=True, kw_only=True)
class ODEInitConfig:
    """Hyper-parameters of ODE regression (CausVid 4.2; Self Forcing's initialisation)."""

    taught_by: ClassVar[Teaching] = "bidirectional"
    """A teacher that makes clips as a whole."""
    levels: tuple[float, ...] = shifted_levels()
    """Noise levels of the student's steps; the trajectories hold the teacher's state at each, then the clean end."""
    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=3))
    """Frames denoised together (ASD App. A: 3)."""
    context: Context = field(default_factory=Context)
    """What a chunk sees of earlier ones."""
    include_clean: bool = True
    """Let chunks also be clean context (level 0, without loss), as CausVid's list 1000/757/522/0 does; without it the
    student never sees the clean context that a rollout gives it."""
    first_frame: FirstFrame = "generated"
    """Put the first frame at level 0 always, where the student will be given an image (AAD-1 stage I)."""
    latent_shape: tuple[int, int, int, int] = (21, 16, 60, 104)
    """Frames, channels, rows and columns of a clip; trajectories of another shape are refused."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-6, betas=(0.9, 0.999)))
    """AdamW of the student (CausVid: 2e-6, 3000 updates of 128 clips)."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_geometry(self.layout, self.context, self.latent_shape[0], self.first_frame)
        StepPlan.uniform(self.levels)  # refuses what are no levels

    def build(self, networks: StudentNetworks, rng: Rng) -> ODEInit:
        return ODEInit(self, networks.student(), rng)


class ODEInit:
    """Each step puts every chunk at a random level of its trajectory and regresses the trajectory's end."""

    generator = "generator"

    def __init__(self, cfg: ODEInitConfig, student: nn.Module, rng: Rng):
        self.cfg, self.student, self.rng = cfg, student, rng
        levels = StepPlan.uniform(cfg.levels).rest
        self.levels = (*levels, 0.0)
        self.noise = DiscreteNoise(self.levels if cfg.include_clean else levels, cfg.layout)
        self.players = {self.generator: Player(student, cfg.optim)}

    def turns(self, step: int) -> Sequence[Turn]:
        return [Turn(self.generator, self.loss)]

    def loss(self, batch: Batch) -> Loss:
        """MSE of the student's x0 to the endpoint, in one block-causal pass; context is noisy at its own levels."""
        path = trajectory_of(batch, self.cfg.levels, self.cfg.latent_shape)
        index = self.noise.draw(path.shape[0], path.shape[2], self.rng)
        if self.cfg.first_frame == "given":
            index[:, 0] = len(self.cfg.levels)  # the clean end
        sigma = path.new_tensor(self.levels)[index]
        x = states_at(path, index)
        text = required(batch.text, "text", "TrajectoryData")
        v = self.student(x, sigma, text, layout=self.cfg.layout, context=self.cfg.context)
        regression = ode_regression_loss(x0_from_v(x, v, sigma), path[:, -1], sigma)
        return Loss(regression, {"ode": regression.detach()})
