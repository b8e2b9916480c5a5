"""Two whole model folders at toy size, with random weights, for everything that starts from a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fewstep.diffusion.steps import shifted_levels
from fewstep.models.checkpoint_dir import Passport, save_model
from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.text import TextEncoder, build_tokenizer
from fewstep.models.vae import VideoVAE

CLIP = {"latent_frames": 9, "height": 32, "width": 48, "fps": 16.0}


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with four levels and chunks of three."""
    folder = tmp_path_factory.mktemp("models") / "student"
    return _save(folder, Passport(name="toy-student", kind="student", levels=shifted_levels(), **CLIP))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with guidance."""
    folder = tmp_path_factory.mktemp("models") / "teacher"
    return _save(folder, Passport(name="toy-teacher", kind="teacher", guidance=3.0, shift=3.0, **CLIP))


def _save(folder: Path, passport: Passport) -> Path:
    torch.manual_seed(0)
    net = VideoDiT(DiTConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=2, text_dim=32, text_len=64, freq_dim=32))
    nn.init.normal_(net.head.head.weight, std=0.1)
    for block in net.blocks:
        # the prompt must show in the pixels
        nn.init.normal_(block.cross_attn.o.weight, std=1.0)
    words = build_tokenizer(["a red ball moves", "a blue square moves"] * 2, text_len=64)
    text = TextEncoder.from_preset("tiny", words)
    text.model.config.truncate_prompts = False
    return save_model(folder, passport, transformer=net, vae=VideoVAE.from_preset("tiny"), text_encoder=text)
