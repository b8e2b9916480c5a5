"""Attention by views equals attention by one dense mask."""

from __future__ import annotations

import pytest
import torch
from torch.overrides import TorchFunctionMode

from fewstep.models.attention import SelfAttention, Sight, attend
from fewstep.models.cache import Context, KVCache
from fewstep.models.rope import rotary_table, rotate

ROWS = COLS = 2
TOKENS = ROWS * COLS
SIZES = (3, 3, 3, 3)


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return SelfAttention(32, 2, 1e-6)


def by_views(attention, x, sizes, context):
    plan, pasts = KVCache.empty(1).open(sizes, context)
    return attention(x, Sight.of(plan, ROWS, COLS, 16, x.device), pasts[0])[0]


def dense_mask(sizes, context):
    frames = sum(sizes)
    mask = torch.zeros(frames, frames, dtype=torch.bool)
    stop = 0
    for size in sizes:
        start, stop = stop, stop + size
        for key in range(stop):
            within = context.window is None or key >= stop - (context.window - context.sink)
            mask[start:stop, key] = within or key < context.sink or stop <= context.window
    return mask.repeat_interleave(TOKENS, 0).repeat_interleave(TOKENS, 1)


@torch.no_grad()
@pytest.mark.parametrize("context", [Context(), Context(0, 6), Context(1, 7), Context(2, 9)])
def test_chunk_by_chunk_equals_one_dense_mask(attention, context):
    x = torch.randn(2, 12 * TOKENS, 32)
    table = rotary_table(range(12), ROWS, COLS, 16)
    k, v = attention.keys_values(x)
    expected = attend(rotate(attention.queries(x), table), rotate(k, table), v, mask=dense_mask(SIZES, context))
    torch.testing.assert_close(by_views(attention, x, SIZES, context), attention.o(expected), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_relative_rope_rotates_the_gathered_window_from_zero(attention):
    """LongLive's and AAD-1's scheme, written out for the last chunk."""
    x, context = torch.randn(2, 12 * TOKENS, 32), Context(1, 7, "relative")
    seen = [0, 6, 7, 8, 9, 10, 11]
    tokens = [f * TOKENS + i for f in seen for i in range(TOKENS)]
    k, v = attention.keys_values(x)
    q = rotate(attention.queries(x[:, -3 * TOKENS :]), rotary_table((4, 5, 6), ROWS, COLS, 16))
    expected = attention.o(attend(q, rotate(k[:, tokens], rotary_table(range(7), ROWS, COLS, 16)), v[:, tokens]))
    found = by_views(attention, x, SIZES, context)[:, -3 * TOKENS :]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_bidirectional_is_one_unmasked_call(attention):
    calls = []

    class Count(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.nn.functional.scaled_dot_product_attention:
                calls.append((kwargs or {}).get("attn_mask"))
            return function(*args, **(kwargs or {}))

    with Count():
        by_views(attention, torch.randn(2, 12 * TOKENS, 32), (12,), Context())
    assert calls == [None]


def test_attention_written_out_for_bfloat16_equals_the_fused_kernel():
    q, k, v = torch.randn(3, 2, 12, 2, 16)
    exact = attend(q, k, v)
    found = attend(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found - exact).norm() / exact.norm() < 0.01
