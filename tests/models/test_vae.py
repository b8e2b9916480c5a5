"""The Wan autoencoder: shapes, streaming, statistics, and its folder."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from diffusers import AutoencoderKLWan

from fewstep.models.vae import START_LOG_VAR, VideoVAE, from_uint8, to_uint8
from fewstep.models.weights import WeightsError


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    model = VideoVAE.from_preset("tiny").eval().requires_grad_(False)
    model.set_latent_stats(torch.linspace(-1, 1, 16), torch.linspace(0.5, 2, 16))
    return model


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    return torch.rand(1, 17, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_clip_of_33_frames_of_64_pixels_has_9_latents_of_8_by_8(vae):
    latents = vae.encode(torch.zeros(1, 33, 3, 64, 64))
    assert latents.shape == (1, 9, 16, 8, 8)
    assert vae.decode(latents[:, :2]).shape == (1, 5, 3, 64, 64)
    assert (vae.spatial_stride, vae.temporal_stride, vae.pixel_frames(9), vae.latent_frames(33)) == (8, 4, 33, 9)


def test_it_equals_diffusers_own_loops(vae, clip):
    shift, scale = vae.latent_stats()
    reference = vae.model.encode(clip.movedim(1, 2)).latent_dist.mode().movedim(1, 2)
    latents = vae.encode(clip)
    torch.testing.assert_close(latents * scale + shift, reference, atol=1e-5, rtol=0)
    decoded = vae.model.decode(reference.movedim(1, 2)).sample.movedim(1, 2)
    torch.testing.assert_close(vae.decode(latents), decoded, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (3, 2), (1, 4), (2, 1, 2)])
def test_streaming_equals_one_whole_decode_for_any_chunking(vae, clip, sizes):
    latents = vae.encode(clip)
    stream = vae.decode_stream()
    pieces = [stream.push(piece) for piece in latents.split(sizes, dim=1)]
    assert [piece.shape[1] for piece in pieces] == [4 * size - 3 * (i == 0) for i, size in enumerate(sizes)]
    torch.testing.assert_close(torch.cat(pieces, 1), vae.decode(latents), atol=1e-5, rtol=0)


def test_interleaved_streams_do_not_touch_each_other(vae):
    first, second = torch.randn(2, 1, 4, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    a, b = vae.decode_stream(), vae.decode_stream()
    pieces = [(a.push(x), b.push(y)) for x, y in zip(first.split(2, 1), second.split(2, 1), strict=True)]
    torch.testing.assert_close(torch.cat([x for x, _ in pieces], 1), vae.decode(first), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([y for _, y in pieces], 1), vae.decode(second), atol=1e-5, rtol=0)


def test_the_number_of_latents_per_call_changes_nothing(vae, clip):
    one = VideoVAE(vae.model, latents_per_call=1).eval()
    torch.testing.assert_close(one.encode(clip), vae.encode(clip), atol=1e-5, rtol=0)
    torch.testing.assert_close(one.decode(one.encode(clip)), vae.decode(vae.encode(clip)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 1), (1, 3)])
def test_one_latent_at_a_time_streams_bit_for_bit_in_any_number_format(vae, sizes, dtype):
    one = VideoVAE(copy.deepcopy(vae.model).to(dtype), latents_per_call=1).eval()
    latents = torch.randn(1, 4, 16, 4, 4, generator=torch.Generator().manual_seed(3))
    stream = one.decode_stream()
    pieces = [stream.push(piece) for piece in latents.split(sizes, dim=1)]
    assert torch.equal(torch.cat(pieces, 1), one.decode(latents))
    if dtype == torch.bfloat16:
        error = (one.decode(latents) - vae.decode(latents)).square().mean()
        assert 0 < float(error) < 1e-3


def test_large_frames_are_computed_one_latent_at_a_time_and_small_ones_together(vae):
    assert [vae.at_once(size) for size in ((8, 8), (32, 32), (32, 64), (60, 104), (90, 160))] == [4, 4, 2, 1, 1]


def test_later_pixels_do_not_change_earlier_latents(vae, clip):
    changed = clip.clone()
    changed[:, 9:] = 0
    torch.testing.assert_close(vae.encode(changed)[:, :3], vae.encode(clip)[:, :3], atol=1e-5, rtol=0)


def test_gradients_flow_through_every_convolution():
    model = VideoVAE.from_preset("tiny")
    mean, log_var = model.posterior(torch.rand(1, 9, 3, 16, 16))
    (model.decode_raw(mean).square().mean() + log_var.square().mean()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent
    assert float(log_var.detach().mean()) == pytest.approx(START_LOG_VAR, abs=1)


def test_statistics_stay_exact_when_the_weights_are_cast():
    model = VideoVAE.from_preset("tiny")
    model.set_latent_stats(torch.full((16,), 0.1234567), torch.full((16,), 1.7654321))
    half = model.to(torch.bfloat16)
    assert torch.equal(half.latent_stats()[0], torch.full((16, 1, 1), 0.1234567))
    assert half.decode(torch.zeros(1, 1, 16, 4, 4)).dtype == torch.float32


@pytest.mark.parametrize("frames", [0, 2, 8, 34])
def test_frame_counts_that_do_not_fit_are_refused_by_name(vae, frames):
    with pytest.raises(ValueError, match=rf"got {frames}; the nearest that fit are"):
        vae.latent_frames(frames)


def test_sizes_that_do_not_fit_are_refused(vae):
    with pytest.raises(ValueError, match=r"multiples of 8, got \(60, 64\)"):
        vae.encode(torch.zeros(1, 1, 3, 60, 64))


def test_unknown_presets_are_refused():
    with pytest.raises(ValueError, match="'shapes', 'tiny', 'wan'"):
        VideoVAE.from_preset("huge")


def test_wans_own_size_has_its_statistics_and_strides():
    with torch.device("meta"):
        model = VideoVAE.from_preset("wan")
    mean, std = model.latent_stats()
    assert mean[:2].flatten().tolist() == pytest.approx([-0.7571, -0.7089])
    assert float(std[-1]) == pytest.approx(1.9160)
    assert (model.spatial_stride, model.temporal_stride, model.channels) == (8, 4, 16)
    assert sum(p.numel() for p in model.parameters()) == 126_892_531


def test_a_saved_folder_loads_here_and_in_diffusers(vae, clip, tmp_path):
    vae.save(tmp_path)
    again = VideoVAE.load(tmp_path)
    torch.testing.assert_close(again.encode(clip), vae.encode(clip), atol=1e-6, rtol=0)
    theirs = AutoencoderKLWan.from_pretrained(tmp_path)
    assert theirs.config.latents_std == pytest.approx(torch.linspace(0.5, 2, 16).tolist())
    assert VideoVAE.load(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_damaged_folders_are_refused_with_the_reason(vae, tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json: expected an autoencoder"):
        VideoVAE.load(tmp_path / "missing")
    vae.save(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="not a whole file"):
        VideoVAE.load(tmp_path)
    weights.unlink()
    with pytest.raises(WeightsError, match="no diffusion_pytorch_model"):
        VideoVAE.load(tmp_path)
    weights.write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "base_dim": 16}))
    with pytest.raises(WeightsError, match="reshaped"):
        VideoVAE.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": "AutoencoderKL"}))
    with pytest.raises(WeightsError, match="must describe an AutoencoderKLWan, got 'AutoencoderKL'"):
        VideoVAE.load(tmp_path)


def test_bytes_survive_the_trip_through_floats():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(values)), values)
    assert to_uint8(torch.tensor([-3.0, 0.0, 3.0])).tolist() == [0, 128, 255]
