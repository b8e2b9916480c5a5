"""Self Forcing with DMD: a causal student learns on its own rollouts to match the teacher's distribution.

The baseline of ASD, at any number of steps (Self Forcing Alg. 1; ASD 3.1, App. A). Page: docs/methods/dmd.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

import torch

from fewstep.diffusion.noise import UniformNoise
from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import StepPlan, shifted_levels
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals, require_numbers
from fewstep.methods.inputs import FirstFrame, ScoreNetworks, Teaching, clip_of, require_geometry, required
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.dmd import DistributionMatching
from fewstep.rollout import Commit, rollout
from fewstep.types import MoreLatents, TextEmbeds


@dataclass(frozen=True, kw_only=True)
class DMDConfig:
    """Hyper-parameters of Self Forcing's DMD on Wan 1.3B; the page lists what differs from their code and why."""

    taught_by: ClassVar[Teaching] = "bidirectional"
    """A teacher that makes clips as a whole."""
    levels: tuple[float, ...] = shifted_levels()
    """Noise levels of the student's steps. ASD App. A retrains students with raw lists (1000,) and (1000, 500):
    `(1.0,)` and `(1.0, 0.8333)`."""
    exits: Literal["random", "last"] = "random"
    """Train every prefix of the levels, one drawn per rollout (Self Forcing Alg. 1), or only the whole list."""
    latent_shape: tuple[int, int, int, int] = (21, 16, 60, 104)
    """Frames, channels, rows and columns of a rollout (5 s of 480 x 832)."""
    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=3))
    """Frames denoised together (ASD App. A: 3)."""
    context: Context = field(default_factory=Context)
    """What a chunk sees of earlier ones; Self Forcing trains without a window."""
    first_frame: FirstFrame = "generated"
    """The student's own, or that of a real clip, committed as the image before the first chunk (AAD-1 stage II). The
    scores see it noised like every other frame (Self Forcing); it has no gradient."""
    commit: Commit = "sequential"
    """How rollouts without gradient commit their chunks; "packed" saves passes, not work, and is equal."""
    ratio: int = 5
    """Fake-score updates per generator update (Self Forcing: 5)."""
    guidance: float = 4.0
    """Guidance of the teacher. The papers count from the conditional branch: their 3.0 is 4.0 here (ASD App. A)."""
    fake_guidance: float = 1.0
    """Guidance of the fake score; 1 is none (Self Forcing)."""
    shift: float = 5.0
    """Warp of the levels at which scores are compared (Self Forcing: 5)."""
    t_min: float = 0.02
    """Lowest level compared (Self Forcing: 20 of 1000)."""
    t_max: float = 0.98
    """Highest level compared (Self Forcing: 980 of 1000)."""
    normaliser_eps: float = 1e-6
    """Lower bound of the gradient's normaliser; Self Forcing has none and replaces NaN by 0."""
    fake_score_target: Literal["flow", "eps"] = "flow"
    """Regress the velocity (Self Forcing's code) or eps (ASD Eq. 3), which weighs level t by (1 - t)^2."""
    batch_guidance: bool = True
    """Run both branches of guidance in one pass; False halves the memory of the score networks."""
    generator_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-6, ema=0.99, ema_start=40))
    """AdamW of the student; the average starts after 40 of its updates, Self Forcing's iteration 200 at 1 : 5."""
    fake_score_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=4e-7))
    """AdamW of the fake score (Self Forcing: 4e-7)."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_geometry(self.layout, self.context, self.latent_shape[0], self.first_frame)
        StepPlan.uniform(self.levels)  # refuses what are no levels
        UniformNoise(self.shift, self.t_min, self.t_max)
        require_numbers(self, at_least={"ratio": 1, "guidance": 0, "fake_guidance": 0, "normaliser_eps": 0})

    def build(self, networks: ScoreNetworks, rng: Rng) -> DMD:
        return DMD(self, networks, rng)


class DMD:
    """One generator update, then `ratio` fake-score updates; each draws prompts, an exit step and noise of its own."""

    generator = "generator"

    def __init__(self, cfg: DMDConfig, networks: ScoreNetworks, rng: Rng):
        self.cfg, self.rng = cfg, rng
        self.plan = StepPlan.uniform(cfg.levels)
        self.student, self.fake_score = networks.student(), networks.fake_score()
        self.matching = DistributionMatching(
            teacher=networks.teacher(),
            fake_score=self.fake_score,
            noise=UniformNoise(cfg.shift, cfg.t_min, cfg.t_max),
            guidance=cfg.guidance,
            fake_guidance=cfg.fake_guidance,
            normaliser_eps=cfg.normaliser_eps,
            fake_score_target=cfg.fake_score_target,
            batch_guidance=cfg.batch_guidance,
        )
        self.players = {
            "generator": Player(self.student, cfg.generator_optim),
            "fake_score": Player(self.fake_score, cfg.fake_score_optim),
        }

    def turns(self, step: int) -> Sequence[Turn]:
        return [
            Turn("generator", partial(self.generator_loss, n=self.exit_step())),
            *[Turn("fake_score", partial(self.fake_score_loss, n=self.exit_step())) for _ in range(self.cfg.ratio)],
        ]

    def exit_step(self) -> int:
        """How many steps a rollout takes, for the whole clip; the same on every rank (Self Forcing Alg. 1, line 4)."""
        return self.plan.steps if self.cfg.exits == "last" else self.rng.integer(1, self.plan.steps + 1)

    def generator_loss(self, batch: Batch, n: int) -> Loss:
        """DMD on an n-step rollout, with gradient through the last step of each chunk (ASD Eq. 2)."""
        text = required(batch.text, "text", "PromptData")
        x0 = self.sample(text, n, self.image(batch))
        dmd = self.matching.generator_loss(x0, text, batch.null_text, self.rng)
        return Loss(dmd, {"dmd": dmd.detach(), f"dmd_n{n}": dmd.detach()})

    def fake_score_loss(self, batch: Batch, n: int) -> Loss:
        """Flow matching of the fake score on the student's current samples (ASD Eq. 3)."""
        text = required(batch.text, "text", "PromptData")
        with torch.no_grad():
            x0 = self.sample(text, n, self.image(batch))
        flow = self.matching.fake_score_loss(x0, text, self.rng)
        return Loss(flow, {"flow": flow.detach()})

    def image(self, batch: Batch) -> MoreLatents | None:
        """What rollouts begin with: a real clip's first latent frame, or nothing."""
        return None if self.cfg.first_frame == "generated" else clip_of(batch, self.cfg.latent_shape)[:, :1]

    def sample(self, text: TextEmbeds, n: int, image: MoreLatents | None = None) -> MoreLatents:
        """G^n: a rollout from fresh noise that stops every chunk after n steps; the clip's first frame is `image`."""
        frames, *size = self.cfg.latent_shape
        shape = (text.shape[0], frames - (image is not None), *size)
        return rollout(
            self.student,
            self.rng.normal_like(text.new_empty(shape, dtype=torch.float32)),
            text,
            self.plan.truncate(n),
            layout=self.cfg.layout,
            context=self.cfg.context,
            rng=self.rng.local,
            prefix=image,
            commit=self.cfg.commit,
        )
