"""The causal teacher: flow matching by teacher forcing, so that a clip is made chunk by chunk behind a clean past.

Stage 1 of Causal Forcing, "AR diffusion": its many-step samples share their noise with a causal student, which those of
a bidirectional teacher do not. Page: docs/methods/causal_teacher.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fewstep.diffusion.flow import add_noise
from fewstep.diffusion.noise import UniformNoise
from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals
from fewstep.methods.inputs import StudentNetworks, clip_of, drop_prompts, require_chance, require_geometry, required
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.regression import bell_weight, flow_matching_loss


@dataclass(frozen=True, kw_only=True)
class CausalTeacherConfig:
    """Hyper-parameters of Causal Forcing's first stage."""

    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=3))
    """Frames denoised together; those of the students that it will teach."""
    context: Context = field(default_factory=Context)
    """What a chunk sees of the clean ones before it."""
    latent_shape: tuple[int, int, int, int] = (21, 16, 60, 104)
    """Frames, channels, rows and columns of a clip; longer ones are cut."""
    shift: float = 5.0
    """Warp of the training levels towards noise (Causal Forcing: 5)."""
    weighting: Literal["bell", "none"] = "bell"
    """Weigh levels by a bell about 1/2, which leaves out pure noise (Causal Forcing), or not at all."""
    text_drop: float = 0.1
    """Chance that a clip is trained with the unconditional prompt, which guidance of its samples needs."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-6))
    """AdamW (Causal Forcing: 2e-6, betas (0, .999), 2000 updates of 64 clips or more)."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_chance("CausalTeacherConfig.text_drop", self.text_drop)
        require_geometry(self.layout, self.context, self.latent_shape[0])
        UniformNoise(self.shift, 0.0, 1.0)  # refuses what are no levels

    def build(self, networks: StudentNetworks, rng: Rng) -> CausalTeacher:
        return CausalTeacher(self, networks.student(), rng)


class CausalTeacher:
    """Each step noises every chunk to a level of its own and regresses its velocity behind the clean chunks before."""

    generator = "generator"

    def __init__(self, cfg: CausalTeacherConfig, net: VideoDiT, rng: Rng):
        self.cfg, self.net, self.rng = cfg, net, rng
        self.noise = UniformNoise(cfg.shift, 0.0, 1.0, cfg.layout)
        self.players = {self.generator: Player(net, cfg.optim)}

    def turns(self, step: int) -> Sequence[Turn]:
        return [Turn(self.generator, self.loss)]

    def loss(self, batch: Batch) -> Loss:
        """Flow matching of every chunk of real clips, under teacher forcing."""
        cfg, text = self.cfg, required(batch.text, "text", "LatentData or ShardData")
        x0 = clip_of(batch, cfg.latent_shape, "LatentData or ShardData")
        sigma = self.noise.sample(x0.shape[0], x0.shape[1], self.rng)
        eps = self.rng.normal_like(x0)
        text = drop_prompts(text, batch.null_text, cfg.text_drop, self.rng)
        x = add_noise(x0, eps, sigma)
        v = self.net.forward_forced(x0, x, sigma, text, layout=cfg.layout, context=cfg.context)
        weight = bell_weight(sigma, cfg.shift) if cfg.weighting == "bell" else None
        flow = flow_matching_loss(v, x0, eps, weight)
        return Loss(flow, {"flow": flow.detach()})
