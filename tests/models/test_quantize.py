"""float8 is for hardware that multiplies it; elsewhere it is refused in one sentence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.hardware import require_float8
from fewstep.models.dit import VideoDiT
from fewstep.models.quantize import quantize_blocks


def test_a_device_without_float8_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"compute capability 8\.9 or more .* got cpu .*choose bfloat16"):
        require_float8(torch.device("cpu"))


def test_only_the_blocks_matrices_change_and_the_outputs_hardly(tiny_net: VideoDiT):
    torchao = pytest.importorskip("torchao.quantization", reason="torchao is optional")
    net = tiny_net.bfloat16().eval()
    x, sigma, text = torch.randn(1, 3, 16, 4, 4), torch.full((1, 3), 0.5), torch.randn(1, 8, 32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        expected = net(x, sigma, text)
        quantize_blocks(net, torch.device("cpu"), torchao.Float8WeightOnlyConfig())
        found = net(x, sigma, text)
    changed = {name for name, value in net.state_dict().items() if type(value) is not torch.Tensor}
    matrices = {f"blocks.{name}.weight" for name, part in net.blocks.named_modules() if isinstance(part, nn.Linear)}
    assert changed == matrices
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before.keys() - changed)
    assert 0 < (found - expected).norm() / expected.norm() < 0.1
