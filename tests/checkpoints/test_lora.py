"""LoRA on a network: beside the weights or in them, the outputs are the same; and it comes off without a trace."""

from __future__ import annotations

import pytest
import torch

from fewstep.checkpoints.export import export_original
from fewstep.checkpoints.lora import LoRA, LowRank, LowRankLinear, attach, merge
from fewstep.models.fingerprint import module_fingerprint
from fewstep.models.weights import WeightsError

RANK = 3


def lora_of(net, *layers, seed=0, added=()):
    """A random LoRA on the weights called so, with differences of the parameters `added`."""
    rng, parameters = torch.Generator().manual_seed(seed), dict(net.named_parameters())

    def draw(*shape):
        return 0.3 * torch.randn(*shape, generator=rng)

    pairs = {
        name: LowRank(draw(RANK, parameters[name][0].numel()), draw(len(parameters[name]), RANK), 0.5)
        for name in layers
    }
    differences = {name: draw(*parameters[name].shape) for name in added}
    return LoRA("test.safetensors", pairs, differences, {name: f"key of {name}" for name in (*pairs, *differences)})


LINEAR = ("blocks.0.self_attn.q.weight", "blocks.1.cross_attn.k.weight", "blocks.0.ffn.2.weight", "head.head.weight")
EMBEDDINGS = ("text_embedding.0.weight", "time_projection.1.weight", "patch_embedding.weight")
SMALL = (
    "blocks.0.self_attn.q.bias",
    "blocks.0.norm3.weight",
    "blocks.1.modulation",
    "blocks.1.self_attn.norm_q.weight",
)


@torch.no_grad()
def output(net):
    rng = torch.Generator().manual_seed(7)
    x, text = torch.randn(1, 3, 16, 4, 4, generator=rng), torch.randn(1, 8, 32, generator=rng)
    return net(x, torch.tensor([[0.9, 0.5, 0.1]]), text)


def copy_of(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def test_merged_weight_is_weight_plus_scaled_product(tiny_net):
    name = "blocks.0.self_attn.q.weight"
    lora, before = lora_of(tiny_net, name), copy_of(tiny_net.state_dict())
    merge(tiny_net, [(lora, 2.0)])
    pair, after = lora.low_rank[name], tiny_net.state_dict()
    torch.testing.assert_close(after[name], before[name] + 2.0 * 0.5 * pair.up @ pair.down)
    assert all(torch.equal(after[other], before[other]) for other in before if other != name)


@pytest.mark.parametrize("scale", [1.0, -0.7])
def test_attached_equals_merged_and_leaves_no_trace(tiny_net, scale):
    lora = lora_of(tiny_net, *LINEAR, *EMBEDDINGS, added=SMALL)
    plain, weights, modules = output(tiny_net), copy_of(tiny_net.state_dict()), dict(tiny_net.named_modules())
    attached = attach(tiny_net, [(lora, scale)])
    beside = output(tiny_net)
    assert isinstance(tiny_net.blocks[0].self_attn.q, LowRankLinear)
    assert torch.equal(tiny_net.state_dict()["blocks.0.self_attn.q.weight"], weights["blocks.0.self_attn.q.weight"])
    attached.remove()
    assert dict(tiny_net.named_modules()) == modules
    assert all(torch.equal(tensor, weights[name]) for name, tensor in tiny_net.state_dict().items())
    assert torch.equal(output(tiny_net), plain)
    merge(tiny_net, [(lora, scale)])
    torch.testing.assert_close(output(tiny_net), beside, rtol=1e-4, atol=1e-5)
    assert (beside - plain).norm() > 0.1 * plain.norm()


def test_several_loras_add_up_whether_listed_or_stacked(tiny_net):
    first, second = lora_of(tiny_net, *LINEAR[:2], added=SMALL[:1]), lora_of(tiny_net, *LINEAR[1:], added=SMALL, seed=1)
    plain = output(tiny_net)
    together = attach(tiny_net, [(first, 1.0), (second, 0.5)])
    listed = output(tiny_net)
    together.remove()
    below = attach(tiny_net, [(first, 1.0)])
    above = attach(tiny_net, [(second, 0.5)])
    torch.testing.assert_close(output(tiny_net), listed, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="the last one first"):
        below.remove()
    above.remove()
    below.remove()
    assert torch.equal(output(tiny_net), plain)
    merge(tiny_net, [(first, 1.0), (second, 0.5)])
    torch.testing.assert_close(output(tiny_net), listed, rtol=1e-4, atol=1e-5)


def test_attached_lora_follows_the_network_to_another_dtype(tiny_net):
    attach(tiny_net, [(lora_of(tiny_net, *LINEAR), 1.0)])
    expected = output(tiny_net)
    torch.testing.assert_close(output(tiny_net.double()), expected, rtol=1e-3, atol=1e-4)


def test_bf16_weights_take_the_sum_rounded_once(tiny_net):
    name = LINEAR[0]
    net = tiny_net.bfloat16()
    first, second = lora_of(net, name), lora_of(net, name, seed=1)
    exact = net.get_parameter(name).float()
    exact = exact + sum(0.5 * each.low_rank[name].up @ each.low_rank[name].down for each in (first, second))
    merge(net, [(first, 1.0), (second, 1.0)])
    torch.testing.assert_close(net.get_parameter(name), exact.bfloat16(), rtol=0, atol=0)


def test_branches_show_in_the_state_dict_and_are_not_exported(tiny_net, tmp_path):
    plain = module_fingerprint(tiny_net)
    attached = attach(tiny_net, [(lora_of(tiny_net, *LINEAR), 1.0)])
    one = module_fingerprint(tiny_net)
    attached.remove()
    attach(tiny_net, [(lora_of(tiny_net, *LINEAR, seed=1), 1.0)])
    assert len({plain, one, module_fingerprint(tiny_net)}) == 3
    with pytest.raises(ValueError, match="merge"):
        export_original(tmp_path / "a.safetensors", tiny_net)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("use", [attach, merge])
def test_keys_that_do_not_fit_are_named_and_nothing_changes(tiny_net, use):
    good = lora_of(tiny_net, *LINEAR)
    pairs = dict(good.low_rank) | {"blocks.9.ffn.0.weight": good.low_rank[LINEAR[0]]}
    pairs["blocks.0.ffn.0.weight"] = LowRank(torch.zeros(2, 5), torch.zeros(4, 2), 1.0)
    bad = LoRA(
        "bad.safetensors",
        pairs,
        {"head.head.bias": torch.zeros(3)},
        {**good.keys, "blocks.9.ffn.0.weight": "far", "blocks.0.ffn.0.weight": "odd", "head.head.bias": "off"},
    )
    before = copy_of(tiny_net.state_dict())
    with pytest.raises(WeightsError) as error:
        use(tiny_net, [(good, 1.0), (bad, 1.0)])
    for part in ("bad.safetensors", "has not: far", "odd (need [64, 32], found [4, 5])", "off (need [64], found [3])"):
        assert part in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_net.state_dict().items())
    assert not any(isinstance(module, LowRankLinear) for module in tiny_net.modules())
