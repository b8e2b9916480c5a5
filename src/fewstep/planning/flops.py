"""Closed-form cost of the transformer: multiplications and additions of its matrix products."""

from __future__ import annotations

from fewstep.models.dit import DiTConfig


def forward_flops(cfg: DiTConfig, queries: int, keys: int) -> float:
    """One denoising pass over `queries` tokens that attend to `keys` tokens (themselves included); text keys cached."""
    linear = 2 * queries * (6 * cfg.dim**2 + 2 * cfg.dim * cfg.ffn_dim)
    attention = 4 * queries * (keys + cfg.text_len) * cfg.dim
    return float(cfg.num_layers * (linear + attention))


def commit_flops(cfg: DiTConfig, queries: int, keys: int) -> float:
    """One commit: the last block is left once its keys and values are written."""
    per_block = forward_flops(cfg, queries, keys) / cfg.num_layers
    return (cfg.num_layers - 1) * per_block + 2 * queries * 2 * cfg.dim**2


def cache_bytes(cfg: DiTConfig, tokens: int, bytes_per_number: int) -> int:
    """Keys and values of `tokens` in every block."""
    return 2 * cfg.num_layers * tokens * cfg.dim * bytes_per_number
