"""What each switch of the discriminator lets it see, and the heads that read it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from fewstep.models.cache import Context
from fewstep.models.discriminator import Discriminator, DiscriminatorConfig, DiscriminatorHeads
from fewstep.models.layout import ChunkLayout

LAYOUT = ChunkLayout(2, first=1)
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


def changes(net, frame, **switches):
    """Largest change of each logit, and of each frame's features, when one latent frame of the input changes."""
    torch.manual_seed(3)
    cfg = replace(CONFIG, num_logits=1, **switches)
    judge = Discriminator(cfg, net, layout=LAYOUT, context=Context())
    x, sigma, text = torch.randn(1, 5, 16, 4, 4), torch.full((1, 5), 0.5), torch.randn(1, 8, 32)
    other = x.clone()
    other[:, frame] += 1
    with torch.no_grad():
        logits, features = judge([x, other], sigma, text), judge.features([x, other], sigma, text)[-1]
    rows = (logits[: len(logits) // 2] - logits[len(logits) // 2 :]).abs().amax(dim=1)
    frames = (features[:1] - features[1:]).unflatten(1, (5, -1)).abs().amax(dim=(0, 2, 3))
    return (rows > 1e-6).tolist(), (frames > 1e-6).tolist()


def test_bidirectional_features_see_all_frames_and_causal_ones_no_later_chunk(tiny_net):
    for frame, own_chunk in ((0, 0), (1, 1), (2, 1), (4, 3)):
        assert changes(tiny_net, frame, visibility="bidirectional")[1] == [True] * 5
        assert changes(tiny_net, frame, visibility="causal")[1] == [f >= own_chunk for f in range(5)]


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_a_causal_logit_of_a_frame_knows_no_later_chunk_and_one_of_the_clip_knows_them_all(tiny_net, frame):
    first_to_know = {0: 0, 2: 1, 4: 3}[frame]
    by_frame, _ = changes(tiny_net, frame, visibility="causal", granularity="frame")
    assert by_frame == [f >= first_to_know for f in range(5)]
    assert changes(tiny_net, frame, visibility="causal", granularity="clip")[0] == [True]
    assert changes(tiny_net, frame, visibility="bidirectional", granularity="frame")[0] == [True] * 5
    assert changes(tiny_net, frame, visibility="bidirectional", granularity="clip")[0] == [True]


def test_a_logit_of_a_frame_reads_the_tokens_of_that_frame_only():
    torch.manual_seed(0)
    heads = DiscriminatorHeads(replace(CONFIG, granularity="frame"), 32)
    features = torch.randn(2, 3 * 4, 32)
    other = features.clone()
    other[1, 4:8] += 1  # second clip, second frame
    with torch.no_grad():
        before, after = (heads((x, x), frames=3) for x in (features, other))
    assert before.shape == (6, 4)
    assert (before != after).any(dim=1).tolist() == [False, False, False, False, True, False]


def test_a_logit_of_a_frame_is_that_of_a_clip_of_this_frame():
    torch.manual_seed(0)
    heads = DiscriminatorHeads(CONFIG, 32)
    features = torch.randn(2, 3 * 4, 32)
    alone = torch.stack([heads((x, x)) for x in features.split(4, dim=1)], dim=1)
    by_frame = DiscriminatorHeads(replace(CONFIG, granularity="frame"), 32)
    by_frame.load_state_dict(heads.state_dict())
    torch.testing.assert_close(by_frame((features, features), frames=3), alone.flatten(0, 1))


def test_a_causal_backbone_sees_through_the_students_window(tiny_net):
    x, sigma, text = torch.randn(1, 7, 16, 4, 4), torch.full((1, 7), 0.5), torch.randn(1, 8, 32)
    other = x.clone()
    other[:, 1:3] += 1
    cfg = replace(CONFIG, layers=(0,), visibility="causal")
    for context, seen in ((Context(), True), (Context(1, 5, "relative"), False)):
        judge = Discriminator(cfg, tiny_net, layout=LAYOUT, context=context)
        with torch.no_grad():
            (features,) = judge.features([x, other], sigma, text)
        last = features.unflatten(1, (7, -1))[:, -2:]
        assert (not torch.allclose(last[0], last[1], atol=1e-6)) == seen, context


def test_only_a_backbone_of_its_own_learns_with_the_heads(tiny_net):
    for backbone, parts in (("own", {"backbone", "heads"}), ("shared", {"readouts", "judge"})):
        judge = Discriminator(replace(CONFIG, backbone=backbone), tiny_net, layout=LAYOUT)
        assert {name.split(".")[0] for name, _ in judge.learning.named_parameters()} == parts


def test_taps_that_are_too_deep_are_refused(tiny_net):
    with pytest.raises(ValueError, match="below 2, the backbone's depth"):
        Discriminator(replace(CONFIG, layers=(2,)), tiny_net, layout=LAYOUT)
