"""LoRA files of every dialect mean the same change; what is no LoRA is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fewstep.checkpoints.lora import attach, merge
from fewstep.checkpoints.lora_file import parse_lora, read_lora
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.weights import WeightsError, to_diffusers

LAYERS = (
    *(f"blocks.{i}.{attn}.{leaf}" for i in (0, 1) for attn in ("self_attn", "cross_attn") for leaf in "qkvo"),
    *(f"blocks.{i}.ffn.{leaf}" for i in (0, 1) for leaf in (0, 2)),
    "text_embedding.0",
    "time_embedding.2",
    "time_projection.1",
    "head.head",
)
RANK = 4


def theirs(layer):
    """diffusers' name of a layer."""
    (name,) = to_diffusers({f"{layer}.weight": torch.empty(0)})
    return name.removesuffix(".weight")


@pytest.fixture
def pairs(tiny_net):
    """Layer -> down, up; scale 1."""
    torch.manual_seed(3)
    shapes = {layer: tiny_net.get_parameter(f"{layer}.weight").shape for layer in LAYERS}
    return {layer: (0.2 * torch.randn(RANK, i), 0.2 * torch.randn(o, RANK)) for layer, (o, i) in shapes.items()}


def dialect(pairs, form, *, side=("lora_A", "lora_B"), alpha=None):
    """Keys and tensors: `form` makes a key's start from a layer; with an alpha the pair is smaller in proportion."""
    state = {}
    for layer, (down, up) in pairs.items():
        scale = 1 if alpha is None else alpha / RANK
        state |= {f"{form(layer)}.{side[0]}.weight": down, f"{form(layer)}.{side[1]}.weight": up / scale}
        if alpha is not None:
            state[f"{form(layer)}.alpha"] = torch.tensor(float(alpha))
    return state


DIALECTS = {
    "diffusers": lambda pairs: dialect(pairs, lambda layer: f"transformer.{theirs(layer)}"),
    "diffusers without prefix": lambda pairs: dialect(pairs, theirs),
    "peft": lambda pairs: dialect(pairs, lambda layer: f"base_model.model.{theirs(layer)}"),
    "peft with adapter name": lambda pairs: dialect(
        pairs, lambda layer: f"base_model.model.{layer}", side=("lora_A.default", "lora_B.default")
    ),
    "comfy": lambda pairs: dialect(
        pairs, lambda layer: f"diffusion_model.{layer}", side=("lora_down", "lora_up"), alpha=1
    ),
    "comfy with peft's names": lambda pairs: dialect(pairs, lambda layer: f"diffusion_model.{layer}"),
    "kohya": lambda pairs: dialect(
        pairs, lambda layer: f"lora_unet_{layer.replace('.', '_')}", side=("lora_down", "lora_up"), alpha=8
    ),
    "kohya with diffusers' names": lambda pairs: dialect(
        pairs, lambda layer: f"lora_unet_{theirs(layer).replace('.', '_')}", side=("lora_down", "lora_up"), alpha=2
    ),
}


def check(lora, pairs):
    assert lora.low_rank.keys() == {f"{layer}.weight" for layer in pairs}
    assert not lora.added
    assert lora.rank == RANK
    for layer, (down, up) in pairs.items():
        pair = lora.low_rank[f"{layer}.weight"]
        torch.testing.assert_close(pair.scale * pair.up @ pair.down, up @ down)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_says_the_same(name, pairs, tmp_path):
    state = DIALECTS[name](pairs)
    save_file(state, tmp_path / "a.safetensors")
    check(read_lora(tmp_path / "a.safetensors"), pairs)
    torch.save(state, tmp_path / "a.pt")
    check(read_lora(tmp_path / "a.pt"), pairs)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_layer_of_the_largest_size_is_known_in_every_dialect(name, tmp_path):
    with torch.device("meta"):
        net = VideoDiT(PRESETS["wan_14b"])
    layers = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    state = DIALECTS[name]({layer: (torch.zeros(RANK, 1), torch.zeros(1, RANK)) for layer in layers})
    save_file(state, tmp_path / "a.safetensors")
    assert read_lora(tmp_path / "a.safetensors").low_rank.keys() == {f"{layer}.weight" for layer in layers}


def test_longlive_state_gives_the_students_part(pairs, tmp_path):
    inner = "_fsdp_wrapped_module._checkpoint_wrapped_module."
    wrapped = dialect(pairs, lambda layer: f"base_model.model.{layer.replace('blocks.0.', f'blocks.0.{inner}')}")
    critic = {name: torch.zeros_like(tensor) for name, tensor in wrapped.items()}
    torch.save({"generator_lora": wrapped, "critic_lora": critic, "step": 700}, tmp_path / "lora.pt")
    check(read_lora(tmp_path / "lora.pt"), pairs)


def test_differences_reach_biases_norms_and_modulation(tiny_net, tmp_path):
    state = {
        "diffusion_model.blocks.0.self_attn.q.diff_b": torch.randn(32),
        "diffusion_model.blocks.0.norm3.diff": torch.randn(32),
        "diffusion_model.blocks.0.norm3.diff_b": torch.randn(32),
        "diffusion_model.blocks.1.self_attn.norm_k.diff": torch.randn(32),
        "diffusion_model.blocks.1.diff_m": torch.randn(1, 6, 32),
        "diffusion_model.head.diff_m": torch.randn(1, 2, 32),
        "diffusion_model.head.head.diff": torch.randn(64, 32),
        "diffusion_model.patch_embedding.diff": torch.randn(32, 16, 1, 2, 2),
    }
    save_file(state, tmp_path / "a.safetensors")
    lora, before = read_lora(tmp_path / "a.safetensors"), dict(tiny_net.state_dict())
    before = {name: tensor.clone() for name, tensor in before.items()}
    merge(tiny_net, [(lora, 0.5)])
    changed = {name: tensor - before[name] for name, tensor in tiny_net.state_dict().items()}
    expected = {
        "blocks.0.self_attn.q.bias": "blocks.0.self_attn.q.diff_b",
        "blocks.0.norm3.weight": "blocks.0.norm3.diff",
        "blocks.0.norm3.bias": "blocks.0.norm3.diff_b",
        "blocks.1.self_attn.norm_k.weight": "blocks.1.self_attn.norm_k.diff",
        "blocks.1.modulation": "blocks.1.diff_m",
        "head.modulation": "head.diff_m",
        "head.head.weight": "head.head.diff",
        "patch_embedding.weight": "patch_embedding.diff",
    }
    assert {name for name, tensor in changed.items() if tensor.any()} == expected.keys()
    for name, key in expected.items():
        torch.testing.assert_close(changed[name], 0.5 * state[f"diffusion_model.{key}"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "layer", "scale"),
    [
        ({"r": RANK, "lora_alpha": 8}, "blocks.0.ffn.0", 2.0),
        ({"r": RANK, "lora_alpha": 8, "use_rslora": True}, "blocks.0.ffn.0", 4.0),
        ({"r": RANK, "lora_alpha": 8, "alpha_pattern": {"blocks.1.attn1.to_q": 2}}, "blocks.1.self_attn.q", 0.5),
        ({"r": RANK, "lora_alpha": 8, "alpha_pattern": {"to_q": 2}}, "blocks.0.ffn.0", 2.0),
    ],
)
def test_pefts_settings_are_heeded_beside_the_file_and_in_its_header(settings, layer, scale, pairs, tmp_path):
    state = DIALECTS["diffusers"](pairs)
    save_file(state, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert read_lora(tmp_path).low_rank[f"{layer}.weight"].scale == scale
    header = {"lora_adapter_metadata": json.dumps({f"transformer.{name}": value for name, value in settings.items()})}
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    save_file(state, alone / "a.safetensors", header)
    assert read_lora(alone / "a.safetensors").low_rank[f"{layer}.weight"].scale == scale


@pytest.mark.parametrize(
    ("strange", "named"),
    [
        ("blocks.0.self_attn.q.dora_scale", r"1 of another kind: blocks\.0\.self_attn\.q\.dora_scale"),
        ("diffusion_model.blocks.0.self_attn.q.lokr_w1", r"1 of another kind: .*lokr_w1"),
        ("transformer.blocks.0.attn1.to_q.lora_A.other.weight", "1 for the same part of a layer as another: transf"),
    ],
)
def test_keys_that_are_no_lora_are_named(strange, named, pairs, tmp_path):
    save_file(DIALECTS["diffusers"](pairs) | {strange: torch.zeros(RANK, RANK)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=named):
        read_lora(tmp_path / "a.safetensors")


def test_one_layer_under_two_names_is_refused(pairs, tmp_path):
    both = DIALECTS["diffusers"](pairs) | DIALECTS["comfy"](pairs)
    save_file({name: tensor.clone() for name, tensor in both.items()}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"changes blocks\S+ twice, by diffusion_model\.\S+ and transformer\."):
        read_lora(tmp_path / "a.safetensors")


def test_a_half_pair_and_unequal_ranks_are_named(pairs, tmp_path):
    state = DIALECTS["comfy"](pairs)
    key = "diffusion_model.blocks.1.ffn.0.lora_up.weight"
    save_file({name: tensor for name, tensor in state.items() if name != key}, tmp_path / "half.safetensors")
    with pytest.raises(WeightsError, match=r"other half of the pair: .*blocks\.1\.ffn\.0\.lora_down\.weight"):
        read_lora(tmp_path / "half.safetensors")
    save_file(state | {key: torch.zeros(64, RANK + 1)}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=r"blocks\.1\.ffn\.0\.lora_up\.weight must share their rank, got 4 and 5"):
        read_lora(tmp_path / "odd.safetensors")


def test_layers_of_an_image_to_video_wan_are_refused_by_name(tiny_net, pairs, tmp_path):
    strange = "lora_unet_blocks_0_cross_attn_k_img"
    state = DIALECTS["kohya"](pairs) | {
        f"{strange}.lora_down.weight": torch.zeros(RANK, 32),
        f"{strange}.lora_up.weight": torch.zeros(32, RANK),
    }
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=f"layers that it has not: {strange}.lora_down.weight"):
        merge(tiny_net, [(read_lora(tmp_path / "a.safetensors"), 1.0)])


def test_scale_is_read_from_the_end_of_the_argument(tmp_path):
    assert parse_lora("a.safetensors") == (Path("a.safetensors"), 1.0)
    assert parse_lora("dir/a.safetensors:0.75") == (Path("dir/a.safetensors"), 0.75)
    assert parse_lora("C:\\loras\\a.safetensors") == (Path("C:\\loras\\a.safetensors"), 1.0)
    (tmp_path / "a:1").touch()
    assert parse_lora(f"{tmp_path}/a:1") == (tmp_path / "a:1", 1.0)
    for wrong in ("a.safetensors:", "a.safetensors:strong", "a.safetensors:nan"):
        with pytest.raises(ValueError, match="FILE:SCALE"):
            parse_lora(wrong)


@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # peft takes the biases of a LoRA for cut-off matrices
@torch.no_grad()
def test_a_lora_that_diffusers_saved_gives_diffusers_outputs(tiny_net, tmp_path):
    peft = pytest.importorskip("peft")
    from diffusers import WanPipeline, WanTransformer3DModel
    from peft.utils import get_peft_model_state_dict

    cfg = tiny_net.cfg
    net = WanTransformer3DModel(
        num_attention_heads=cfg.num_heads,
        attention_head_dim=cfg.head_dim,
        text_dim=cfg.text_dim,
        freq_dim=cfg.freq_dim,
        ffn_dim=cfg.ffn_dim,
        num_layers=cfg.num_layers,
    ).eval()
    net.load_state_dict(to_diffusers(tiny_net.state_dict()))
    targets = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "time_proj", "proj_out"]
    net.add_adapter(
        peft.LoraConfig(r=RANK, lora_alpha=6, target_modules=targets, alpha_pattern={"to_q": 3}, lora_bias=True)
    )
    torch.manual_seed(5)
    for name, parameter in net.named_parameters():
        if "lora_" in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    metadata = net.peft_config["default"].to_dict()
    WanPipeline.save_lora_weights(tmp_path, get_peft_model_state_dict(net), transformer_lora_adapter_metadata=metadata)
    x, text, sigma = torch.randn(1, 3, 16, 4, 4), torch.randn(1, 8, 32), torch.tensor([0.7])
    expected = net(x.transpose(1, 2), 1000 * sigma, text, return_dict=False)[0].transpose(1, 2)

    (file,) = tmp_path.glob("*.safetensors")
    assert any("lora_B.bias" in key for key in load_file(file))
    lora, plain = read_lora(file), tiny_net(x, sigma.expand(1, 3), text)
    attached = attach(tiny_net, [(lora, 1.0)])
    beside = tiny_net(x, sigma.expand(1, 3), text)
    attached.remove()
    merge(tiny_net, [(lora, 1.0)])
    merged = tiny_net(x, sigma.expand(1, 3), text)
    for ours in (beside, merged):
        assert (ours - expected).norm() < 1e-5 * expected.norm()
    assert (plain - expected).norm() > 0.1 * expected.norm()
