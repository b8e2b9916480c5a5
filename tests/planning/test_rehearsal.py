"""A rehearsal counts what the computation itself does: work, and bytes alive at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.planning.rehearsal import META, Cost, at_depth, backward, meta, rehearse, rehearsing
from fewstep.planning.sizes import network

TINY = PRESETS["tiny"]
INPUTS = ((2, 3, 16, 8, 8), (2, 3), (2, TINY.text_len, TINY.text_dim))


def training(net: VideoDiT, x: Tensor, sigma: Tensor, text: Tensor) -> None:
    net.requires_grad_(True)
    net.gradient_checkpointing = True
    for parameter in net.parameters():
        parameter.grad = torch.empty_like(parameter)
    backward(net(x, sigma, text).square().mean())


def test_memory_is_counted_from_the_making_of_a_tensor_to_its_end():
    def call() -> Tensor:
        a = meta(1000) + 1  # 4000 bytes, and 4000 of the input
        b = a * 2
        del a
        return b.sum() + (b + b).mean()

    with rehearsing() as tally:
        x = meta(1000)
        held = x + 1
        assert tally.alive == 8000
        view = held[10:]
        assert tally.alive == 8000
        del held
        assert tally.alive == 8000
        del view
        assert tally.alive == 4000
    assert rehearse(call).peak == 4000 + 4 + 4000 + 4  # b, its sum, b + b, and that one's mean


def test_work_of_a_pass_is_that_of_torchs_own_counter():
    x, sigma, text = (torch.randn(shape) for shape in INPUTS)
    net = VideoDiT(TINY)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(x, sigma, text)
    on_meta = network(TINY)
    with torch.no_grad():
        assert rehearse(lambda: on_meta(*(meta(*shape) for shape in INPUTS))).flops == counter.get_total_flops()


def test_a_checkpointed_backward_pass_costs_three_passes_more():
    inputs = [meta(*shape) for shape in INPUTS]
    with torch.no_grad():
        once = rehearse(lambda: network(TINY)(*inputs)).flops
    # of embeddings and head, which are not made again, and of inputs, which need no gradient, it is a little less
    assert 3.7 < rehearse(lambda: training(network(TINY), *inputs)).flops / once < 4


@pytest.mark.parametrize("products", [None, torch.bfloat16])
def test_cost_at_depth_is_the_cost_of_the_deep_network(products):
    def cost(layers: int) -> Cost:
        net = network(replace(TINY, num_layers=layers))
        return rehearse(lambda: training(net, *(meta(*shape) for shape in INPUTS)), products)

    deep, told = cost(9), at_depth(9, cost)
    assert told.flops == pytest.approx(deep.flops)
    assert told.peak == pytest.approx(deep.peak, rel=0.01)


def test_autocast_products_halve_what_linear_layers_make():
    layer = nn.Linear(64, 4096, device=META)
    with torch.no_grad():
        full, half = (rehearse(lambda: layer(meta(512, 64)), dtype).peak for dtype in (None, torch.bfloat16))
    assert full == 4 * 512 * (64 + 4096)
    assert half == 4 * 512 * 64 + 2 * (512 * 64 + 64 * 4096 + 4096 + 512 * 4096)


def test_a_block_that_is_known_already_costs_the_same_again():
    inputs = [meta(*shape) for shape in INPUTS]
    with torch.no_grad():
        first, again = (rehearse(lambda: network(TINY)(*inputs)) for _ in range(2))
    assert first == again


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["shapes", "wan_1_3b"])
def test_a_gpu_needs_what_the_rehearsal_says(preset):
    cfg = replace(PRESETS[preset], num_layers=4)
    shapes = (1, 9, 16, 60, 104), (1, 9), (1, cfg.text_len, cfg.text_dim)
    net = VideoDiT(cfg).to("cuda", torch.bfloat16)
    inputs = [torch.randn(shape, device="cuda") for shape in shapes]
    with torch.no_grad():
        told = rehearse(lambda: network(cfg, torch.bfloat16)(*(meta(*shape) for shape in shapes))).peak
        net(*inputs)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        net(*inputs)
    assert torch.cuda.max_memory_allocated() - before == pytest.approx(told, rel=0.15)


def test_a_known_block_costs_what_it_costs_when_it_is_rehearsed():
    def costs(cfg) -> list[Cost]:
        with META:
            plain = VideoDiT(cfg)
        return [
            rehearse(lambda net=net: training(net, *(meta(*shape) for shape in INPUTS)))
            for net in (plain, network(cfg))
        ]

    real, told = costs(replace(TINY, num_layers=6))
    assert told.flops == real.flops
    assert real.peak <= told.peak < 1.1 * real.peak
