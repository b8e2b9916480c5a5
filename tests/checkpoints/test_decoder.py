"""A small decoder from the user's file, in the autoencoder's place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fewstep.checkpoints.decoder import open_decoder
from fewstep.models.taehv import TinyDecoder
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import WeightsError


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    vae = VideoVAE.from_preset("tiny")
    vae.set_latent_stats(torch.linspace(-1, 1, 16), torch.linspace(0.5, 2, 16))
    return vae


@pytest.fixture(scope="module")
def trained() -> TinyDecoder:
    torch.manual_seed(0)
    return TinyDecoder((8, 6, 4, 4)).eval().requires_grad_(False)


LATENTS = torch.randn(1, 2, 16, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["taew2_1.pth", "taew2_1.safetensors"])
def test_the_published_formats_open_with_latents_as_they_are(vae, trained, tmp_path: Path, name: str):
    path = tmp_path / name
    (torch.save if path.suffix == ".pth" else save_file)(trained.state_dict(), path)
    model = open_decoder(path, like=vae)
    assert torch.equal(model.decode(LATENTS), trained.decode(LATENTS))
    assert open_decoder(path, like=vae, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_lighttae_gets_latents_as_the_autoencoder_has_them(vae, trained, tmp_path: Path):
    path = tmp_path / "lighttaew2_1.safetensors"
    save_file(trained.state_dict(), path)
    shift, scale = vae.latent_stats()
    expected = trained.decode(LATENTS * scale + shift)
    torch.testing.assert_close(open_decoder(path, like=vae).decode(LATENTS), expected, atol=1e-6, rtol=0)


def test_other_files_and_other_latents_are_refused(vae, tmp_path: Path):
    path = tmp_path / "taew2_2.safetensors"
    save_file(TinyDecoder((8, 6, 4, 4), channels=48).state_dict(), path)
    with pytest.raises(ValueError, match="reads latents of 48 channels, the model's have 16"):
        open_decoder(path, like=vae)
    save_file({"blocks.0.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="must hold a TAEHV decoder"):
        open_decoder(path, like=vae)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsError):
        open_decoder(path, like=vae)
