"""Regression losses: flow matching on data, and x0 regression on a teacher's ODE trajectories."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from fewstep.diffusion.flow import shift_sigma
from fewstep.types import Latents, Scalar, Sigma


def flow_matching_loss(v: Latents, x0: Latents, eps: Latents, weight: Sigma | None = None) -> Scalar:
    """Mean of weight (v - (eps - x0))^2 in fp32; weight 1 unless given per clip and frame."""
    error = (v.float() - (eps.float() - x0.float())).square()
    return error.mean() if weight is None else (error * _spread(weight)).mean()


def ode_regression_loss(x0: Latents, endpoint: Latents, sigma: Sigma) -> Scalar:
    """Mean squared error of predicted x0 to the trajectory's endpoint, over the frames with noise (CausVid 4.2).

    Frames at sigma 0 are context: they are not predicted. A batch of nothing but context has loss 0.
    """
    noisy = _spread((sigma > 0).float()).expand_as(x0)
    error = (x0.float() - endpoint.float()).square()
    return (error * noisy).sum() / noisy.sum().clamp(min=1)


def bell_weight(sigma: Sigma, shift: float) -> Sigma:
    """Weights of levels for flow matching: a bell about 0.5 that is 0 at pure noise, of mean 1 over the shifted levels.

    exp(-2 (sigma - 1/2)^2) less its value at 1 (the table that Self Forcing and Causal Forcing pretrain with).
    """
    return ((-2 * (sigma - 0.5).square()).exp() - math.exp(-0.5)) / _bell_mean(shift)


@cache
def _bell_mean(shift: float) -> float:
    """Over the levels that a table of 1000 entries has."""
    levels = shift_sigma(1 - torch.arange(1000, dtype=torch.float64) / 1000, shift)
    return float(((-2 * (levels - 0.5).square()).exp() - math.exp(-0.5)).mean())


def _spread(per_frame: Sigma) -> Tensor:
    return per_frame[:, :, None, None, None]
