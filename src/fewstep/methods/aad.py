"""Asymmetric adversarial distillation: a causal student against a discriminator that sees the whole clip.

Stage III of AAD-1 (§4, Eq. 7-10), behind ODE initialisation and a DMD warm-up. Page: docs/methods/aad.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from fewstep.diffusion.flow import shift_sigma
from fewstep.diffusion.noise import UniformNoise
from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import StepPlan
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals, require_numbers
from fewstep.methods.inputs import ScoreNetworks, Teaching, clip_of, make_discriminator, require_geometry, required
from fewstep.models.cache import Context
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.layout import ChunkLayout
from fewstep.objectives.adversarial import AdversarialGame, Comparison
from fewstep.rollout import Commit, rollout
from fewstep.types import Latents


@dataclass(frozen=True, kw_only=True)
class AADConfig:
    """Hyper-parameters of stage III on Wan 14B; labels such as B10 name open points of the paper, see the page."""

    taught_by: ClassVar[Teaching] = "bidirectional"
    """A teacher that makes clips as a whole."""
    levels: tuple[float, ...] = (1.0,)
    """Noise levels of the student's steps: one, or two for the 2-NFE variant, `(1.0, 0.8333)` (App. B)."""
    exits: Literal["random", "last"] = "random"
    """Train every prefix of the levels, one drawn per rollout (Self Forcing Alg. 1), or only the whole list."""
    latent_shape: tuple[int, int, int, int] = (21, 16, 60, 104)
    """Frames, channels, rows and columns of a clip, the image included (5 s of 480 x 832)."""
    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=4, first=1))
    """The image as a chunk of its own, then chunks of 4 (§4)."""
    context: Context = field(default_factory=lambda: Context(sink=1, window=9, rope="relative"))
    """Sink 1, window 9, positions inside the window (§4); 9 = the sink, the chunk before, the chunk itself (B7)."""
    commit: Commit = "sequential"
    """How rollouts without gradient commit their chunks; "packed" saves passes, not work, and is equal."""
    first_frame: Literal["given", "generated", "either"] = "given"
    """The real clip's first latent frame as the image, or the student's own, or either with equal chance, so that one
    student begins from an image or from text. Behind an image a clip is cut to whole chunks."""

    real: Literal["videos", "ahead"] = "videos"
    """What is rated above the student's sample: real clips (Eq. 8), or for n < N its own (n + 1)-step rollout (ASD)."""
    loss: Comparison = "logistic"
    """Judge every clip alone (Eq. 8-9), or a sample against a real clip of the same prompt."""
    penalty_weight: float = 20.0
    """lambda of R1 + R2 (Eq. 10): without it the game collapses, at 50 grids appear (Fig. 9). Not comparable to ASD's
    600, which is halved and meets a backbone that does not learn (B12)."""
    penalty_sigma: float = 0.05
    """Scale of the perturbation (§4); the difference is not divided by it."""
    t_law: Literal["interval", "whole"] = "interval"
    """Levels at which an n-step sample is judged: between that of its last step and the next one (App. B), or all.
    One step makes no difference."""
    shift: float = 5.0
    """Warp of these levels, uniform before it; 1 reads the paper's U[0, 1000] literally (B10)."""
    t_min: float = 0.02
    """Lowest level (Self Forcing: 20 of 1000)."""
    t_max: float = 0.98
    """Highest level (Self Forcing: 980 of 1000)."""
    share_eps: bool = True
    """Noise the two samples of a pair with one eps in the discriminator's turn."""
    share_eps_in_generator_step: bool = False
    """The same in the generator's turn, where the loss compares."""
    discriminator: DiscriminatorConfig = field(
        default_factory=lambda: DiscriminatorConfig(
            layers=(19, 29, 39), num_logits=1, num_heads=40, ffn_dim=8192, backbone="own"
        )
    )
    """A pretrained backbone of its own, bidirectional, tapped three times, and one logit for the clip (§4). As many
    logits as levels give every step count its own (ASD 4.1)."""
    batch_judgement: bool = True
    """Judge the four clips of the discriminator's turn in one pass; False takes less memory beside the block inputs."""
    backbone_rate: float = 0.5
    """Learning rate of an own backbone, as a share of the heads' (§4: 1e-6 of 2e-6)."""
    discriminator_updates: int = 1
    """Discriminator updates per generator update, before it; not stated in the paper (B13)."""
    discriminator_head_start: int = 0
    """Cycles at the start in which the discriminator learns alone (B13)."""

    generator_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=4e-7, ema=0.98))
    """AdamW of the student (§4); its average starts with the first update (B14)."""
    discriminator_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-6))
    """AdamW of the heads (§4); no average."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_geometry(self.layout, self.context, self.latent_shape[0], self.first_frame)
        if self.latent_shape[0] <= self.layout.chunk and self.first_frame == "either":
            raise ValueError(
                f"first_frame='either' needs a chunk behind the image, {self.layout.chunk + 1} latent frames or more; "
                f"got {self.latent_shape[0]}"
            )
        if self.discriminator.visibility == "causal" and self.first_frame == "either" and self.layout.first != 1:
            raise ValueError(
                "a causal discriminator sees the student's chunks, which begin with a frame of its own behind an image "
                f"and not behind none: first_frame='either' needs ChunkLayout({self.layout.chunk}, first=1)"
            )
        steps, logits = StepPlan.uniform(self.levels).steps, self.discriminator.num_logits
        if steps < 2 and self.real == "ahead":
            raise ValueError(
                f"real='ahead' compares n with n + 1 steps and needs at least 2 levels, got {self.levels}; use 'videos'"
            )
        if logits not in (1, steps):
            raise ValueError(
                f"discriminator.num_logits must be 1, for all step counts, or {steps}, one for each, got {logits}"
            )
        UniformNoise(self.shift, self.t_min, self.t_max)  # refuses what are no levels
        least = {"discriminator_updates": 1, "discriminator_head_start": 0, "backbone_rate": 0}
        require_numbers(self, at_least={"penalty_weight": 0, "penalty_sigma": 0, **least})

    def build(self, networks: ScoreNetworks, rng: Rng) -> AAD:
        return AAD(self, networks, rng)


class AAD:
    """Cycles of a discriminator and then a generator update, each on clips, prompts and noise of its own."""

    generator = "generator"

    def __init__(self, cfg: AADConfig, networks: ScoreNetworks, rng: Rng):
        self.cfg, self.rng = cfg, rng
        self.plan = StepPlan.uniform(cfg.levels)
        self.student = networks.student()
        discriminator = make_discriminator(cfg.discriminator, networks, None, cfg.layout, cfg.context)
        discriminator.heads.to(rng.device)
        self.game = AdversarialGame(
            discriminator=discriminator,
            loss=cfg.loss,
            penalty_weight=cfg.penalty_weight,
            penalty_sigma=cfg.penalty_sigma,
            share_eps=cfg.share_eps,
            share_eps_in_generator_step=cfg.share_eps_in_generator_step,
            batched=cfg.batch_judgement,
        )
        rates = {"backbone.": cfg.backbone_rate} if discriminator.learns_features else {}
        rates = {**cfg.discriminator_optim.lr_scale, **rates}
        self.players = {
            "discriminator": Player(discriminator.learning, replace(cfg.discriminator_optim, lr_scale=rates)),
            "generator": Player(self.student, cfg.generator_optim),
        }

    def turns(self, step: int) -> Sequence[Turn]:
        """The discriminator first; every update draws its own step count and its own kind of beginning."""
        turns = [
            Turn("discriminator", partial(self.discriminator_loss, **self.draw()))
            for _ in range(self.cfg.discriminator_updates)
        ]
        if step >= self.cfg.discriminator_head_start:
            turns.append(Turn("generator", partial(self.generator_loss, **self.draw())))
        return turns

    def draw(self) -> dict[str, Any]:
        """Steps of a rollout, and whether it begins with an image; the same on every rank."""
        n = self.plan.steps if self.cfg.exits == "last" else self.rng.integer(1, self.plan.steps + 1)
        either = self.cfg.first_frame == "either"
        return {"n": n, "given": bool(self.rng.integer(0, 2)) if either else self.cfg.first_frame == "given"}

    def discriminator_loss(self, batch: Batch, n: int, given: bool) -> Loss:
        """Rate real clips above n-step samples (Eq. 8), and do not jump at small changes of either (Eq. 10)."""
        text = required(batch.text, "text", "LatentData")
        with torch.no_grad():
            fake = self.sample(batch, n, given)  # Eq. 7
            real = self.real(batch, n, given)
        total, signals = self.game.discriminator_loss(real, fake, text, self.judged_at(n), self.rng, self.column(n))
        return Loss(total, {f"gap_n{n}" if name == "gap" else name: signal for name, signal in signals.items()})

    def generator_loss(self, batch: Batch, n: int, given: bool) -> Loss:
        """Pass for real (Eq. 9): gradient flows through the frozen discriminator into the last step of every chunk."""
        text = required(batch.text, "text", "LatentData")
        fake = self.sample(batch, n, given)  # Eq. 7
        with torch.no_grad():
            real = self.real(batch, n, given) if self.cfg.loss == "relativistic" else None
        loss = self.game.generator_loss(real, fake, text, self.judged_at(n), self.rng, self.column(n))
        return Loss(loss, {"adversarial": loss.detach(), f"adversarial_n{n}": loss.detach()})

    def sample(self, batch: Batch, n: int, given: bool) -> Latents:
        """G^n: an n-step rollout from fresh noise, behind the real clip's first latent frame if that is `given`."""
        cfg, text = self.cfg, required(batch.text, "text", "LatentData")
        image = clip_of(batch, cfg.latent_shape)[:, :1] if given else None
        return rollout(
            self.student,
            self.rng.normal_like(text.new_empty((len(text), *self.generated(given)), dtype=torch.float32)),
            text,
            self.plan.truncate(n),
            layout=cfg.layout,
            context=cfg.context,
            rng=self.rng.local,
            prefix=image,
            commit=cfg.commit,
        )

    def real(self, batch: Batch, n: int, given: bool) -> Latents:
        """What n-step samples are to pass for, as long as they are."""
        if self.cfg.real == "ahead" and n < self.plan.steps:
            return self.sample(batch, n + 1, given)
        return clip_of(batch, self.cfg.latent_shape)[:, : self.generated(given)[0] + given]

    def generated(self, given: bool) -> tuple[int, ...]:
        """Shape of what the student makes of a clip: behind an image, as many whole chunks as fit."""
        frames, *size = self.cfg.latent_shape
        return ((frames - 1) // self.cfg.layout.chunk * self.cfg.layout.chunk if given else frames, *size)

    def judged_at(self, n: int) -> UniformNoise:
        """The law of levels at which n-step samples are judged."""
        cfg, levels = self.cfg, (*self.cfg.levels, 0.0)
        low, high = (0.0, 1.0) if cfg.t_law == "whole" else (levels[n], levels[n - 1])
        before = (shift_sigma(low, 1 / cfg.shift), min(1.0, shift_sigma(high, 1 / cfg.shift)))
        return UniformNoise(cfg.shift, cfg.t_min, cfg.t_max, drawn_from=before)

    def column(self, n: int) -> int:
        """Which logit judges n-step samples."""
        return 0 if self.cfg.discriminator.num_logits == 1 else n - 1
