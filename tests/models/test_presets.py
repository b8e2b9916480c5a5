"""Presets are the sizes they claim to be."""

from __future__ import annotations

import pytest
import torch

from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.presets import PRESETS


@pytest.mark.parametrize(
    ("name", "millions"),
    [("tiny", (0, 0.1)), ("shapes", (1, 12)), ("wan_1_3b", (1418, 1420)), ("wan_14b", (14287, 14289))],
)
def test_parameter_counts(name, millions):
    with torch.device("meta"):
        net = VideoDiT(PRESETS[name])
    low, high = millions
    assert low <= sum(p.numel() for p in net.parameters()) / 1e6 <= high


@pytest.mark.parametrize("wrong", [{"num_heads": 3}, {"num_heads": 32}, {"patch": (2, 2, 2)}])
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"DiTConfig\."):
        DiTConfig(**({"dim": 32, "ffn_dim": 64, "num_heads": 2, "num_layers": 1, "text_dim": 8} | wrong))
