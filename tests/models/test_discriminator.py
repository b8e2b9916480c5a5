"""The heads read the features they are given, one logit per step count."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.models.discriminator import DiscriminatorConfig, DiscriminatorHeads

CONFIG = DiscriminatorConfig(layers=(0, 1), num_logits=4, num_heads=2, ffn_dim=64)


@pytest.fixture
def heads():
    torch.manual_seed(0)
    return DiscriminatorHeads(CONFIG, 32)


def test_one_logit_per_clip_and_step_count_from_a_real_backbone(heads, tiny_net):
    x, sigma, text = torch.randn(3, 3, 16, 4, 4), torch.rand(3, 3), torch.randn(3, 8, 32)
    logits = heads(tiny_net.features(x, sigma, text, layers=CONFIG.layers))
    assert logits.shape == (3, 4)
    logits[:, 2].sum().backward()
    assert all(p.grad is not None for p in heads.parameters())
    assert tiny_net.blocks[0].ffn[0].weight.grad.abs().sum() > 0


def test_the_heads_of_wan_1_3b_have_the_parameters_of_self_forcing():
    with torch.device("meta"):
        heads = DiscriminatorHeads(DiscriminatorConfig(layers=(13, 21, 29), num_heads=12, ffn_dim=8192), 1536)
    assert sum(p.numel() for p in heads.readouts[0].parameters()) / 1e6 == pytest.approx(34.6, abs=0.1)
    assert sum(p.numel() for p in heads.judge.parameters()) / 1e6 == pytest.approx(7.1, abs=0.1)


def test_readout_ignores_the_order_of_tokens_and_tells_their_content(heads):
    features = torch.randn(2, 10, 32)
    shuffled = features[:, torch.randperm(10)]
    torch.testing.assert_close(heads((features, features)), heads((shuffled, shuffled)))
    assert not torch.allclose(heads((features, features)), heads((features, features + torch.randn(2, 10, 32))))


def test_registers_act_through_their_direction_only(heads):
    features = (torch.randn(2, 10, 32),) * 2
    before = heads(features)
    with torch.no_grad():
        for readout in heads.readouts:
            readout.register.mul_(50)
    torch.testing.assert_close(heads(features), before, rtol=1e-2, atol=1e-2)


def test_logits_are_fp32_whatever_the_backbone(heads):
    assert heads((torch.randn(2, 10, 32).bfloat16(),) * 2).dtype == torch.float32
    assert heads.bfloat16()((torch.randn(2, 10, 32),) * 2).dtype == torch.float32


def test_registers_start_small_and_nothing_starts_at_zero():
    heads = DiscriminatorHeads(DiscriminatorConfig(layers=(0,), num_heads=8, ffn_dim=64), 512)
    assert heads.readouts[0].register.std().item() == pytest.approx(0.02, rel=0.2)
    assert all(layer.weight.abs().sum() > 0 for layer in heads.modules() if isinstance(layer, nn.Linear))


@pytest.mark.parametrize("layers", [(), (1, 1), (-1,)])
def test_taps_that_are_no_blocks_are_refused(layers):
    with pytest.raises(ValueError, match="distinct 0-based"):
        DiscriminatorConfig(layers=layers, num_heads=2, ffn_dim=8)


def test_width_that_does_not_split_into_heads_is_refused():
    with pytest.raises(ValueError, match="num_heads=2"):
        DiscriminatorHeads(CONFIG, 33)


def test_as_many_features_as_taps_are_required(heads):
    with pytest.raises(ValueError, match="shorter"):
        heads((torch.randn(2, 10, 32),))
