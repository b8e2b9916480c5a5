"""A small decoder in the autoencoder's place: TAEHV's architecture (madebyollin/taehv), weights from a file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

from fewstep.models.weights import WeightsError, check_state
from fewstep.types import Latents

WIDTHS = (256, 128, 64, 64)
"""Channels of the decoder's four resolutions in the published weights."""
TIME_STRIDES = (1, 2, 2)
"""Frames that each of the three upsamplings makes of one."""
CHANNELS = 16
"""Latent channels of Wan 2.1."""
LEAD = 3
"""Frames that a clip's first latent makes and that are dropped: the autoencoder gives one frame for it, not four."""


class SoftClamp(nn.Module):
    """Keeps values between -3 and 3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class MemoryBlock(nn.Module):
    """A residual block that also sees its own input of the frame before."""

    def __init__(self, width: int):
        super().__init__()
        sides = [(2 * width, width), (width, width), (width, width)]
        layers = [layer for before, after in sides for layer in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU())]
        self.conv = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        return torch.relu(self.conv(torch.cat([x, past], dim=1)) + x)


class TimeGrow(nn.Module):
    """Makes `stride` frames of each, by one linear map per pixel."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.conv(x), "n (s c) h w -> (n s) c h w", s=self.stride)


class TinyDecoder(nn.Module):
    """Normalised Wan 2.1 latents to frames, 25 times cheaper than the autoencoder's decoder and softer in detail.

    As with the autoencoder, t latents make 1 + 4 (t - 1) frames, and a clip may be decoded while it is made.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, channels: int = CHANNELS):
        super().__init__()
        layers: list[nn.Module] = [SoftClamp(), nn.Conv2d(channels, widths[0], 3, padding=1), nn.ReLU()]
        for before, after, stride in zip(widths, widths[1:], TIME_STRIDES, strict=False):
            layers += [MemoryBlock(before), MemoryBlock(before), MemoryBlock(before), nn.Upsample(scale_factor=2)]
            layers += [TimeGrow(before, stride), nn.Conv2d(before, after, 3, padding=1, bias=False)]
        layers += [nn.ReLU(), nn.Conv2d(widths[-1], 3, 3, padding=1)]
        self.decoder = nn.Sequential(*layers)  # the published names are `decoder.<position>`
        self.channels = channels
        self.shift, self.scale = torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        *,
        where: str,
        latent_stats: tuple[Tensor, Tensor] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> TinyDecoder:
        """The decoder of a file's tensors; the encoder that is published with it is left in the file.

        `latent_stats` (mean and standard deviation, `c 1 1`) are for weights that were trained on latents as the
        autoencoder has them. Raises WeightsError for tensors that are no such decoder's.
        """
        foreign = sorted(name for name in tensors if not name.startswith(("decoder.", "encoder.")))
        entry = tensors.get("decoder.1.weight")
        if foreign or entry is None:
            found = f"found {', '.join(foreign[:3])}" if foreign else "found no decoder.1.weight"
            raise WeightsError(f"{where} must hold a TAEHV decoder (`decoder.1.weight` and so on), {found}")
        places = [1, *(8 + 6 * k for k in range(3))]
        widths = [tensors[name].shape[0] for at in places if (name := f"decoder.{at}.weight") in tensors]
        if len(widths) != len(places):
            raise WeightsError(f"{where} must hold a TAEHV decoder of four resolutions, found {len(widths)}")
        with torch.device("meta"):
            model = cls(tuple(widths), channels=entry.shape[1])
        expected = model.state_dict()
        state = {name: _last_rows(tensors[name], expected.get(name)) for name in tensors if name.startswith("decoder.")}
        check_state(expected, state, where=where)
        moved = {name: tensor.to(device=device, dtype=dtype or torch.float32) for name, tensor in state.items()}
        model.load_state_dict(moved, assign=True)
        mean, std = latent_stats or (torch.zeros(model.channels, 1, 1), torch.ones(model.channels, 1, 1))
        # no buffers: they stay in fp32 when the weights are cast
        model.shift, model.scale = mean.to("cpu", torch.float32), std.to("cpu", torch.float32)
        return model.eval().requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder[1].weight.dtype

    def decode(self, latents: Latents) -> Tensor:
        """`b f 3 H W` frames in [-1, 1], in the latents' dtype."""
        return self.decode_stream().push(latents)

    def decode_stream(self) -> TinyStream:
        """A decoder that takes one clip's latents piece by piece; streams are independent of each other."""
        return TinyStream(self)


class TinyStream:
    """Decodes one batch of clips as their latents arrive; the frames equal those of one whole decode.

    Its state is what each memory block saw last. Latents are decoded one by one, so the same calls are made however
    they arrive.
    """

    def __init__(self, model: TinyDecoder):
        self.model = model
        self._memory: dict[int, Tensor] = {}
        self._started = False

    def push(self, latents: Latents) -> Tensor:
        """The `b f 3 H W` frames in [-1, 1] that these latents complete: 4 each, but 1 for a clip's first latent."""
        z = latents.float() * self.model.scale.to(latents.device) + self.model.shift.to(latents.device)
        frames = [self._push_one(each) for each in z.to(self.model.dtype).unbind(dim=1)]
        return (torch.cat(frames, dim=1).clamp(0, 1) * 2 - 1).to(latents.dtype)

    def _push_one(self, z: Tensor) -> Tensor:
        """`b f 3 H W` unclamped frames in [0, 1] of one latent `b c h w`."""
        batch, x = len(z), z
        for place, layer in enumerate(self.model.decoder):
            if isinstance(layer, MemoryBlock):
                seen = rearrange(x, "(b f) c h w -> b f c h w", b=batch)
                before = self._memory.get(place, torch.zeros_like(seen[:, :1]))
                past = torch.cat([before, seen[:, :-1]], dim=1)
                self._memory[place] = seen[:, -1:].clone()
                x = layer(x, rearrange(past, "b f c h w -> (b f) c h w"))
            else:
                x = layer(x)
        frames = rearrange(x, "(b f) c h w -> b f c h w", b=batch)
        frames, self._started = frames[:, 0 if self._started else LEAD :], True
        return frames


def _last_rows(tensor: Tensor, expected: Tensor | None) -> Tensor:
    """The part that is used of a time upsampling stored for more frames than it makes here: the last of them."""
    grown = expected is not None and tensor.ndim == 4 and tensor.shape[2:] == (1, 1) == expected.shape[2:]
    if expected is not None and grown and tensor.shape[0] > expected.shape[0]:
        return tensor[-expected.shape[0] :]
    return tensor
