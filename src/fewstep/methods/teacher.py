"""The bidirectional teacher: flow matching on clips, with prompts dropped for guidance.

Page: docs/methods/teacher.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from fewstep.diffusion.flow import add_noise
from fewstep.diffusion.noise import UniformNoise
from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn
from fewstep.methods.inputs import StudentNetworks, drop_prompts, require_chance, required
from fewstep.objectives.regression import flow_matching_loss


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Hyper-parameters of rectified-flow pretraining (Flow Matching; Wan 4.2)."""

    shift: float = 5.0
    """Warp of the training levels towards noise, k; Wan trains and samples with the shift of its resolution."""
    t_min: float = 0.0
    """Lowest level trained."""
    t_max: float = 1.0
    """Highest level trained."""
    text_drop: float = 0.1
    """Chance that a clip is trained with the unconditional prompt, which classifier-free guidance needs."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(lr=1e-4, betas=(0.9, 0.95), clip=1.0, warmup=200, decay=True, ema=0.999)
    )
    """AdamW of the network; its average is the stage's result."""

    def __post_init__(self) -> None:
        require_chance("TeacherConfig.text_drop", self.text_drop)
        UniformNoise(self.shift, self.t_min, self.t_max)  # refuses what are no levels

    def build(self, networks: StudentNetworks, rng: Rng) -> Teacher:
        return Teacher(self, networks.student(), rng)


class Teacher:
    """Each step draws a level per clip, mixes clip and noise, and regresses the velocity eps - x0."""

    generator = "generator"

    def __init__(self, cfg: TeacherConfig, net: nn.Module, rng: Rng):
        self.cfg, self.net, self.rng = cfg, net, rng
        self.noise = UniformNoise(cfg.shift, cfg.t_min, cfg.t_max)
        self.players = {self.generator: Player(net, cfg.optim)}

    def turns(self, step: int) -> Sequence[Turn]:
        return [Turn(self.generator, self.loss)]

    def loss(self, batch: Batch) -> Loss:
        """Flow matching on `batch.latents`, all frames of a clip at one level, seen bidirectionally."""
        x0, text = required(batch.latents, "latents", "LatentData"), required(batch.text, "text", "LatentData")
        sigma = self.noise.sample(x0.shape[0], x0.shape[1], self.rng)
        eps = self.rng.normal_like(x0)
        text = drop_prompts(text, batch.null_text, self.cfg.text_drop, self.rng)
        v = self.net(add_noise(x0, eps, sigma), sigma, text)
        flow = flow_matching_loss(v, x0, eps)
        return Loss(flow, {"flow": flow.detach()})
