"""One toy model with random weights, in each layout that the published ones come in, written by those who own it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fewstep.checkpoints.keys import t5_to_original, vae_to_original
from fewstep.models.dit import DiTConfig
from fewstep.models.shards import save_shards
from fewstep.models.text import build_tokenizer
from fewstep.models.weights import WEIGHTS, original_name

CFG = DiTConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=2, text_dim=32, freq_dim=32)
"""The toy transformer, as its configs tell it."""
VAE = {"base_dim": 8, "dim_mult": [1, 1, 2, 2], "num_res_blocks": 1}
WORDS = ["a red ball moves", "a blue square moves"]


@pytest.fixture(scope="session")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-to-video model as on the hub: diffusers' own pipeline, saved by diffusers."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    words = build_tokenizer(WORDS * 2, text_len=512)
    tokens = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    text = UMT5EncoderModel(UMT5Config(d_model=32, num_layers=2, num_heads=2, d_kv=16, d_ff=64, **tokens))
    net = WanTransformer3DModel(
        num_attention_heads=CFG.num_heads,
        attention_head_dim=CFG.head_dim,
        text_dim=CFG.text_dim,
        freq_dim=CFG.freq_dim,
        ffn_dim=CFG.ffn_dim,
        num_layers=CFG.num_layers,
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)  # the prompt must show in the pixels
    vae = AutoencoderKLWan(**VAE)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    folder = tmp_path_factory.mktemp("hub") / "Toy-T2V-Diffusers"
    parts = {"tokenizer": words, "text_encoder": text.eval(), "vae": vae.eval(), "transformer": net.eval()}
    WanPipeline(**parts, scheduler=scheduler).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def state(hub_folder: Path) -> dict[str, Tensor]:
    """The toy transformer's tensors under Wan's names."""
    from safetensors.torch import load_file

    found = load_file(hub_folder / "transformer" / "diffusion_pytorch_model.safetensors")
    return {original_name(name): tensor for name, tensor in found.items()}


@pytest.fixture(scope="session")
def wan_folder(hub_folder: Path, state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as one of Wan's own folders, with the transformer in shards."""
    from diffusers import AutoencoderKLWan
    from transformers import AutoTokenizer, UMT5EncoderModel

    folder = tmp_path_factory.mktemp("wan") / "Toy-T2V"
    folder.mkdir()
    config = {"_class_name": "WanModel", "model_type": "t2v", "dim": CFG.dim, "ffn_dim": CFG.ffn_dim, "eps": CFG.eps}
    config |= {"freq_dim": CFG.freq_dim, "in_dim": 16, "out_dim": 16, "text_len": 512, "text_dim": CFG.text_dim}
    config |= {"num_heads": CFG.num_heads, "num_layers": CFG.num_layers}
    (folder / "config.json").write_text(json.dumps(config))
    save_shards(state, folder, WEIGHTS, limit=sum(tensor.nbytes for tensor in state.values()) // 2)
    vae = AutoencoderKLWan.from_pretrained(hub_folder / "vae").state_dict()
    torch.save({vae_to_original(name, 1): tensor for name, tensor in vae.items()}, folder / "Wan2.1_VAE.pth")
    text = UMT5EncoderModel.from_pretrained(hub_folder / "text_encoder").state_dict()
    text.pop("encoder.embed_tokens.weight", None)
    weights = {t5_to_original(name): tensor for name, tensor in text.items()}
    torch.save(weights, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    AutoTokenizer.from_pretrained(hub_folder / "tokenizer").save_pretrained(folder / "google" / "umt5-xxl")
    return folder
