"""Tiles cover a frame, fade into each other, and make it in less memory."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fewstep.models.checkpoint_dir import ASSETS
from fewstep.models.tiling import Blend, Tiling, spans
from fewstep.models.vae import VideoVAE, from_uint8
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.grammar import World


@pytest.mark.parametrize(("total", "size", "overlap"), [(10, 4, 1), (90, 32, 8), (33, 32, 8), (104, 32, 8), (7, 4, 2)])
def test_spans_cover_everything_and_overlap_enough(total, size, overlap):
    found = spans(total, size, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == total
    assert {stop - start for start, stop in found} == {size}
    assert all(before[1] - after[0] >= overlap for before, after in pairwise(found))
    assert spans(4, 4, 2) == spans(4, 9, 2) == [(0, 4)]


def test_tiles_of_one_picture_blend_back_into_it_and_seams_are_gradual():
    picture = torch.rand(3, 40, 72)
    tiles = Tiling(height=24, width=32, overlap=8).tiles((40, 72), 1)
    assert len(tiles) == 2 * 3
    whole, stripes = Blend((40, 72), 8), Blend((40, 72), 8)
    for number, tile in enumerate(tiles):
        whole.add(tile, tile.cut(picture), 1)
        stripes.add(tile, torch.full((1, 24, 32), float(number % 3)), 1)
    torch.testing.assert_close(whole.result(), picture, atol=1e-6, rtol=0)
    steps = stripes.result()[0].diff(dim=-1)
    assert float(steps.min()) >= -1e-6
    assert 0 < float(steps.max()) <= 0.15  # a step of 1 over at least 8 pixels


@pytest.mark.parametrize("overlap", [0, -1, 129])
def test_tiles_that_cannot_overlap_are_refused(overlap):
    with pytest.raises(ValueError, match="must overlap"):
        Tiling(overlap=overlap)


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    return VideoVAE.from_preset("tiny").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.rand(1, 5, 3, 64, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1


def tiled(vae: VideoVAE, **sizes: int) -> VideoVAE:
    return VideoVAE(vae.model, tiling=Tiling(**sizes))


def test_a_tile_as_large_as_the_frame_changes_nothing(vae, clip):
    one = tiled(vae, height=64, width=128, overlap=16)
    latents = vae.encode(clip)
    assert torch.equal(one.encode(clip), latents)
    assert torch.equal(one.decode(latents), vae.decode(latents))


def test_a_trained_autoencoder_makes_nearly_the_same_in_tiles():
    trained = VideoVAE.load(ASSETS / "shapes-base" / "vae").requires_grad_(False)
    moments = from_uint8(torch.from_numpy(ShapeWorld(0, "train", World()).clip(1)[0][:5].copy()).movedim(-1, 1))
    wide = torch.cat([moments, moments.flip(-1)], dim=-1)[None]
    latents = trained.encode(wide)
    whole = trained.decode(latents)
    cut = tiled(trained, height=64, width=80, overlap=32)
    seen, made = cut.encode(wide), cut.decode(latents)
    assert float((seen - latents).square().mean().sqrt()) < 0.03  # of latents of unit variance
    assert float(10 * torch.log10(4 / (made - whole).square().mean())) > 55  # dB; the clip itself comes back with 31


def test_tiles_are_streamed_like_the_whole(vae, clip):
    cut = tiled(vae, height=64, width=80, overlap=32)
    latents = torch.randn(1, 3, 16, 8, 16, generator=torch.Generator().manual_seed(2))
    stream = cut.decode_stream()
    pieces = [stream.push(piece) for piece in latents.split((1, 2), dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), cut.decode(latents), atol=1e-5, rtol=0)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor):
                self.bytes = max(self.bytes, each.numel() * each.element_size())
        return result


def largest(vae: VideoVAE, height: int, width: int) -> tuple[int, int]:
    """In encoding and in decoding a picture."""
    picture = torch.zeros(1, 1, 3, height, width)
    with torch.no_grad(), Largest() as encoding:
        latents = vae.encode(picture)
    with torch.no_grad(), Largest() as decoding:
        assert vae.decode(latents).shape == picture.shape
    return encoding.bytes, decoding.bytes


def test_tiles_take_the_memory_of_a_tile():
    # as Wan 2.1's own, whose widest layers are at full resolution
    full = VideoVAE(AutoencoderKLWan(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1))
    whole, tile = largest(full, 64, 128), largest(full, 32, 32)
    cut = largest(tiled(full, height=32, width=32, overlap=8), 64, 128)
    assert cut[0] == tile[0] < whole[0] / 6
    assert cut[1] == max(tile[1], 3 * 64 * 128 * 4) < whole[1] / 6  # the picture is put together in fp32


def test_an_overlap_of_less_than_a_latent_is_refused(vae, clip):
    with pytest.raises(ValueError, match="at least 8 pixels"):
        tiled(vae, height=64, width=64, overlap=4).encode(clip)
