"""Model sizes, one line each; and the one prompt that comes with Wan."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

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

NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
    "背景人很多，倒着走"
)
"""Wan's own: oversaturated, overexposed, static, blurred, subtitled, deformed, cluttered, walking backwards."""


def preset_of(cfg: DiTConfig, *, heads: bool = True) -> str | None:
    """The preset of this shape, whatever its `text_len`; without `heads`, whatever their number too."""
    ignored = {"text_len"} if heads else {"text_len", "num_heads"}

    def facts(shape: DiTConfig) -> dict[str, Any]:
        return {name: value for name, value in asdict(shape).items() if name not in ignored}

    return next((name for name, preset in PRESETS.items() if facts(preset) == facts(cfg)), None)
