"""Rotary position embedding over (frame, row, column), for any frame position.

Wan splits a head of width e into three groups of channel pairs, 2*(e//6) channels each for rows and columns and the
rest for frames, theta 10000, and rotates adjacent pairs. Rows and columns start at 0; frame positions are given.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Rotary = Float[Tensor, "n 1 pairs 2"]
"""cos and sin of every token's angle per channel pair, fp32."""

THETA = 10_000.0
_MEMO_SIZE = 256
_memo: dict[tuple, Tensor] = {}


def rotary_table(
    positions: Sequence[int], rows: int, cols: int, head_dim: int, device: torch.device | str = "cpu"
) -> Rotary:
    """The rotations of all tokens of the frames at `positions`, ordered frame, row, column.

    Remembered per argument: the table is a pure function of them, and the memory is bounded.
    """
    if torch.compiler.is_compiling() or torch.device(device).type == "meta":
        return _build(positions, rows, cols, head_dim, torch.device(device))
    key = (tuple(positions), rows, cols, head_dim, torch.device(device))
    if key not in _memo:
        with torch.inference_mode(False), torch.no_grad():  # a table met first in inference must also serve training
            table = _build(*key)
        if type(table) is not Tensor:  # traced or fake: not a value to keep
            return table
        if len(_memo) >= _MEMO_SIZE:
            _memo.clear()
        _memo[key] = table
    return _memo[key]


def _build(positions: Sequence[int], rows: int, cols: int, head_dim: int, device: torch.device) -> Rotary:
    """Angles in fp64, because a long stream's positions times a frequency of 1 exhaust fp32; the result in fp32."""
    exact = torch.float32 if device.type == "mps" else torch.float64
    spatial = 2 * (head_dim // 6)

    def angles(position: Tensor, channels: int) -> Tensor:
        frequency = THETA ** (-torch.arange(0, channels, 2, device=device, dtype=exact) / channels)
        return torch.outer(position.to(exact), frequency)

    frame = angles(torch.tensor(positions, device=device), head_dim - 2 * spatial)
    row, col = angles(torch.arange(rows, device=device), spatial), angles(torch.arange(cols, device=device), spatial)
    grid = (len(positions), rows, cols, -1)
    angle = torch.cat(
        (frame[:, None, None].expand(grid), row[None, :, None].expand(grid), col[None, None].expand(grid)), dim=-1
    )
    return torch.stack((angle.cos(), angle.sin()), dim=-1).float().reshape(-1, 1, head_dim // 2, 2)


def rotate(x: Float[Tensor, "b n k e"], table: Rotary) -> Float[Tensor, "b n k e"]:
    """x with every adjacent channel pair turned by its token's angle; fp32 arithmetic, x's dtype.

    Eager CPU code multiplies the pairs as complex numbers, one pass instead of seven; compilers and accelerators get
    the same product written out in real arithmetic, which they fuse.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    else:
        (a, b), (cos, sin) = pairs.unbind(-1), table.unbind(-1)
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)
