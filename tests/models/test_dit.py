"""One network, four ways to run it: all agree wherever they see the same frames."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fewstep.models.cache import Context, KVCache
from fewstep.models.layout import ChunkLayout

CONTEXTS = [Context(), Context(0, 6), Context(1, 7), Context(1, 6, "relative"), Context(2, 8, "relative")]
LAYOUT = ChunkLayout(3)
NEAR = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def clip():
    torch.manual_seed(1)
    return torch.randn(2, 12, 16, 4, 4), torch.rand(2, 12), torch.randn(2, 8, 32)


def by_cache(net, x, sigma, text, context, layout=LAYOUT):
    """Every chunk behind the cache of the chunks before it, each at its own noise."""
    cache, seen = KVCache.empty(net.cfg.num_layers), []
    sizes = layout.sizes(x.shape[1])
    for chunk, level in zip(x.split(sizes, 1), sigma.split(sizes, 1), strict=True):
        seen.append(net(chunk, level, text, cache=cache, context=context))
        cache = net.prefill(chunk, level, text, cache, context)
    return torch.cat(seen, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("context", CONTEXTS)
def test_cached_chunks_equal_one_block_causal_pass(tiny_net, clip, context):
    x, sigma, text = clip
    torch.testing.assert_close(
        by_cache(tiny_net, x, sigma, text, context), tiny_net(x, sigma, text, layout=LAYOUT, context=context), **NEAR
    )


@torch.no_grad()
def test_an_image_first_layout_equals_its_cached_run(tiny_net, clip):
    x, sigma, text = (y[:, :9] for y in clip)
    layout, context = ChunkLayout(4, first=1), Context(1, 6)
    masked = tiny_net(x, sigma, text, layout=layout, context=context)
    torch.testing.assert_close(by_cache(tiny_net, x, sigma, text, context, layout), masked, **NEAR)


@torch.no_grad()
def test_one_chunk_over_the_whole_clip_is_bidirectional(tiny_net, clip):
    torch.testing.assert_close(tiny_net(*clip, layout=ChunkLayout(12)), tiny_net(*clip))
    assert not torch.allclose(tiny_net(*clip, layout=LAYOUT), tiny_net(*clip), atol=1e-2)


@torch.no_grad()
def test_a_chunk_feels_exactly_the_frames_it_sees(tiny_net, clip):
    x, sigma, text = clip
    context = Context(1, 7)  # the last chunk sees frame 0 and frames 6..11, through one layer
    tiny_net.blocks = tiny_net.blocks[:1]
    tiny_net.cfg = tiny_net.cfg.__class__(**{**vars(tiny_net.cfg), "num_layers": 1})
    before = tiny_net(x, sigma, text, layout=LAYOUT, context=context)[:, -3:]
    for frame in range(12):
        moved = x.clone()
        moved[:, frame] += 1
        after = tiny_net(moved, sigma, text, layout=LAYOUT, context=context)[:, -3:]
        assert torch.equal(after, before) == (frame not in (0, 6, 7, 8, 9, 10, 11)), frame


@torch.no_grad()
@pytest.mark.parametrize("context", CONTEXTS)
def test_packed_equals_commit_then_forward(tiny_net, clip, context):
    x, sigma, text = clip
    cache = KVCache.empty(2)
    for i in range(0, 9, 3):
        clean, noisy, level = x[:, i : i + 3], x[:, i + 3 : i + 6], sigma[:, i + 3 : i + 6]
        committed = tiny_net.prefill(clean, torch.zeros(2, 3), text, cache, context)
        expected = tiny_net(noisy, level, text, cache=committed, context=context)
        velocity, cache = tiny_net.forward_packed(clean, noisy, level, text, cache, context)
        torch.testing.assert_close(velocity, expected, **NEAR)
        assert (cache.frames, cache.num_frames) == (committed.frames, committed.num_frames)
        for ours, theirs in zip(cache.layers, committed.layers, strict=True):
            torch.testing.assert_close(ours, theirs, **NEAR)


@torch.no_grad()
def test_text_projected_once_equals_text_projected_each_time(tiny_net, clip):
    x, sigma, text = clip
    torch.testing.assert_close(tiny_net(x, sigma, tiny_net.encode_text(text)), tiny_net(x, sigma, text))


@torch.no_grad()
def test_short_prompts_are_padded_with_zeros_that_are_attended_to(tiny_net, clip):
    x, sigma, text = clip
    text[:, 5:] = 0
    torch.testing.assert_close(tiny_net(x, sigma, text[:, :5]), tiny_net(x, sigma, text))
    with pytest.raises(ValueError, match="text_len=8"):
        tiny_net(x, sigma, torch.cat((text, text), dim=1))


@torch.no_grad()
def test_features_are_the_tokens_after_their_blocks_and_spare_the_rest(tiny_net, clip):
    ran = []
    for i, block in enumerate(tiny_net.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    velocity, (after_second, after_first) = tiny_net.forward_with_features(*clip, layers=(1, 0))
    torch.testing.assert_close(velocity, tiny_net(*clip))
    assert after_first.shape == after_second.shape == (2, 12 * 4, 32)
    ran.clear()
    (alone,) = tiny_net.features(*clip, layers=(0,))
    torch.testing.assert_close(alone, after_first)
    assert ran == [0]


@torch.no_grad()
def test_prefill_stops_at_the_last_keys_and_values(tiny_net, clip):
    ran = []
    tiny_net.blocks[-1].register_forward_hook(lambda *_: ran.append("last block"))
    tiny_net.head.register_forward_hook(lambda *_: ran.append("head"))
    x, sigma, text = clip
    cache = tiny_net.prefill(x[:, :3], sigma[:, :3], text, KVCache.empty(2))
    assert ran == []
    assert len(cache.layers) == 2
    assert cache.num_frames == 3


def gradients(net, x, sigma, text, cache, context):
    x = x.clone().requires_grad_()
    net.zero_grad()
    net(x, sigma, text, cache=cache, context=context).square().mean().backward()
    return [x.grad, *(p.grad for p in net.parameters())]


def test_checkpointed_gradients_equal_plain_ones_behind_an_evicting_cache(tiny_net, clip):
    x, sigma, text = clip
    context, cache = Context(1, 6), KVCache.empty(2)
    for i in range(0, 9, 3):
        cache = tiny_net.prefill(x[:, i : i + 3], sigma[:, i : i + 3], text, cache, context)
    assert cache.frames == (0, 4, 5, 6, 7, 8)
    plain = gradients(tiny_net, x[:, 9:], sigma[:, 9:], text, cache, context)
    tiny_net.gradient_checkpointing = True
    torch.testing.assert_close(gradients(tiny_net, x[:, 9:], sigma[:, 9:], text, cache, context), plain)
    assert all(g is not None for g in plain)


def test_checkpointing_recomputes_behind_the_cache_of_its_own_forward(tiny_net, clip):
    """Backward runs after later commits have evicted what the forward saw."""
    x, sigma, text = clip
    context = Context(1, 6)

    def run(checkpointing):
        tiny_net.gradient_checkpointing = checkpointing
        tiny_net.zero_grad()
        cache, loss = KVCache.empty(2), 0
        for i in range(0, 12, 3):
            loss = loss + tiny_net(x[:, i : i + 3], sigma[:, :3], text, cache=cache, context=context).square().mean()
            cache = tiny_net.prefill(x[:, i : i + 3], sigma[:, :3], text, cache, context)
        loss.backward()
        return [p.grad.clone() for p in tiny_net.parameters()]

    torch.testing.assert_close(run(True), run(False))


class ScalarReads(TorchDispatchMode):
    """Counts reads of device memory by the host."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default):
            self.count += 1
        return function(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.parametrize("context", [Context(), Context(1, 6, "relative")])
def test_no_forward_reads_the_device(tiny_net, clip, context):
    x, sigma, text = clip
    with ScalarReads() as reads:
        kv = tiny_net.encode_text(text)
        tiny_net(x, sigma, kv, layout=LAYOUT, context=context)
        by_cache(tiny_net, x, sigma, kv, context)
        tiny_net.forward_packed(x[:, :3], x[:, 3:6], sigma[:, :3], kv, KVCache.empty(2), context)
    assert reads.count == 0


@torch.no_grad()
def test_every_frame_has_its_own_timestep(tiny_net, clip):
    x, sigma, text = clip
    changed = sigma.clone()
    changed[:, 5] = 1 - changed[:, 5]
    difference = (tiny_net(x, changed, text) - tiny_net(x, sigma, text)).abs().amax(dim=(0, 2, 3, 4))
    assert difference.argmax() == 5


@torch.no_grad()
def test_bfloat16_stays_near_fp32_and_returns_the_dtype_of_the_latents(tiny_net, clip):
    x, sigma, text = clip
    exact = tiny_net(x, sigma, text)
    half = tiny_net.bfloat16()(x, sigma, text)
    assert half.dtype == torch.float32
    assert (half - exact).norm() / exact.norm() < 0.03


def test_autocast_keeps_the_residual_stream_in_fp32(tiny_net, clip):
    seen = []
    tiny_net.blocks[0].register_forward_hook(lambda module, args, out: seen.append(out[0].dtype))
    exact = tiny_net(*clip)
    with torch.autocast("cpu", torch.bfloat16):
        found = tiny_net(*clip)
    assert seen == [torch.float32, torch.float32]
    assert found.dtype == torch.float32
    assert (found - exact).norm() / exact.norm() < 0.03


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiles_without_a_break_bidirectional_and_cached(tiny_net, clip, backend):
    x, sigma, text = clip
    torch.compiler.reset()
    compiled = torch.compile(tiny_net, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x, sigma, text), tiny_net(x, sigma, text), **NEAR)
    kv, context = tiny_net.encode_text(text), Context(1, 6)
    cache = tiny_net.prefill(x[:, :3], sigma[:, :3], kv, KVCache.empty(2), context)
    chunk = (x[:, 3:6], sigma[:, 3:6], kv)
    torch.testing.assert_close(
        compiled(*chunk, cache=cache, context=context), tiny_net(*chunk, cache=cache, context=context), **NEAR
    )
