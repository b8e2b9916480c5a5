"""Model sizes, one line each."""

from __future__ import annotations

from fewstep.models.dit import DiTConfig

# fmt: off
PRESETS: dict[str, DiTConfig] = {
    "tiny":     DiTConfig(dim=32,   ffn_dim=64,    num_heads=2,  num_layers=2,  text_dim=32,   text_len=8, freq_dim=32),
    "shapes":   DiTConfig(dim=128,  ffn_dim=512,   num_heads=4,  num_layers=6,  text_dim=128,  text_len=64),
    "wan_1_3b": DiTConfig(dim=1536, ffn_dim=8960,  num_heads=12, num_layers=30, text_dim=4096),
    "wan_14b":  DiTConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40, text_dim=4096),
}
# fmt: on
"""`tiny` is for tests, `shapes` for the embedded world; the Wan rows are the published text-to-video sizes."""
