"""Real classes at toy size, shared by all tests."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.presets import PRESETS


def awake(cfg: DiTConfig, seed: int = 0) -> VideoDiT:
    """A seeded network whose head and biases are not zero, so that every path shows in its output."""
    torch.manual_seed(seed)
    net = VideoDiT(cfg)
    for parameter in net.parameters():
        if parameter.ndim == 1 or parameter is net.head.head.weight:
            nn.init.normal_(parameter, mean=parameter.detach().mean().item(), std=0.1)
    return net


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def tiny_net() -> VideoDiT:
    """A fresh `tiny` VideoDiT with 16 latent channels: dim 32, 2 blocks, text 8 x 32."""
    return awake(PRESETS["tiny"])
