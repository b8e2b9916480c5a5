"""Adversarial losses on logits. Nothing here knows a network."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from fewstep.types import Scalar

Judgement = Float[Tensor, "b"]
"""One logit per clip."""


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
