"""Muon for convolution kernels: torch's own takes matrices only, and an autoencoder is made of kernels.

Muon orthogonalises each momentum (K. Jordan and others, 2024): every direction of a weight learns at one rate, which
takes an autoencoder past the plateau where it has only learned a clip's mean colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, chosen to lift small singular values fast; Muon's and torch's."""


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """`rows columns` matrix with singular values moved to about 1 (between 0.7 and 1.2), in fp32."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.float()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class KernelMuon(torch.optim.Optimizer):
    """Muon on kernels `out in ...`, each flattened to `out (in ...)`; Nesterov momentum, decoupled weight decay."""

    def __init__(self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is not None:
                    self._update(kernel, group)

    def _update(self, kernel: Tensor, group: dict[str, Any]) -> None:
        state = self.state[kernel]
        average = state.setdefault("momentum_buffer", torch.zeros_like(kernel))
        average.lerp_(kernel.grad, 1 - group["momentum"])
        ahead = kernel.grad.lerp(average, group["momentum"]).reshape(kernel.shape[0], -1)
        scale = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        kernel.mul_(1 - group["lr"] * group["weight_decay"])
        kernel.add_(orthogonalise(ahead).reshape(kernel.shape), alpha=-group["lr"] * scale)
