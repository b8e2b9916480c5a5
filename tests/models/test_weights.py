"""Weights: the key map is diffusers', the files are diffusers', and nothing is lost in silence."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from fewstep.checkpoints.open import open_transformer
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.weights import (
    CONFIG,
    WEIGHTS,
    WeightsError,
    original_name,
    save_transformer,
    to_diffusers,
)


def diffusers_net(cfg):
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        num_attention_heads=cfg.num_heads,
        attention_head_dim=cfg.head_dim,
        text_dim=cfg.text_dim,
        freq_dim=cfg.freq_dim,
        ffn_dim=cfg.ffn_dim,
        num_layers=cfg.num_layers,
    )


@pytest.mark.parametrize(("preset", "count"), [("wan_1_3b", 825), ("wan_14b", 1095)])
def test_wan_presets_have_the_tensors_of_diffusers(preset, count):
    with torch.device("meta"):
        ours, theirs = VideoDiT(PRESETS[preset]), diffusers_net(PRESETS[preset])
    mapped = to_diffusers(ours.state_dict())
    assert len(mapped) == count
    assert {k: v.shape for k, v in mapped.items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_key_map_round_trips(tiny_net):
    state = tiny_net.state_dict()
    assert {original_name(name) for name in to_diffusers(state)} == state.keys()


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.fixture
def pair(tiny_net):
    theirs = diffusers_net(tiny_net.cfg)
    theirs.load_state_dict(to_diffusers(tiny_net.state_dict()))
    return tiny_net, theirs.eval()


@torch.no_grad()
def test_velocity_equals_diffusers_at_one_timestep(pair):
    ours, theirs = pair
    x, text = torch.randn(2, 3, 16, 4, 6), torch.randn(2, 8, 32)
    sigma = torch.tensor([0.8333, 0.25])
    expected = theirs(x.transpose(1, 2), 1000 * sigma, text, return_dict=False)[0].transpose(1, 2)
    assert relative_error(ours(x, sigma[:, None].expand(2, 3), text), expected) < 1e-5


@torch.no_grad()
def test_velocity_equals_diffusers_at_one_timestep_per_frame(pair):
    ours, theirs = pair
    x, text, sigma = torch.randn(2, 3, 16, 4, 6), torch.randn(2, 8, 32), torch.rand(2, 3)
    per_token = (1000 * sigma).repeat_interleave(6, dim=1)
    expected = theirs(x.transpose(1, 2), per_token, text, return_dict=False)[0].transpose(1, 2)
    assert relative_error(ours(x, sigma, text), expected) < 1e-5


def test_saved_folder_is_read_by_diffusers_and_by_us(tiny_net, tmp_path):
    from diffusers import WanTransformer3DModel

    save_transformer(tiny_net, tmp_path)
    theirs, again = WanTransformer3DModel.from_pretrained(tmp_path), open_transformer(tmp_path)
    assert again.cfg == tiny_net.cfg
    for name, tensor in to_diffusers(tiny_net.state_dict()).items():
        assert torch.equal(theirs.state_dict()[name], tensor)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), tiny_net.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_storage_precision_is_chosen_on_saving_and_compute_precision_on_loading(tiny_net, tmp_path):
    save_transformer(tiny_net, tmp_path, dtype=torch.bfloat16)
    assert {t.dtype for t in open_transformer(tmp_path).parameters()} == {torch.bfloat16}
    assert {t.dtype for t in open_transformer(tmp_path, dtype=torch.float32).parameters()} == {torch.float32}
    assert {t.dtype for t in tiny_net.parameters()} == {torch.float32}


def test_every_misfit_tensor_is_named(tiny_net, tmp_path):
    save_transformer(tiny_net, tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    del state["proj_out.bias"]
    state["blocks.7.ffn.net.2.bias"] = torch.zeros(1)
    state["blocks.0.attn1.to_q.weight"] = torch.zeros(3, 3)
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(WeightsError) as error:
        open_transformer(tmp_path)
    for part in ("missing: head.head.bias", "unexpected: blocks.7.ffn.2.bias", "blocks.0.self_attn.q.weight (need"):
        assert part in str(error.value)


@pytest.mark.parametrize("damage", ["truncate weights", "remove weights", "garble config", "foreign config"])
def test_damaged_folder_says_what_is_wrong(tiny_net, tmp_path, damage):
    save_transformer(tiny_net, tmp_path)
    weights, config = tmp_path / WEIGHTS, tmp_path / CONFIG
    if damage == "truncate weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "remove weights":
        weights.unlink()
    elif damage == "garble config":
        config.write_text("{")
    else:
        config.write_text('{"_class_name": "FluxTransformer2DModel"}')
    with pytest.raises(WeightsError, match=str(tmp_path)):
        open_transformer(tmp_path)
