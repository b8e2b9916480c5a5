"""The small decoder: the published layers under their published names, and a stream equal to a whole decode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fewstep.models.taehv import TinyDecoder
from fewstep.models.weights import WeightsError

WIDTHS = (12, 8, 6, 5)


def weights(widths: tuple[int, ...] = WIDTHS, channels: int = 16) -> dict[str, Tensor]:
    """Random weights under the names of taew2_1.pth, written out by hand."""
    first, second, third, fourth = widths
    shapes: dict[str, tuple[int, ...]] = {"decoder.1": (first, channels, 3, 3), "decoder.22": (3, fourth, 3, 3)}
    for width, places in ((first, (3, 4, 5)), (second, (9, 10, 11)), (third, (15, 16, 17))):
        for place in places:
            shapes[f"decoder.{place}.conv.0"] = (width, 2 * width, 3, 3)
            shapes |= {f"decoder.{place}.conv.{k}": (width, width, 3, 3) for k in (2, 4)}
    plain = {
        "decoder.7.conv": (first, first, 1, 1),
        "decoder.8": (second, first, 3, 3),
        "decoder.13.conv": (2 * second, second, 1, 1),
        "decoder.14": (third, second, 3, 3),
        "decoder.19.conv": (2 * third, third, 1, 1),
        "decoder.20": (fourth, third, 3, 3),
    }
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    state = {f"{name}.weight": draw(*shape) for name, shape in (shapes | plain).items()}
    return state | {f"{name}.bias": draw(shape[0]) for name, shape in shapes.items()}


def reference(state: dict[str, Tensor], z: Tensor) -> Tensor:
    """The published decoder on a whole clip `t c h w`: every block sees all frames and the same shifted by one."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = state[f"decoder.{name}.weight"]
        return F.conv2d(x, weight, state.get(f"decoder.{name}.bias"), padding=weight.shape[-1] // 2)

    def block(x: Tensor, place: int) -> Tensor:
        past = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        inner = F.relu(conv(torch.cat([x, past], 1), f"{place}.conv.0"))
        inner = F.relu(conv(inner, f"{place}.conv.2"))
        return F.relu(conv(inner, f"{place}.conv.4") + x)

    def grow(x: Tensor, place: int) -> Tensor:
        return conv(x, f"{place}.conv").reshape(-1, *x.shape[1:])

    x = F.relu(conv(torch.tanh(z / 3) * 3, "1"))
    for start in (3, 9, 15):
        for place in range(start, start + 3):
            x = block(x, place)
        x = grow(x.repeat_interleave(2, -1).repeat_interleave(2, -2), start + 4)
        x = conv(x, str(start + 5))
    return conv(F.relu(x), "22").clamp(0, 1)[3:] * 2 - 1


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return weights()


@pytest.fixture(scope="module")
def model(state: dict[str, Tensor]) -> TinyDecoder:
    return TinyDecoder.from_tensors(state, where="toy")


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return torch.randn(2, 5, 16, 3, 4, generator=torch.Generator().manual_seed(1))


def test_it_equals_the_published_layers(model, state, latents):
    made = model.decode(latents)
    assert made.shape == (2, 17, 3, 24, 32)
    expected = torch.stack([reference(state, clip) for clip in latents])
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (3, 2), (1, 4)])
def test_a_stream_equals_a_whole_decode_bit_for_bit(state, latents, sizes, dtype):
    model = TinyDecoder.from_tensors(state, where="toy", dtype=dtype)
    stream = model.decode_stream()
    pieces = [stream.push(piece) for piece in latents.split(sizes, dim=1)]
    assert [piece.shape[1] for piece in pieces] == [4 * size - 3 * (i == 0) for i, size in enumerate(sizes)]
    assert torch.equal(torch.cat(pieces, 1), model.decode(latents))


def test_interleaved_streams_do_not_touch_each_other(model, latents):
    a, b = model.decode_stream(), model.decode_stream()
    pieces = [(a.push(x[:1]), b.push(x[1:])) for x in latents.split(2, 1)]
    assert torch.equal(torch.cat([torch.cat(pair) for pair in pieces], 1)[:1], model.decode(latents[:1]))


def test_weights_that_expect_raw_latents_get_them(model, state, latents):
    mean, std = torch.linspace(-1, 1, 16)[:, None, None], torch.linspace(0.5, 2, 16)[:, None, None]
    raw = TinyDecoder.from_tensors(state, where="toy", latent_stats=(mean, std))
    torch.testing.assert_close(raw.decode(latents), model.decode(latents * std + mean), atol=1e-6, rtol=0)
    assert not torch.allclose(raw.decode(latents), model.decode(latents), atol=1e-2)


def test_the_published_file_holds_more_than_is_needed(model, state, latents):
    whole = {**state, "encoder.0.weight": torch.zeros(64, 3, 3, 3)}
    # the first time upsampling is stored for two frames and makes one: the last rows are meant
    stored = state["decoder.7.conv.weight"]
    whole["decoder.7.conv.weight"] = torch.cat([torch.ones_like(stored), stored])
    assert torch.equal(TinyDecoder.from_tensors(whole, where="toy").decode(latents), model.decode(latents))


def test_the_published_size_has_its_names_and_parameters():
    with torch.device("meta"):
        model = TinyDecoder()
    expected = {name: tuple(tensor.shape) for name, tensor in weights((256, 128, 64, 64)).items()}
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected
    assert sum(p.numel() for p in model.parameters()) == 9_844_611


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.4.conv.2.weight": None}, r"decoder\.4\.conv\.2\.weight"),
        ({"decoder.23.weight": torch.zeros(1)}, r"decoder\.23\.weight"),
        ({"decoder.22.weight": torch.zeros(12, 5, 3, 3)}, r"decoder\.22\.weight"),
        ({"decoder.14.weight": None}, "four resolutions, found 3"),
        ({"decoder.1.weight": None}, r"found no decoder\.1\.weight"),
        ({"blocks.0.weight": torch.zeros(1)}, r"found blocks\.0\.weight"),
    ],
)
def test_missing_unknown_and_reshaped_tensors_are_refused_by_name(state, change, message):
    changed = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
    with pytest.raises(WeightsError, match=message):
        TinyDecoder.from_tensors(changed, where="toy")
