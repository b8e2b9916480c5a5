"""Pure maps of parameter names: wrappers off, which network of a training state, original <-> diffusers.

The transformer's own map lies with the model, in `models/weights.py`; here are the autoencoder's and the text
encoder's, and what training code puts around names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from fewstep.models.weights import WeightsError, original_name

Weights = Literal["auto", "ema", "live", "critic"]
"""Which network of a training state: the running average, the live generator, whichever of the two is there with the
average first, or the fake score (which this lineage calls critic)."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "ema": ("generator_ema",),
    "live": ("generator", ""),
    "critic": ("critic",),
}
"""Top-level names of the lineage's training states; "" is a file that holds one network and no more."""
OTHER_GROUPS = ("generator_lora", "critic_lora", "optimizer", "generator_optimizer", "critic_optimizer")
"""Top-level names that are no network."""

WRAPPERS = ("module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod")
"""Segments that data parallelism, sharding, checkpointing and compilation leave anywhere in a name."""
HOLDERS = ("model", "diffusion_model", "transformer")
"""Segments that a holder of the network (Self Forcing's wrapper, ComfyUI, diffusers' pipelines) puts in front."""
HEADS = ("_cls_pred_branch", "_register_tokens", "_gan_ca_blocks")
"""Discriminator heads that Self Forcing's code, and what grew from it, hangs on the fake score."""


@dataclass(frozen=True)
class Selection:
    """One network of a checkpoint."""

    group: str
    """The top-level name that it was found under; "" where there is none."""
    names: Mapping[str, str]
    """Wan's name of each tensor -> its name in the file."""
    heads: Mapping[str, str]
    """The same of the discriminator heads that came with it."""


def plain(name: str) -> str:
    """The name without wrappers, group and holders, still in its own dialect (Wan's or diffusers')."""
    return split(name)[1]


def split(name: str) -> tuple[str, str]:
    """The group of a name, "" for none, and the name without wrappers, group and holders."""
    segments = [segment for segment in name.split(".") if segment not in WRAPPERS]
    group = ""
    if segments[0] in (*GROUPS["ema"], *GROUPS["live"], *GROUPS["critic"], *OTHER_GROUPS):
        group, *segments = segments
    while segments and segments[0] in HOLDERS:
        segments = segments[1:]
    return group, ".".join(segments)


def groups_of(names: Iterable[str]) -> tuple[str, ...]:
    """The top-level groups among the names, in their order."""
    return tuple(dict.fromkeys(split(name)[0] for name in names))


def select(names: Iterable[str], weights: Weights = "auto", *, where: str = "the file") -> Selection:
    """The transformer that `weights` asks for, under Wan's names.

    Raises WeightsError when the file has none such, or has one tensor under two names.
    """
    names = list(names)
    found = groups_of(names)
    wanted = (*GROUPS["ema"], *GROUPS["live"]) if weights == "auto" else GROUPS[weights]
    group = next((each for each in wanted if each in found), None)
    if group is None:
        there = ", ".join(each or "a single network" for each in found) or "nothing"
        choices = [choice for choice, groups in GROUPS.items() if set(groups) & set(found)]
        advice = f"ask for {' or '.join(choices)}" if choices else "give a file with a generator"
        raise WeightsError(f"{where} holds no '{weights}' weights, but {there}: {advice}")
    taken: dict[str, str] = {}
    heads: dict[str, str] = {}
    for name in names:
        own, rest = split(name)
        if own != group:
            continue
        is_head = any(segment in HEADS for segment in rest.split("."))
        target, new = (heads, rest) if is_head else (taken, original_name(rest))
        if new in target:
            raise WeightsError(f"{where} holds {new} twice, as {target[new]} and as {name}: use the original file")
        target[new] = name
    return Selection(group, taken, heads)


# the autoencoder: '#' is a number; the first line that fits the start of a name wins
_VAE_PLACES: tuple[tuple[str, str], ...] = (
    ("conv1.", "quant_conv."),
    ("conv2.", "post_quant_conv."),
    ("encoder.conv1.", "encoder.conv_in."),
    ("decoder.conv1.", "decoder.conv_in."),
    ("encoder.downsamples.#.", "encoder.down_blocks.#."),
    ("encoder.middle.0.", "encoder.mid_block.resnets.0."),
    ("encoder.middle.1.", "encoder.mid_block.attentions.0."),
    ("encoder.middle.2.", "encoder.mid_block.resnets.1."),
    ("decoder.middle.0.", "decoder.mid_block.resnets.0."),
    ("decoder.middle.1.", "decoder.mid_block.attentions.0."),
    ("decoder.middle.2.", "decoder.mid_block.resnets.1."),
    ("encoder.head.0.", "encoder.norm_out."),
    ("encoder.head.2.", "encoder.conv_out."),
    ("decoder.head.0.", "decoder.norm_out."),
    ("decoder.head.2.", "decoder.conv_out."),
)
_VAE_LAYERS: tuple[tuple[str, str], ...] = (
    ("residual.0.", "norm1."),
    ("residual.2.", "conv1."),
    ("residual.3.", "norm2."),
    ("residual.6.", "conv2."),
    ("shortcut.", "conv_shortcut."),
)
_T5: tuple[tuple[str, str], ...] = (
    ("token_embedding.", "shared."),
    ("norm.", "encoder.final_layer_norm."),
    ("blocks.#.pos_embedding.embedding.", "encoder.block.#.layer.0.SelfAttention.relative_attention_bias."),
    ("blocks.#.norm1.", "encoder.block.#.layer.0.layer_norm."),
    ("blocks.#.attn.", "encoder.block.#.layer.0.SelfAttention."),
    ("blocks.#.norm2.", "encoder.block.#.layer.1.layer_norm."),
    ("blocks.#.ffn.gate.0.", "encoder.block.#.layer.1.DenseReluDense.wi_0."),
    ("blocks.#.ffn.fc1.", "encoder.block.#.layer.1.DenseReluDense.wi_1."),
    ("blocks.#.ffn.fc2.", "encoder.block.#.layer.1.DenseReluDense.wo."),
)


def vae_to_diffusers(name: str, res_blocks: int = 2) -> str:
    """Wan's name of an autoencoder's parameter to that of diffusers' AutoencoderKLWan (with its `num_res_blocks`).

    Wan numbers the decoder's layers through; diffusers groups them by resolution: `res_blocks` + 1 residual blocks and,
    but for the last, an upsampler.
    """
    if match := re.match(r"decoder\.upsamples\.(\d+)\.", name):
        level, place = divmod(int(match[1]), res_blocks + 2)
        inner = "upsamplers.0" if place == res_blocks + 1 else f"resnets.{place}"
        start, rest = f"decoder.up_blocks.{level}.{inner}.", name[match.end() :]
    else:
        start, rest = _swap(name, _VAE_PLACES, 0)
    return start + "".join(_swap(rest, _VAE_LAYERS, 0)) if start else name


def vae_to_original(name: str, res_blocks: int = 2) -> str:
    """The inverse of `vae_to_diffusers`."""
    if match := re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.", name):
        place = res_blocks + 1 if match[2] == "upsamplers" else int(match[3])
        start, rest = f"decoder.upsamples.{int(match[1]) * (res_blocks + 2) + place}.", name[match.end() :]
    else:
        start, rest = _swap(name, _VAE_PLACES, 1)
    return start + "".join(_swap(rest, _VAE_LAYERS, 1)) if start else name


def t5_to_transformers(name: str) -> str:
    """Wan's name of a UMT5 encoder's parameter to that of transformers' UMT5EncoderModel."""
    return "".join(_swap(name, _T5, 0))


def t5_to_original(name: str) -> str:
    """The inverse of `t5_to_transformers`."""
    return "".join(_swap(name, _T5, 1))


def _swap(name: str, table: tuple[tuple[str, str], ...], side: Literal[0, 1]) -> tuple[str, str]:
    """The start of a name in the other dialect, and the rest of it; ("", name) where no line of the table fits."""
    for pair in table:
        old, new = pair[side], pair[1 - side]
        if match := re.match(re.escape(old).replace(r"\#", r"(\d+)"), name):
            for number in match.groups():
                new = new.replace("#", number, 1)
            return new, name[match.end() :]
    return "", name
