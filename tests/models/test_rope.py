"""RoPE turns pairs by exact angles at any position, and its memory changes nothing."""

from __future__ import annotations

import math

import pytest
import torch

from fewstep.models import rope
from fewstep.models.rope import rotary_table, rotate


def test_first_pair_of_a_frame_turns_by_its_position_in_radians():
    table = rotary_table((5,), 1, 1, 16)
    turned = rotate(torch.tensor([1.0, 0.0] + [0.0] * 14).view(1, 1, 1, 16), table)
    assert turned.flatten()[:2].tolist() == pytest.approx([math.cos(5), math.sin(5)], abs=1e-6)


def test_channels_split_as_wan_splits_them_and_tokens_run_row_by_row():
    table = rotary_table((7,), 2, 3, 128)  # 22 frame, 21 row and 21 column pairs
    angle = torch.atan2(table[..., 1], table[..., 0]).view(2, 3, 64)
    row, col = 1, 2
    assert angle[row, col, 22].item() == pytest.approx(row)
    assert angle[row, col, 43].item() == pytest.approx(col)
    assert angle[row, col, 23].item() == pytest.approx(row * 10_000 ** (-2 / 42))


def test_products_depend_only_on_the_distance_of_frames():
    q, k = torch.randn(2, 1, 1, 1, 16)

    def product(i, j):
        return (rotate(q, rotary_table((i,), 1, 1, 16)) * rotate(k, rotary_table((j,), 1, 1, 16))).sum()

    torch.testing.assert_close(product(3, 1), product(1003, 1001))
    assert not torch.isclose(product(3, 1), product(3, 2))


def test_no_position_is_too_far():
    near, far = rotary_table((2, 5), 2, 2, 16), rotary_table((10_000_002, 10_000_005), 2, 2, 16)
    q, k = torch.randn(2, 1, 4, 1, 16)

    def product(table):
        return (rotate(q, table[:4]) * rotate(k, table[4:])).sum()

    torch.testing.assert_close(product(near), product(far), rtol=1e-4, atol=1e-4)


def test_norms_are_kept_and_bfloat16_is_turned_in_fp32():
    x = torch.randn(2, 12, 2, 16)
    table = rotary_table((0, 1, 2), 2, 2, 16)
    torch.testing.assert_close(rotate(x, table).norm(dim=-1), x.norm(dim=-1))
    half = rotate(x.bfloat16(), table)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, rotate(x.bfloat16().float(), table).bfloat16())


def test_complex_and_real_arithmetic_agree(monkeypatch):
    x, table = torch.randn(2, 12, 2, 16), rotary_table((0, 1, 9), 2, 2, 16)
    eager = rotate(x, table)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, table), eager)


def test_a_table_met_first_in_inference_mode_serves_training():
    rope._memo.clear()
    with torch.inference_mode():
        rotary_table((0, 1), 2, 2, 16)
    x = torch.randn(1, 8, 2, 16, requires_grad=True)
    rotate(x, rotary_table((0, 1), 2, 2, 16)).sum().backward()
    assert x.grad is not None


def test_memory_is_bounded_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(rope, "_MEMO_SIZE", 3)
    fresh = rope._build((4,), 2, 2, 16, torch.device("cpu"))
    for start in range(20):
        assert len(rope._memo) <= 256
        rotary_table((start,), 2, 2, 16)
    assert torch.equal(rotary_table((4,), 2, 2, 16), fresh)
    assert len(rope._memo) <= 3
