"""A text encoder is told from its files as from its module, whoever wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fewstep.checkpoints.keys import t5_to_original
from fewstep.checkpoints.texts import encoder_fingerprint
from fewstep.models.prompt_store import fingerprint_of
from fewstep.models.text import TextEncoder
from fewstep.models.weights import WeightsError


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder.from_preset("tiny")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_encoder_has_the_fingerprint_of_its_module(encoder, tmp_path: Path, dtype):
    encoder.save(tmp_path, dtype)
    assert encoder_fingerprint(tmp_path / "text_encoder") == fingerprint_of(encoder.model.state_dict())


def test_wans_own_file_has_the_same(encoder, tmp_path: Path):
    state = encoder.model.state_dict()
    state = {t5_to_original(name): tensor for name, tensor in state.items() if name != "encoder.embed_tokens.weight"}
    assert not set(state) & set(encoder.model.state_dict())
    torch.save(state, tmp_path / "models_t5_umt5-xxl-enc-bf16.pth")
    found = encoder_fingerprint(tmp_path / "models_t5_umt5-xxl-enc-bf16.pth")
    assert found == fingerprint_of(encoder.model.state_dict())


def test_where_there_are_no_weights_it_cannot_be_told(tmp_path: Path):
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "config.json").write_text("{}")
    assert encoder_fingerprint(tmp_path / "text_encoder") is None
    assert encoder_fingerprint(tmp_path / "nowhere") is None
    assert encoder_fingerprint(None) is None


def test_half_a_file_is_refused(encoder, tmp_path: Path):
    encoder.save(tmp_path)
    path = tmp_path / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="half a file"):
        encoder_fingerprint(tmp_path / "text_encoder")
