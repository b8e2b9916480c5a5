"""Distribution matching distillation: the difference of two scores as a gradient on samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from fewstep.diffusion.flow import add_noise, x0_from_v
from fewstep.diffusion.guidance import VelocityField, guided_velocity
from fewstep.diffusion.noise import NoiseDistribution
from fewstep.diffusion.rng import Rng
from fewstep.objectives.regression import flow_matching_loss
from fewstep.types import Latents, Scalar, Sigma, TextEmbeds


def dmd_gradient(x0: Latents, real_x0: Latents, fake_x0: Latents, normaliser_eps: float = 1e-6) -> Latents:
    """(fake - real) / mean|x0 - real| in fp64, the mean over everything but the batch (DMD Eq. 7-8; ASD Eq. 2).

    `normaliser_eps` bounds the mean from below. Self Forcing has no bound and sets the resulting NaN to 0.
    """
    x0, real_x0, fake_x0 = x0.detach().double(), real_x0.double(), fake_x0.double()
    scale = (x0 - real_x0).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
    return (fake_x0 - real_x0) / scale.clamp(min=normaliser_eps)


def dmd_loss(x0: Latents, real_x0: Latents, fake_x0: Latents, normaliser_eps: float = 1e-6) -> Scalar:
    """A loss whose value is mean(g^2) / 2 and whose gradient in x0 is g / numel, with g from `dmd_gradient`."""
    gradient = dmd_gradient(x0, real_x0, fake_x0, normaliser_eps)
    target = x0.detach().double() - gradient
    return (0.5 * (x0.double() - target).square().mean()).float()


@dataclass(frozen=True, kw_only=True)
class DistributionMatching:
    """The two losses of DMD over one pair of score networks."""

    teacher: VelocityField
    """Score of the data; frozen."""
    fake_score: VelocityField
    """Score of the student's samples; trained by `fake_score_loss`."""
    noise: NoiseDistribution
    """Levels at which the scores are compared and the fake score is trained; one per clip."""
    guidance: float
    """Guidance of the teacher, in the usual convention."""
    fake_guidance: float = 1.0
    """Guidance of the fake score; 1 is none."""
    normaliser_eps: float = 1e-6
    fake_score_target: Literal["flow", "eps"] = "flow"
    """Error that trains the fake score: of the velocity, or of eps, which is the same times (1 - sigma)^2."""
    batch_guidance: bool = True
    """Run the two branches of guidance in one pass."""

    def generator_loss(self, x0: Latents, text: TextEmbeds, null_text: TextEmbeds | None, rng: Rng) -> Scalar:
        """`dmd_loss` at a random level; gradient reaches x0 only."""
        sigma = self.noise.sample(x0.shape[0], x0.shape[1], rng)
        with torch.no_grad():
            x = add_noise(x0, rng.normal_like(x0), sigma)
            real = self._denoise(self.teacher, x, sigma, text, null_text, self.guidance)
            fake = self._denoise(self.fake_score, x, sigma, text, null_text, self.fake_guidance)
        return dmd_loss(x0, real, fake, self.normaliser_eps)

    def fake_score_loss(self, x0: Latents, text: TextEmbeds, rng: Rng) -> Scalar:
        """Flow matching of the fake score on the student's samples; no gradient reaches x0 (ASD Eq. 3)."""
        x0 = x0.detach()
        sigma = self.noise.sample(x0.shape[0], x0.shape[1], rng)
        eps = rng.normal_like(x0)
        v = self.fake_score(add_noise(x0, eps, sigma), sigma, text)
        weight = (1 - sigma).square() if self.fake_score_target == "eps" else None
        return flow_matching_loss(v, x0, eps, weight)

    def _denoise(
        self,
        net: VelocityField,
        x: Latents,
        sigma: Sigma,
        text: TextEmbeds,
        null_text: TextEmbeds | None,
        guidance: float,
    ) -> Latents:
        v = guided_velocity(net, x, sigma, text, null_text, guidance, batched=self.batch_guidance)
        return x0_from_v(x.float(), v, sigma)
