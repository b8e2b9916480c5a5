"""The autoencoder's loss and the statistics it leaves behind."""

from __future__ import annotations

import math

import pytest
import torch

from fewstep.diffusion.rng import Rng
from fewstep.methods.autoencoder import AutoencoderConfig, edge_loss, kl_divergence, measure_latent_stats, psnr
from fewstep.methods.base import Batch, Method
from fewstep.models.vae import VideoVAE


class Networks:
    def __init__(self):
        torch.manual_seed(0)
        self.vae = VideoVAE.from_preset("tiny")

    def autoencoder(self) -> VideoVAE:
        return self.vae


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_kl_of_a_standard_normal_is_zero_and_of_a_known_one_as_by_hand():
    zero = torch.zeros(2, 3)
    assert float(kl_divergence(zero, zero)) == 0
    # 0.5 (1 + e - 1 - 1) at mean 1, log-variance 1
    assert float(kl_divergence(zero + 1, zero + 1)) == pytest.approx((math.e - 1) / 2)


def test_edge_loss_ignores_brightness_and_counts_edges_by_hand():
    x = torch.zeros(1, 1, 1, 2, 2)
    assert float(edge_loss(x + 0.3, x)) == 0
    y = x.clone()
    y[..., 1] = 1.0  # one vertical edge: horizontal differences 1, vertical ones 0
    assert float(edge_loss(y, x)) == pytest.approx(1.0)


def test_psnr_of_a_tenth_of_the_range_is_20_db():
    assert float(psnr(torch.tensor(0.2**2))) == pytest.approx(20.0)


def test_it_is_a_method_with_one_player(frames):
    method = AutoencoderConfig().build(Networks(), Rng(0))
    assert isinstance(method, Method)
    assert list(method.players) == [method.generator] == [turn.player for turn in method.turns(0)]


def test_training_lowers_the_loss_on_a_fixed_batch():
    frames = torch.linspace(-1, 1, 16).expand(2, 5, 3, 16, 16)
    method = AutoencoderConfig().build(Networks(), Rng(0))
    player = method.players["autoencoder"]
    optimizer = torch.optim.AdamW(player.module.parameters(), lr=player.optim.lr, betas=player.optim.betas)
    values = []
    for step in range(12):
        (turn,) = method.turns(step)
        loss = turn.loss(Batch(frames=frames))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        values.append(float(loss.total.detach()))
        assert not any(part.requires_grad for part in loss.parts.values())
    assert values[-1] < 0.8 * values[0]


def test_the_draw_is_the_rngs_own(frames):
    losses = [AutoencoderConfig().build(Networks(), Rng(seed)).loss(Batch(frames=frames)) for seed in (1, 1, 2)]
    assert losses[0].total == losses[1].total != losses[2].total


def test_missing_frames_and_negative_weights_are_refused():
    with pytest.raises(ValueError, match=r"Batch\.frames, got None"):
        AutoencoderConfig().build(Networks(), Rng(0)).loss(Batch())
    with pytest.raises(ValueError, match="0 or more"):
        AutoencoderConfig(kl=-1.0)


def test_measured_statistics_normalise_the_latents(frames):
    vae = Networks().vae.eval()
    vae.set_latent_stats(*measure_latent_stats(vae, [frames[:1], frames[1:]]))
    with torch.no_grad():
        latents = vae.encode(frames).movedim(2, 0).flatten(1)
    torch.testing.assert_close(latents.mean(1), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(1, correction=0), torch.ones(16), atol=1e-3, rtol=0)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one clip"):
        measure_latent_stats(Networks().vae, [])


def test_a_decoder_stage_leaves_the_encoder_without_gradient() -> None:
    networks = Networks()
    method = AutoencoderConfig(learns="decoder", latent_noise=0.1).build(networks, Rng(0))
    method.loss(Batch(frames=torch.rand(1, 5, 3, 16, 16) * 2 - 1)).total.backward()
    moved = {name.split(".")[1] for name, p in networks.vae.named_parameters() if p.grad is not None}
    assert moved == {"post_quant_conv", "decoder"}
