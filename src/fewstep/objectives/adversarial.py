"""Adversarial losses on logits, and the game of two players that is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from fewstep.diffusion.flow import add_noise
from fewstep.diffusion.noise import NoiseDistribution
from fewstep.diffusion.rng import Rng
from fewstep.models.discriminator import Discriminator
from fewstep.types import Latents, Logits, Scalar, Sigma, TextEmbeds

Judgement = Float[Tensor, "b"]
"""One logit per clip, or per frame of all clips; losses are means, so they average over a clip's frames too."""

Comparison = Literal["logistic", "relativistic"]
"""Every sample is judged alone (AAD-1), or against another of the same prompt (ASD)."""


def relativistic(ahead: Judgement, behind: Judgement) -> Scalar:
    """-log sigmoid(ahead - behind), the loss of the player who wants `ahead` to be rated above `behind`.

    The discriminator puts the better sample ahead, the generator its own (ASD Eq. 7-8). Equal logits cost ln 2.
    """
    return softplus(-(ahead.float() - behind.float())).mean()


def logistic_discriminator(real: Judgement, fake: Judgement) -> Scalar:
    """-log sigmoid(real) - log sigmoid(-fake): each sample is judged alone (AAD-1 Eq. 8)."""
    return softplus(-real.float()).mean() + softplus(fake.float()).mean()


def logistic_generator(fake: Judgement) -> Scalar:
    """-log sigmoid(fake), the non-saturating form (AAD-1 Eq. 9)."""
    return softplus(-fake.float()).mean()


def approximate_penalty(logits: Judgement, perturbed: Judgement) -> Scalar:
    """Mean squared change of the logit when noise is added to its input: R1 on better samples, R2 on own (ASD Eq. 6).

    A finite difference, not divided by the noise scale: the papers' weights already contain 1 / scale^2.
    """
    return (logits.float() - perturbed.float()).square().mean()


@dataclass(frozen=True, kw_only=True)
class AdversarialGame:
    """The losses of both players, over one discriminator. "Real" is what it is to rate above the student's sample."""

    discriminator: Discriminator
    loss: Comparison
    penalty_weight: float
    """Factor on R1 + R2."""
    penalty_sigma: float
    """Scale of the perturbation that they measure, added to the noisy sample (AAD-1 Eq. 10)."""
    share_eps: bool = True
    """Noise both samples of a pair with one eps in the discriminator's turn."""
    share_eps_in_generator_step: bool = False
    batched: bool = True
    """Judge the four clips of the discriminator's turn in one pass."""

    def discriminator_loss(
        self, real: Latents, fake: Latents, text: TextEmbeds, noise: NoiseDistribution, rng: Rng, column: int = 0
    ) -> tuple[Scalar, Mapping[str, Scalar]]:
        """The loss, and signals of it. Gradient reaches the heads, and the backbone where it learns from the game."""
        with torch.no_grad():
            pair, sigma = self.noised(real, fake, noise, rng, share_eps=self.share_eps)
            near = [x + self.penalty_sigma * rng.normal_like(x) for x in pair]
        clips = [*pair, *near]
        passes = [clips] if self.batched else [[clip] for clip in clips]
        logits = torch.cat([self._learning(noisy, sigma, text)[:, column] for noisy in passes])
        d_real, d_fake, d_near_real, d_near_fake = logits.chunk(4)
        if self.loss == "relativistic":
            adversarial, right = relativistic(ahead=d_real, behind=d_fake), [d_real > d_fake]
        else:
            adversarial, right = logistic_discriminator(d_real, d_fake), [d_real > 0, d_fake < 0]
        r1, r2 = approximate_penalty(d_real, d_near_real), approximate_penalty(d_fake, d_near_fake)
        signals = {"adversarial": adversarial, "r1": r1, "r2": r2, "gap": (d_real - d_fake).mean()}
        signals["accuracy"] = torch.cat(right).float().mean()
        total = adversarial + self.penalty_weight * (r1 + r2)
        return total, {name: signal.detach() for name, signal in signals.items()}

    def generator_loss(
        self, real: Latents | None, fake: Latents, text: TextEmbeds, noise: NoiseDistribution, rng: Rng, column: int = 0
    ) -> Scalar:
        """What the student pays for being told apart; `real` is looked at by the relativistic loss alone."""
        if self.loss == "logistic":
            sigma = noise.sample(fake.shape[0], fake.shape[1], rng)
            x_fake = add_noise(fake, rng.normal_like(fake), sigma)
            return logistic_generator(self.discriminator([x_fake], sigma, text)[:, column])
        if real is None:
            raise ValueError("the relativistic loss compares with real samples, got None; use the logistic one")
        (x_real, x_fake), sigma = self.noised(real, fake, noise, rng, share_eps=self.share_eps_in_generator_step)
        d_real = self.discriminator([x_real], sigma, text)[:, column]
        d_fake = self.discriminator([x_fake], sigma, text)[:, column]
        return relativistic(ahead=d_fake, behind=d_real)

    def _learning(self, noisy: Sequence[Latents], sigma: Sigma, text: TextEmbeds) -> Logits:
        """Logits with gradient to the discriminator, so far as it learns."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.discriminator.learns_features):
            features = self.discriminator.features(noisy, sigma, text)
        return self.discriminator.heads(features, frames=sigma.shape[1])

    def noised(
        self, real: Latents, fake: Latents, noise: NoiseDistribution, rng: Rng, *, share_eps: bool
    ) -> tuple[tuple[Latents, Latents], Sigma]:
        """Both samples at one random level per clip, and the level."""
        sigma = noise.sample(fake.shape[0], fake.shape[1], rng)
        eps = rng.normal_like(fake)
        eps_real = eps if share_eps else rng.normal_like(real)
        return (add_noise(real, eps_real, sigma), add_noise(fake, eps, sigma)), sigma
