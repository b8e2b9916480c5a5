"""bf16 compute over fp32 weights."""

from __future__ import annotations

import torch
from torch import nn

from fewstep.training.precision import computing

CPU = torch.device("cpu")


def test_a_rollout_without_gradient_does_not_rob_the_next_forward_of_its_gradient() -> None:
    layer = nn.Linear(4, 4)
    with computing(torch.bfloat16, CPU):
        with torch.no_grad():
            layer(torch.randn(2, 4))
        out = layer(torch.randn(2, 4))
    assert out.dtype is torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype is torch.float32
