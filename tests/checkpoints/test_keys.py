"""Names: wrappers come off, one network is chosen, and the maps are complete for the published sizes, both ways."""

from __future__ import annotations

import pytest
import torch

from fewstep.checkpoints.keys import (
    HEADS,
    plain,
    select,
    t5_to_original,
    t5_to_transformers,
    vae_to_diffusers,
    vae_to_original,
)
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.weights import WeightsError, diffusers_name

NAMES = ("patch_embedding.weight", "blocks.0.self_attn.q.weight", "head.modulation")


@pytest.mark.parametrize(
    "wrapped",
    [
        "{}",
        "model.{}",
        "module.model.{}",
        "model._fsdp_wrapped_module.{}",
        "_orig_mod.model._fsdp_wrapped_module._checkpoint_wrapped_module.{}",
        "model.diffusion_model.{}",
        "diffusion_model.{}",
        "generator.model.{}",
        "generator_ema.model._fsdp_wrapped_module.{}",
        "generator_ema.{}",
    ],
)
def test_every_wrapper_comes_off(wrapped: str):
    names = [wrapped.format(name) for name in NAMES]
    assert select(names).names == dict(zip(NAMES, names, strict=True))


def test_wrappers_inside_a_name_come_off_and_words_like_them_stay():
    assert plain("model.blocks.0._checkpoint_wrapped_module._fsdp_wrapped_module.ffn.0.bias") == "blocks.0.ffn.0.bias"
    assert plain("modulation") == "modulation"
    assert plain("blocks.0.modulation") == "blocks.0.modulation"


STATE = ["generator.model.a", "generator_ema.model.a", "critic.model.a", "step.a", "optimizer.state.0.exp_avg"]


@pytest.mark.parametrize(
    ("weights", "group"),
    [("auto", "generator_ema"), ("ema", "generator_ema"), ("live", "generator"), ("critic", "critic")],
)
def test_one_network_of_a_training_state_is_chosen(weights, group: str):
    chosen = select(STATE, weights)
    assert chosen.group == group
    assert chosen.names == {"a": f"{group}.model.a"}


def test_a_network_that_is_not_there_is_an_error_that_says_which_are():
    with pytest.raises(WeightsError, match="holds no 'ema' weights, but a single network: ask for live"):
        select(["blocks.0.a"], "ema")
    with pytest.raises(WeightsError, match="holds no 'live' weights, but generator_ema: ask for ema"):
        select(["generator_ema.a"], "live")
    with pytest.raises(WeightsError, match="but optimizer: give a file with a generator"):
        select(["optimizer.a"])


def test_the_bare_network_is_live_and_found_by_default():
    assert select(["model.a"]).group == ""
    assert select(["model.a"], "live").names == {"a": "model.a"}


def test_heads_are_kept_apart():
    names = ["critic.model.a", "critic._cls_pred_branch.0.weight", "critic.model._gan_ca_blocks.1.q.bias"]
    chosen = select([*names, "critic._register_tokens"], "critic")
    assert list(chosen.names) == ["a"]
    assert {name.split(".")[0] for name in chosen.heads} == set(HEADS)


def test_one_tensor_under_two_names_is_refused():
    with pytest.raises(WeightsError, match=r"holds a twice, as model\.a and as a"):
        select(["model.a", "a"])


@pytest.mark.parametrize("prefix", ["", "generator_ema.model._fsdp_wrapped_module.", "model.diffusion_model."])
@pytest.mark.parametrize(("preset", "count"), [("wan_1_3b", 825), ("wan_14b", 1095)])
def test_full_size_transformers_are_complete_in_every_dialect(preset: str, count: int, prefix: str):
    with torch.device("meta"):
        ours = VideoDiT(PRESETS[preset]).state_dict()
    assert len(ours) == count
    for rename in (str, diffusers_name):
        chosen = select([prefix + rename(name) for name in ours])
        assert set(chosen.names) == set(ours)
        assert chosen.names["head.modulation"] == prefix + rename("head.modulation")


def residual(start: str, widens: bool) -> list[str]:
    layers = ["residual.0.gamma", "residual.3.gamma"]
    layers += [f"residual.{i}.{kind}" for i in (2, 6) for kind in ("weight", "bias")]
    return [f"{start}.{name}" for name in layers + ["shortcut.weight", "shortcut.bias"] * widens]


def convolution(*starts: str) -> list[str]:
    return [f"{start}.{kind}" for start in starts for kind in ("weight", "bias")]


def wan_vae_names() -> set[str]:
    """The names in Wan2.1_VAE.pth, from the layers that Wan's code builds."""
    names = convolution("conv1", "conv2")
    for side in ("encoder", "decoder"):
        names += [*convolution(f"{side}.conv1", f"{side}.head.2"), f"{side}.head.0.gamma"]
        names += [*residual(f"{side}.middle.0", False), *residual(f"{side}.middle.2", False)]
        names += [*convolution(f"{side}.middle.1.to_qkv", f"{side}.middle.1.proj"), f"{side}.middle.1.norm.gamma"]
    for i in (0, 1, 3, 4, 6, 7, 9, 10):
        names += residual(f"encoder.downsamples.{i}", i in (3, 6))
    for i in (0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14):
        names += residual(f"decoder.upsamples.{i}", i == 4)
    names += convolution(*(f"encoder.downsamples.{i}.resample.1" for i in (2, 5, 8)))
    names += convolution(*(f"decoder.upsamples.{i}.resample.1" for i in (3, 7, 11)))
    names += convolution(*(f"encoder.downsamples.{i}.time_conv" for i in (5, 8)))
    names += convolution(*(f"decoder.upsamples.{i}.time_conv" for i in (3, 7)))
    return set(names)


def test_the_autoencoders_map_is_complete_both_ways():
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        theirs = set(AutoencoderKLWan().state_dict())
    original = wan_vae_names()
    assert {vae_to_diffusers(name) for name in original} == theirs
    assert {vae_to_original(name) for name in theirs} == original
    assert len(original) == len(theirs) == 194
    assert all(vae_to_diffusers(name) == name for name in theirs)  # a file with diffusers' names is read too


def test_the_text_encoders_map_is_complete_both_ways():
    from transformers import UMT5Config, UMT5EncoderModel

    shape = {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64, "num_layers": 24}
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**shape))
    theirs = {name: tensor.shape for name, tensor in model.state_dict().items() if "embed_tokens" not in name}
    layers = ["norm1", "norm2", *(f"attn.{x}" for x in "qkvo"), "ffn.gate.0", "ffn.fc1", "ffn.fc2"]
    layers.append("pos_embedding.embedding")
    original = {f"blocks.{i}.{layer}.weight" for i in range(24) for layer in layers}
    original |= {"token_embedding.weight", "norm.weight"}
    assert {t5_to_transformers(name) for name in original} == set(theirs)
    assert {t5_to_original(name) for name in theirs} == original
    assert len(original) == 242
    assert theirs[t5_to_transformers("blocks.23.ffn.fc2.weight")] == (4096, 10240)
    assert theirs[t5_to_transformers("blocks.0.pos_embedding.embedding.weight")] == (32, 64)
