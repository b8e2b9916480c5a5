"""Adversarial Self-Distillation: DMD, and a game that makes n-step samples look like (n + 1)-step samples.

ASD Alg. 1 with the losses of App. A; line numbers below are the algorithm's. Page: docs/methods/asd.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

import torch

from fewstep.diffusion.noise import DiscreteNoise, UniformNoise
from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import Schedule, StepPlan, shifted_levels
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals, require_numbers
from fewstep.methods.inputs import ScoreNetworks, Teaching, clip_of, make_discriminator, require_geometry, required
from fewstep.models.cache import Context
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.adversarial import AdversarialGame, Comparison
from fewstep.objectives.dmd import DistributionMatching
from fewstep.rollout import Commit, rollout
from fewstep.types import Latents, TextEmbeds


@dataclass(frozen=True, kw_only=True)
class ASDConfig:
    """Hyper-parameters of ASD on Wan 1.3B; labels such as A5 name the open points of the paper, settled on the page."""

    taught_by: ClassVar[Teaching] = "bidirectional"
    """A teacher that makes clips as a whole."""
    levels: tuple[float, ...] = shifted_levels()
    """Noise levels of the longest sampler, t_1..t_N (4.1: four steps)."""
    sampling: Schedule = "prefix"
    """What an n-step sample is: the first n levels (Alg. 2; Self Forcing's exit), or n levels spread over all (A5)."""
    latent_shape: tuple[int, int, int, int] = (21, 16, 60, 104)
    """Frames, channels, rows and columns of a rollout (5 s of 480 x 832)."""
    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=3))
    """Frames denoised together (App. A: 3)."""
    context: Context = field(default_factory=Context)
    """What a chunk sees of earlier ones; Self Forcing trains without a window."""
    commit: Commit = "sequential"
    """How rollouts without gradient commit their chunks; "packed" saves passes, not work, and is equal."""

    alpha: float = 0.01
    """Weight of the adversarial term, alpha in Eq. 5. The paper gives no value and calls any but 0 good (App. F)."""
    real: Literal["ahead", "videos"] = "ahead"
    """What the discriminator rates above an n-step sample: the own (n + 1)-step one, or a real clip (One-Forcing)."""
    loss: Comparison = "relativistic"
    """Compare the two samples of a pair (Eq. 7-8), or judge each alone (One-Forcing)."""
    penalty_weight: float = 600.0
    """lambda of R1 and R2 in Eq. 7 (App. A). At small scale it can silence the discriminator: loss stuck at ln 2."""
    penalty_sigma: float = 0.05
    """Scale of the perturbation in Eq. 6 (App. A); the difference is not divided by it."""
    t_law: Literal["shifted", "discrete"] = "shifted"
    """Levels at which samples are judged: the law of the scores (Self Forcing), or t_1..t_N as line 7 reads (A9)."""
    share_eps: bool = True
    """Noise both samples of a pair with one eps in the discriminator's turn, as lines 7 and 9 write it (A10)."""
    share_eps_in_generator_step: bool = False
    """The same in the generator's turn; Self Forcing draws two."""
    detach_ahead: bool = True
    """Hold the (n + 1)-step sample fixed in Eq. 8: it is the target (A6). False doubles the generator's memory."""
    discriminator: DiscriminatorConfig = field(
        default_factory=lambda: DiscriminatorConfig(layers=(12, 21, 29), num_logits=4, num_heads=12, ffn_dim=8192)
    )
    """Heads on the fake score: tapped blocks (App. A), and one logit per n on a shared readout (4.1). One logit in all
    serves every n, where `real` are videos."""
    fake_score_updates: int = 4
    """Fake-score updates in a cycle (App. A: generator : fake score : discriminator = 1 : 4 : 1)."""
    discriminator_updates: int = 1
    """Discriminator updates in a cycle."""

    guidance: float = 4.0
    """Guidance of the teacher. The papers count from the conditional branch: their 3.0 is 4.0 here (App. A)."""
    fake_guidance: float = 1.0
    """Guidance of the fake score; 1 is none (Self Forcing)."""
    shift: float = 5.0
    """Warp of the levels at which scores are compared (Self Forcing: 5)."""
    t_min: float = 0.02
    """Lowest level compared (Self Forcing: 20 of 1000)."""
    t_max: float = 0.98
    """Highest level compared (Self Forcing: 980 of 1000)."""
    normaliser_eps: float = 1e-6
    """Lower bound of the DMD gradient's normaliser; Self Forcing has none and replaces NaN by 0."""
    fake_score_target: Literal["flow", "eps"] = "flow"
    """Regress the velocity (Self Forcing's code) or eps (Eq. 3), which weighs level t by (1 - t)^2 (A18)."""
    batch_guidance: bool = True
    """Run both branches of guidance in one pass; False halves the memory of the score networks."""

    generator_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-6, ema=0.99, ema_start=40))
    """AdamW of the student (App. A); average as in Self Forcing, from its 40th update on."""
    fake_score_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=4e-7))
    """AdamW of the fake score (App. A)."""
    discriminator_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=4e-7))
    """AdamW of the heads (App. A read literally; slow for new parameters, raise it when the gap stays flat at 0)."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_geometry(self.layout, self.context, self.latent_shape[0])
        UniformNoise(self.shift, self.t_min, self.t_max)  # refuses what are no levels
        weights = ("alpha", "penalty_weight", "penalty_sigma", "guidance", "fake_guidance", "normaliser_eps")
        least = {"fake_score_updates": 1, "discriminator_updates": 0}
        require_numbers(self, at_least={**dict.fromkeys(weights, 0), **least})
        steps, logits = StepPlan.uniform(self.levels).steps, self.discriminator.num_logits
        if steps < 2 and self.real == "ahead":
            raise ValueError(f"ASD compares n with n + 1 steps and needs at least 2 levels, got {self.levels}; use DMD")
        judged = steps - 1 if self.real == "ahead" else steps
        if logits < judged and not (self.real == "videos" and logits == 1):
            raise ValueError(
                f"{steps} levels make {judged} pairs of step counts, each with a logit of its own, but "
                f"discriminator.num_logits is {logits}; raise it"
            )

    def build(self, networks: ScoreNetworks, rng: Rng) -> ASD:
        return ASD(self, networks, rng)


class ASD:
    """Cycles of one generator, one discriminator and four fake-score updates, each on prompts and noise of its own."""

    generator = "generator"

    def __init__(self, cfg: ASDConfig, networks: ScoreNetworks, rng: Rng):
        self.cfg, self.rng = cfg, rng
        self.plan = StepPlan.uniform(cfg.levels)
        self.steps = self.plan.steps
        self.student = networks.student()  # line 1
        self.fake_score = networks.fake_score()  # line 2
        visible = (cfg.layout, cfg.context)
        discriminator = make_discriminator(cfg.discriminator, networks, self.fake_score, *visible)  # line 3
        self.heads = discriminator.heads.to(rng.device)
        self.game = AdversarialGame(
            discriminator=discriminator,
            loss=cfg.loss,
            penalty_weight=0.5 * cfg.penalty_weight,
            penalty_sigma=cfg.penalty_sigma,
            share_eps=cfg.share_eps,
            share_eps_in_generator_step=cfg.share_eps_in_generator_step,
        )
        self.judged = range(1, self.steps if cfg.real == "ahead" else self.steps + 1)
        scores = UniformNoise(cfg.shift, cfg.t_min, cfg.t_max)
        self.judged_at = scores if cfg.t_law == "shifted" else DiscreteNoise(self.plan.rest)
        self.matching = DistributionMatching(
            teacher=networks.teacher(),
            fake_score=self.fake_score,
            noise=scores,
            guidance=cfg.guidance,
            fake_guidance=cfg.fake_guidance,
            normaliser_eps=cfg.normaliser_eps,
            fake_score_target=cfg.fake_score_target,
            batch_guidance=cfg.batch_guidance,
        )
        self.players = {
            "generator": Player(self.student, cfg.generator_optim),
            "fake_score": Player(self.fake_score, cfg.fake_score_optim),
            "discriminator": Player(discriminator.learning, cfg.discriminator_optim),
        }

    def turns(self, step: int) -> Sequence[Turn]:
        """1 : 1 : 4. The generator learns at every n = 1..N, the discriminator where there is a pair: not at n = N,
        unless videos are ahead of all."""
        cfg, draw, last = self.cfg, self.rng.integer, self.steps
        return [
            Turn("generator", partial(self.generator_loss, n=draw(1, last + 1))),  # lines 5, 10
            *[
                Turn("discriminator", partial(self.discriminator_loss, n=draw(1, self.judged.stop)))  # line 11
                for _ in range(cfg.discriminator_updates)
            ],
            *[
                Turn("fake_score", partial(self.fake_score_loss, n=draw(1, last + 1)))  # line 12
                for _ in range(cfg.fake_score_updates)
            ],
        ]

    def generator_loss(self, batch: Batch, n: int) -> Loss:
        """L_DMD + alpha L_ASD (Eq. 5) of an n-step sample; at n = N nothing is ahead and L_ASD is left out (App. A)."""
        text = required(batch.text, "text", "PromptData")
        behind = self.sample(text, n)  # line 8
        dmd = self.matching.generator_loss(behind, text, batch.null_text, self.rng)  # Eq. 2
        signals = {"dmd": dmd.detach(), f"dmd_n{n}": dmd.detach()}
        if n not in self.judged:
            return Loss(dmd, signals)
        with torch.set_grad_enabled(not self.cfg.detach_ahead):
            ahead = self.ahead(batch, n) if self.cfg.loss == "relativistic" else None  # line 6
        asd = self.game.generator_loss(  # lines 7, 9; Eq. 8
            ahead, behind, text, self.judged_at, self.rng, self.column(n)
        )
        return Loss(dmd + self.cfg.alpha * asd, {**signals, "asd": asd.detach()})

    def discriminator_loss(self, batch: Batch, n: int) -> Loss:
        """Rate (n + 1)-step above n-step samples (Eq. 7). Only the heads learn: a shared backbone has no gradient."""
        text = required(batch.text, "text", "PromptData")
        with torch.no_grad():
            ahead, behind = self.ahead(batch, n), self.sample(text, n)  # lines 6, 8
        total, signals = self.game.discriminator_loss(  # lines 7, 9; Eq. 6-7
            ahead, behind, text, self.judged_at, self.rng, self.column(n)
        )
        return Loss(total, {f"gap_n{n}" if name == "gap" else name: signal for name, signal in signals.items()})

    def fake_score_loss(self, batch: Batch, n: int) -> Loss:
        """Flow matching of the fake score on the student's current samples (Eq. 3)."""
        text = required(batch.text, "text", "PromptData")
        with torch.no_grad():
            x0 = self.sample(text, n)
        flow = self.matching.fake_score_loss(x0, text, self.rng)
        return Loss(flow, {"flow": flow.detach()})

    def sample(self, text: TextEmbeds, n: int) -> Latents:
        """G^n: an n-step rollout from fresh noise, with gradient through the last step of each chunk."""
        shape = (text.shape[0], *self.cfg.latent_shape)
        return rollout(
            self.student,
            self.rng.normal_like(text.new_empty(shape, dtype=torch.float32)),
            text,
            self.plan.shorten(n, self.cfg.sampling),
            layout=self.cfg.layout,
            context=self.cfg.context,
            rng=self.rng.local,
            commit=self.cfg.commit,
        )

    def ahead(self, batch: Batch, n: int) -> Latents:
        """What n-step samples are to pass for: G^{n+1} of the same prompts, or real clips."""
        if self.cfg.real == "videos":
            return clip_of(batch, self.cfg.latent_shape)
        return self.sample(required(batch.text, "text", "PromptData"), n + 1)

    def column(self, n: int) -> int:
        """Which logit judges n-step samples (4.1)."""
        return 0 if self.cfg.discriminator.num_logits == 1 else n - 1
