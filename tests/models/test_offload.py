"""An offloaded network is the network: the same numbers, blocks in turn, two of them at a time, nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewstep.diffusion.steps import StepPlan
from fewstep.models.cache import Context, KVCache
from fewstep.models.dit import DiTConfig, Resident, VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.offload import Ferry, HostKVCache, Offloaded, Stowed, carve, offload, offload_layers, space
from fewstep.models.placing import Placing
from fewstep.models.text import TextEncoder
from fewstep.rollout import Chunk, rollout, stream

CPU = torch.device("cpu")
CONFIG = DiTConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=5, text_dim=32, text_len=8, freq_dim=32)


@pytest.fixture
def net() -> VideoDiT:
    torch.manual_seed(0)
    made = VideoDiT(CONFIG)
    nn.init.normal_(made.head.head.weight, std=0.1)
    return made.eval()


def clip(net: VideoDiT, *, batch: int = 2, ring: bool = False, context: Context = Context(), commit="sequential"):
    torch.manual_seed(1)
    noise, text = torch.randn(batch, 9, 16, 4, 4), torch.randn(batch, 8, 32)
    options = {"layout": ChunkLayout(3), "context": context, "ring": ring, "commit": commit}
    with torch.inference_mode():
        plan = StepPlan.uniform((1.0, 0.5))
        return rollout(net, noise, text, plan, rng=torch.Generator().manual_seed(2), **options)


@pytest.mark.parametrize("commit", ["sequential", "packed"])
@pytest.mark.parametrize("context", [Context(), Context(sink=1, window=7), Context(1, 7, "relative")])
def test_an_offloaded_rollout_is_the_same_to_the_bit(net: VideoDiT, context: Context, commit: str):
    expected = clip(net, context=context, commit=commit)
    assert torch.equal(clip(offload(net, CPU), context=context, commit=commit), expected)


def test_a_ring_gives_way_to_the_host(net: VideoDiT):
    expected = clip(net, ring=True)
    assert torch.equal(clip(offload(net, CPU), ring=True), expected)


def test_a_new_prompt_recaches_what_lies_on_the_host(net: VideoDiT):
    torch.manual_seed(1)
    noise, words = torch.randn(2, 3, 16, 4, 4), torch.randn(2, 2, 8, 32)
    plan, context = StepPlan.uniform((1.0,)), Context(1, 7)

    def turned() -> torch.Tensor:
        chunks = (Chunk(noise, words[int(i > 3)]) for i in range(6))
        with torch.inference_mode():
            return torch.cat(list(stream(net, chunks, plan, context=context, rng=None, recache=True)))

    expected = turned()
    offload(net, CPU)
    assert torch.equal(turned(), expected)


def test_a_teachers_pass_and_its_features_are_the_same(net: VideoDiT):
    inputs = torch.randn(1, 3, 16, 4, 4), torch.full((1, 3), 0.5), torch.randn(1, 8, 32)
    with torch.no_grad():
        expected, taps = net.forward_with_features(*inputs, layers=(1, 4))
        (early,) = net.features(*inputs, layers=(1,))
        offload(net, CPU)
        found, again = net.forward_with_features(*inputs, layers=(1, 4))
        assert torch.equal(found, expected)
        assert all(map(torch.equal, taps, again))
        assert torch.equal(net.features(*inputs, layers=(1,))[0], early)


def test_two_buffers_hold_every_block_in_its_turn(net: VideoDiT):
    offload(net, CPU)
    placement, places = net.placement, []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda block, _: places.append(block.ffn[0].weight.data_ptr()))
    clip(net)
    first, second = dict.fromkeys(places)
    assert places[:6] == [first, second, first, second, first, second]
    assert len(set(places)) == 2
    size = max(stowed.hold.numel() for stowed in placement.stowed.values())
    assert [berth.numel() for berth in placement.weights.berths] == [size, size]


def test_a_block_that_computes_has_its_own_weights_and_the_next_ones_are_on_their_way(net: VideoDiT):
    offload(net, CPU)
    stowed = list(net.placement.stowed.values())
    with torch.no_grad():
        for index, block in enumerate(net.placement.visit(list(net.blocks))):
            assert torch.equal(block.ffn[0].weight, block_weight(stowed[index], block))
            assert block.ffn[0].weight.data_ptr() != block_weight(stowed[index], block).data_ptr()
            assert net.placement.weights.coming is stowed[(index + 1) % 5]


def block_weight(stowed: Stowed, block: nn.Module) -> torch.Tensor:
    """The host's copy."""
    return next(a for t, a in zip(stowed.tensors, stowed.ashore, strict=True) if t is block.ffn[0].weight)


def test_weights_are_back_on_the_host_after_a_pass_and_after_an_error(net: VideoDiT):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    offload(net, CPU)
    clip(net)
    net.blocks[2].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clip(net)
    holds = [stowed.hold for stowed in net.placement.stowed.values()]
    for block, hold in zip(net.blocks, holds, strict=True):
        start, stop = hold.data_ptr(), hold.data_ptr() + hold.numel()
        assert all(start <= parameter.data_ptr() < stop for parameter in block.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_training_is_refused(net: VideoDiT):
    offload(net, CPU)
    with pytest.raises(ValueError, match="inference only"):
        net(torch.randn(1, 3, 16, 4, 4), torch.full((1, 3), 0.5), torch.randn(1, 8, 32))


def test_a_host_cache_is_a_value_and_forgets_what_the_window_forgets():
    cache, context = HostKVCache(((), ()), ferry=Ferry(CPU)), Context(1, 4)
    value = KVCache.empty(2)
    for _ in range(4):
        kv = torch.randn(2, 1, 4, 1, 2).unbind(0)
        held = cache.frames
        later = cache.append([kv, kv], 2, context)
        assert cache.frames == held
        cache, value = later, value.append([kv, kv], 2, context)
    assert isinstance(cache, HostKVCache)
    assert cache.frames == value.frames == (0, 5, 6, 7)
    current = torch.randn(2, 1, 4, 1, 2).unbind(0)
    for ours, theirs in zip(cache.open((2,), context)[1], value.open((2,), context)[1], strict=True):
        assert all(map(torch.equal, ours.extend(*current), theirs.extend(*current)))


def test_layers_with_hooks_encode_the_same_prompts():
    encoder = TextEncoder.from_preset("tiny").eval()
    with torch.inference_mode():
        expected = encoder.encode(["a red circle"])
        offload_layers(list(encoder.model.encoder.block), CPU)
        assert torch.equal(encoder.encode(["a red circle"]), expected)
        assert torch.equal(encoder.encode(["a red circle"]), expected)


def test_tensors_in_a_buffer_keep_their_shapes_and_formats_apart():
    tensors = [torch.randn(3, 5), torch.randn(7).bfloat16(), torch.tensor(4)]
    buffer = torch.empty(space(tensors), dtype=torch.uint8)
    for place, tensor in zip(carve(buffer, tensors), tensors, strict=True):
        place.copy_(tensor)
    assert all(map(torch.equal, carve(buffer, tensors), tensors))
    assert buffer.numel() == 3 * 256


def test_on_a_cpu_there_is_nothing_to_offload_from_and_that_is_said():
    with pytest.warns(UserWarning, match="no effect on the CPU"):
        placing = Placing.choose(CPU, "float32", offload=True)
    assert not placing.offload
    assert placing.loads_on == CPU


def test_a_number_format_that_the_device_lacks_is_refused():
    with pytest.raises(ValueError, match="float8 needs a GPU"):
        Placing.choose(CPU, "float8", offload=False)


def test_a_network_is_placed_as_chosen(net: VideoDiT):
    placed = Placing(CPU, torch.float32, offload=True).place(net)
    assert isinstance(placed.placement, Offloaded)
    assert isinstance(VideoDiT(CONFIG).placement, Resident)
