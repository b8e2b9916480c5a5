"""Weights to their place: every format of the same network is the same network, and every key is accounted for."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewstep.checkpoints.open import open_text_encoder, open_transformer, open_vae
from fewstep.checkpoints.tensors import TensorSource, open_tensors
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS
from fewstep.models.weights import WeightsError, diffusers_name, fill


@pytest.fixture
def tiny(tiny_net: VideoDiT) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tiny_net.state_dict().items()}


def write(path: Path, value: Mapping) -> Path:
    if path.suffix == ".safetensors":
        save_file(dict(value), path)
    else:
        torch.save(value, path)
    return path


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


FSDP = "model._fsdp_wrapped_module."
FORMATS = {
    "self_forcing.pt": lambda s: {"generator": under(FSDP, s), "critic": under("model.", s)},
    "self_forcing_ema.pt": lambda s: {"generator": under("model.", s), "generator_ema": under(FSDP, s)},
    "causvid.pt": lambda s: {"generator": under(FSDP, s), "critic": under(FSDP, s)},
    "causal_forcing.pt": lambda s: {"generator_ema": under("model.", s)},
    "one_forcing.pt": lambda s: {"generator": under("model.", s), "generator_ema": under("model.", s), "step": 200},
    "longlive_base.pt": lambda s: {"generator": under("model._orig_mod.", s)},
    "wrapped.ckpt": lambda s: {"model": under("model.", s)},
    "bare.pth": dict,
    "krea.safetensors": dict,
    "comfy.safetensors": lambda s: under("model.diffusion_model.", s),
    "diffusers.safetensors": lambda s: {diffusers_name(name): tensor for name, tensor in s.items()},
    "generator.safetensors": lambda s: under("generator.model._checkpoint_wrapped_module.", s),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_lineage_loads_bit_for_bit(tiny: dict[str, Tensor], tmp_path: Path, name: str):
    net = open_transformer(write(tmp_path / name, FORMATS[name](tiny)))
    assert net.cfg == PRESETS["tiny"].__class__(**{**PRESETS["tiny"].__dict__, "text_len": 512})
    assert all(torch.equal(tensor, tiny[key]) for key, tensor in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not net.training


@pytest.mark.parametrize("name", FORMATS)
def test_a_key_that_is_missing_new_or_reshaped_is_named_in_every_format(
    tiny: dict[str, Tensor], tmp_path: Path, name: str
):
    del tiny["head.head.bias"]
    tiny["blocks.0.extra.weight"] = torch.zeros(1)
    tiny["blocks.1.self_attn.q.weight"] = torch.zeros(3, 3)
    path = write(tmp_path / name, FORMATS[name](tiny))
    with pytest.raises(WeightsError) as error:
        open_transformer(path, cfg=PRESETS["tiny"])
    for words in (
        "1 missing: head.head.bias",
        "1 unexpected: blocks.0.extra.weight",
        "1 reshaped: blocks.1.self_attn.q.weight (need [32, 32], found [3, 3])",
        str(path),
    ):
        assert words in str(error.value)


def test_folders_of_every_layout_hold_the_same_network(
    hub_folder: Path, wan_folder: Path, state: dict[str, Tensor], tmp_path: Path
):
    for folder in (hub_folder, hub_folder / "transformer", wan_folder):
        net = open_transformer(folder)
        assert net.cfg.num_heads == 2
        assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_the_autoencoder_and_the_text_encoder_of_both_layouts_are_the_same(hub_folder: Path, wan_folder: Path):
    for opened in (open_vae, open_text_encoder):
        ours, theirs = (opened(folder).state_dict() for folder in (wan_folder, hub_folder))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    text = open_text_encoder(wan_folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in text.parameters()} == {torch.bfloat16}
    assert text.model.shared.weight is text.model.encoder.embed_tokens.weight
    assert open_vae(wan_folder / "Wan2.1_VAE.pth", dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("part", ["Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"])
def test_wans_own_files_are_accounted_for_too(wan_folder: Path, tmp_path: Path, part: str):
    state = torch.load(wan_folder / part)
    gone = next(name for name in state if name.endswith("norm1.weight") or name == "decoder.conv1.bias")
    del state[gone]
    path = write(tmp_path / part, {**state, "stray": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"1 missing: .*; 1 unexpected: stray"):
        open_vae(path) if "VAE" in part else open_text_encoder(path, tokenizer=wan_folder / "google" / "umt5-xxl")


def test_files_of_another_network_are_refused(hub_folder: Path, tiny: dict[str, Tensor], tmp_path: Path):
    path = write(tmp_path / "x.pt", tiny)
    with pytest.raises(WeightsError, match="does not hold a Wan transformer"):
        open_transformer(hub_folder / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsError, match="does not hold Wan's autoencoder"):
        open_vae(path)
    with pytest.raises(WeightsError, match="does not hold a UMT5 encoder"):
        open_text_encoder(path, tokenizer=hub_folder / "tokenizer")


def test_heads_of_a_fake_score_stay_in_the_file_and_are_reported(tiny: dict[str, Tensor], tmp_path: Path):
    heads = {"_cls_pred_branch.0.weight": torch.zeros(2), "_gan_ca_blocks.0.q.weight": torch.zeros(2)}
    path = write(tmp_path / "x.pt", {"generator": tiny, "critic": {**under("model.", tiny), **heads}})
    with pytest.warns(UserWarning, match=r"2 tensors of its discriminator head \(_cls_pred_branch, _gan_ca_blocks\)"):
        net = open_transformer(path, weights="critic")
    assert net.state_dict().keys() == tiny.keys()


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_the_number_format_is_chosen_on_the_way(tiny: dict[str, Tensor], tmp_path: Path, stored: torch.dtype):
    kept = {name: tensor.to(stored) for name, tensor in tiny.items()}
    path = write(tmp_path / "x.safetensors", kept)
    assert {parameter.dtype for parameter in open_transformer(path).parameters()} == {stored}
    net = open_transformer(path, dtype=torch.float32)
    assert all(torch.equal(tensor, kept[name].float()) for name, tensor in net.state_dict().items())


def test_weights_do_not_hang_on_the_file(tiny: dict[str, Tensor], tmp_path: Path):
    path = write(tmp_path / "x.safetensors", tiny)
    net = open_transformer(path)
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.write(b"\x00" * len(whole))
    assert torch.equal(net.state_dict()["head.head.bias"], tiny["head.head.bias"])


class Watched(Mapping[str, Tensor]):
    """Tensors that note how many of them were alive at once."""

    def __init__(self, source: TensorSource):
        self.source, self.alive, self.most = source, 0, 0

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.source[name]
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(tensor, self._gone)
        return tensor

    def _gone(self) -> None:
        self.alive -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)


def test_one_tensor_of_the_file_is_alive_at_a_time(tiny: dict[str, Tensor], tmp_path: Path):
    watched = Watched(open_tensors(write(tmp_path / "x.safetensors", tiny)))
    with torch.device("meta"):
        net = VideoDiT(PRESETS["tiny"])
    fill(net, watched)
    assert (watched.most, watched.alive) == (1, 0)


def test_nothing_is_initialised_that_weights_replace(tiny: dict[str, Tensor], tmp_path: Path):
    before = torch.random.get_rng_state()
    open_transformer(write(tmp_path / "x.safetensors", tiny))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_diffusers_loads_what_it_wrote_into_the_same_outputs(hub_folder: Path):
    from diffusers import WanTransformer3DModel

    ours, theirs = open_transformer(hub_folder), WanTransformer3DModel.from_pretrained(hub_folder / "transformer")
    x, text, sigma = torch.randn(2, 3, 16, 4, 6), torch.randn(2, 512, 32), torch.tensor([0.8333, 0.25])
    with torch.no_grad():
        expected = theirs(x.transpose(1, 2), 1000 * sigma, text, return_dict=False)[0].transpose(1, 2)
        assert (ours(x, sigma[:, None].expand(2, 3), text) - expected).abs().max() < 1e-5
    assert load_file(hub_folder / "transformer" / "diffusion_pytorch_model.safetensors").keys() == set(
        theirs.state_dict()
    )
