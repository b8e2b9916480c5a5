"""The video autoencoder: diffusers' Wan VAE with an explicit cache, so that a clip can be decoded while it is made."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fewstep.models.decode import StreamDecoder, TiledStream
from fewstep.models.tiling import Blend, Tiling
from fewstep.models.weights import CONFIG, WEIGHTS, WeightsError, check_state
from fewstep.types import Latents

VAE_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"base_dim": 8, "dim_mult": [1, 1, 2], "num_res_blocks": 1},
    "shapes": {"base_dim": 16, "dim_mult": [1, 2, 4], "num_res_blocks": 1},
    "wan": {},
}
"""Arguments of diffusers' AutoencoderKLWan. The small ones add `PATCHED`."""

PATCHED: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "z_dim": 16,
    "temperal_downsample": [True, True],
    "latents_mean": [0.0] * 16,
    "latents_std": [1.0] * 16,
}
"""Wan 2.2's 2x2 pixel patches: two convolutional halvings remain and no convolution runs at full resolution."""

POSITIONS_AT_ONCE = 4096
"""Latent rows times columns times frames that are computed in one call; more would only cost memory."""

START_LOG_VAR = -5.0
"""Log-variance of an untrained posterior. At 0 a decoder would see noise, learn to ignore it, and stay there."""


class VideoVAE(nn.Module):
    """Pixels in [-1, 1] to normalised latents and back, 8x smaller in space and 4x in time.

    The first pixel frame is a latent frame of its own and each later latent frame covers four: t latents make
    1 + 4 (t - 1) pixel frames. The model is causal, so any prefix of the latents decodes to a prefix of the frames.
    With a `tiling`, frames larger than a tile are encoded and decoded in tiles, in less memory and nearly the same.
    """

    def __init__(self, model: AutoencoderKLWan, *, latents_per_call: int = 4, tiling: Tiling | None = None):
        super().__init__()
        self.model = _channels_last(model)
        self.latents_per_call, self.tiling = latents_per_call, tiling
        self._stats = self._read_stats()

    @classmethod
    def from_preset(cls, name: str) -> VideoVAE:
        """An untrained autoencoder of one of `VAE_PRESETS`."""
        if name not in VAE_PRESETS:
            raise ValueError(f"VAE preset must be one of {sorted(VAE_PRESETS)}, got {name!r}")
        shared = {} if name == "wan" else PATCHED
        model = AutoencoderKLWan(**shared, **VAE_PRESETS[name])
        with torch.no_grad():
            model.quant_conv.bias[model.config.z_dim :].fill_(START_LOG_VAR)
        return cls(model)

    @classmethod
    def load(
        cls, folder: Path | str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> VideoVAE:
        """The autoencoder of a folder in diffusers layout, in `dtype` or fp32.

        Raises WeightsError for a folder that is missing, damaged or foreign, or whose tensors are not the config's.
        """
        folder = Path(folder)
        config = _read_config(folder / CONFIG)
        try:
            state = load_file(folder / WEIGHTS)
            with torch.device("meta"):
                model = AutoencoderKLWan.from_config(config)
        except FileNotFoundError as error:
            raise WeightsError(f"no {WEIGHTS} in {folder}: expected an autoencoder in diffusers layout") from error
        except SafetensorError as error:
            raise WeightsError(f"{folder / WEIGHTS} is not a whole file ({error}): fetch or save it again") from error
        except (TypeError, ValueError) as error:
            raise WeightsError(f"{folder / CONFIG} does not describe an autoencoder: {error}") from error
        check_state(model.state_dict(), state, where=str(folder))
        model.load_state_dict({name: tensor.to(dtype or torch.float32) for name, tensor in state.items()}, assign=True)
        return cls(model).to(device).eval()

    def save(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write config (latent statistics included) and weights, stored in `dtype`, in diffusers layout."""
        model = copy.deepcopy(self.model)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype or parameter.dtype).contiguous()
        model.save_pretrained(folder)

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent row or column."""
        return self.model.config.scale_factor_spatial

    @property
    def temporal_stride(self) -> int:
        """Pixel frames per latent frame after the first."""
        return self.model.config.scale_factor_temporal

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.model.config.z_dim

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def pixel_frames(self, latent_frames: int) -> int:
        """Pixel frames of a clip of `latent_frames`."""
        return 1 + self.temporal_stride * (latent_frames - 1)

    def latent_frames(self, pixel_frames: int) -> int:
        """Latent frames of a clip of `pixel_frames`, which must be 1 more than a multiple of the temporal stride."""
        if pixel_frames < 1 or (pixel_frames - 1) % self.temporal_stride:
            below = 1 + max(pixel_frames - 1, 0) // self.temporal_stride * self.temporal_stride
            raise ValueError(
                f"a clip needs 1 + {self.temporal_stride}k pixel frames, got {pixel_frames}; "
                f"the nearest that fit are {below} and {below + self.temporal_stride}"
            )
        return 1 + (pixel_frames - 1) // self.temporal_stride

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each `b t c h w` and not normalised, of the latents of `b f 3 H W` frames.

        Raises ValueError for frame counts or sizes that the strides do not divide.
        """
        self.latent_frames(frames.shape[1])
        if frames.shape[-1] % self.spatial_stride or frames.shape[-2] % self.spatial_stride:
            size = tuple(frames.shape[-2:])
            raise ValueError(f"height and width must be multiples of {self.spatial_stride}, got {size}; crop or resize")
        moments = self._tiled_moments(frames)
        mean, log_var = rearrange(moments, "b c t h w -> b t c h w").chunk(2, dim=2)
        return mean, log_var.clamp(-30, 20)

    def _tiled_moments(self, frames: Tensor) -> Tensor:
        """`_moments` of the whole, or of one tile after the other."""
        stride = self.spatial_stride
        rows, columns = frames.shape[-2] // stride, frames.shape[-1] // stride
        tiles = [] if self.tiling is None else self.tiling.tiles((rows, columns), stride)
        if self.tiling is None or len(tiles) == 1:
            return self._moments(frames)
        blend = Blend((rows, columns), self.tiling.overlap // stride)
        for tile in tiles:
            blend.add(tile, self._moments(tile.cut(frames, stride)), 1)
        return blend.result().to(self.dtype)

    def _moments(self, frames: Tensor) -> Tensor:
        """`b c t h w`: mean and log-variance in one, of `b f 3 H W` frames."""
        total = self.latent_frames(frames.shape[1])
        x = self._patchify(frames.to(self.dtype))
        at_once = self.at_once((frames.shape[-2] // self.spatial_stride, frames.shape[-1] // self.spatial_stride))
        cache: list = [None] * self.model._cached_conv_counts["encoder"]
        moments = [self.model.encoder(x[:, :, :1], feat_cache=cache, feat_idx=[0])]
        for start in range(1, total, at_once):
            stop = min(start + at_once, total)
            pixels = x[:, :, self.pixel_frames(start) : self.pixel_frames(stop)]
            moments.append(self.model.encoder(pixels, feat_cache=cache, feat_idx=[0]))
        return self.model.quant_conv(torch.cat(moments, dim=2))

    def encode(self, frames: Tensor) -> Latents:
        """Posterior mean of `b f 3 H W` frames in [-1, 1], normalised by the config's statistics, in frames' dtype."""
        mean, _ = self.posterior(frames)
        shift, scale = self.latent_stats(mean.device)
        return ((mean.float() - shift) / scale).to(frames.dtype)

    def decode(self, latents: Latents) -> Tensor:
        """`b f 3 H W` frames in [-1, 1], in the latents' dtype."""
        return self.decode_stream().push(latents)

    def decode_stream(self) -> StreamDecoder | TiledStream:
        """A decoder that takes one clip's latents piece by piece; streams are independent of each other."""
        return StreamDecoder(self) if self.tiling is None else TiledStream(self, self.tiling)

    def denormalised(self, latents: Latents) -> Tensor:
        """Latents as the model itself knows them, in fp32."""
        shift, scale = self.latent_stats(latents.device)
        return latents.float() * scale + shift

    def at_once(self, size: Sequence[int]) -> int:
        """Latent frames of `size` rows and columns that one call computes."""
        return max(1, min(self.latents_per_call, POSITIONS_AT_ONCE // prod(size)))

    def decode_raw(self, z: Tensor) -> Tensor:
        """Unclamped frames of latents that are not normalised, as the training loss compares them."""
        return self.decode_stream().push_raw(z)

    def set_latent_stats(self, mean: Tensor, std: Tensor) -> None:
        """Make `mean` and `std` (one value per channel) the normalisation, here and in the saved config."""
        self.model.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
        self._stats = self._read_stats()

    def latent_stats(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that latents are normalised by, each `c 1 1` in fp32."""
        mean, std = self._stats.to(device)
        return mean, std

    def _read_stats(self) -> Tensor:
        # not a buffer: it must stay in fp32 when the weights are cast
        config = self.model.config
        pair = torch.tensor([config.latents_mean, config.latents_std], dtype=torch.float32, device="cpu")
        return rearrange(pair, "two c -> two c 1 1")

    def _patchify(self, frames: Tensor) -> Tensor:
        patch = self.model.config.patch_size or 1
        return rearrange(frames, "b f c (h p) (w q) -> b (c q p) f h w", p=patch, q=patch)

    def _unpatchify(self, x: Tensor) -> Tensor:
        patch = self.model.config.patch_size or 1
        return rearrange(x, "b (c q p) f h w -> b f c (h p) (w q)", p=patch, q=patch)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"no {path}: expected an autoencoder in diffusers layout") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON ({error}): fetch or save it again") from error
    kind = config.get("_class_name") if isinstance(config, dict) else config
    if kind != "AutoencoderKLWan":
        raise WeightsError(f"{path} must describe an AutoencoderKLWan, got {kind!r}: use a Wan autoencoder's folder")
    return config


def _channels_last(model: AutoencoderKLWan) -> AutoencoderKLWan:
    """Lay the spatial convolutions' weights out with channels last, which oneDNN and cuDNN compute a third faster."""
    formats = {nn.Conv2d: torch.channels_last, nn.Conv3d: torch.channels_last_3d}
    for module in model.modules():
        for kind, layout in formats.items():
            if isinstance(module, kind) and module.kernel_size[-1] > 1:
                module.weight.data = module.weight.data.contiguous(memory_format=layout)
    return model


def to_uint8(frames: Tensor) -> Tensor:
    """Pixels in [-1, 1] to 0..255."""
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(frames: Tensor) -> Tensor:
    """Pixels 0..255 to float in [-1, 1]."""
    return frames.float() / 127.5 - 1
