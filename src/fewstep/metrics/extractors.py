"""The extractors of video features: trained on ShapeWorld's facts, of random weights, or I3D from a user's file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fewstep.metrics.features import DIGITS, FeatureError, InputFormat, VideoFeatures

TRAINED = Path(__file__).parents[1] / "assets" / "shapes-features" / "model.safetensors"
"""Weights of the extractor that comes with the package."""
SHAPES_FORMAT = InputFormat(frames=16, size=64, fps=8)
WIDTHS = (48, 88, 128)
"""Channels at a quarter, an eighth and a sixteenth of the pictures' side."""
DIM = 64
I3D_FORMAT = InputFormat(frames=16)
"""Sixteen frames at the clips' own rate; the file's own code resizes to 224 x 224 and rescales to [-1, 1]."""
I3D_DIM = 400
"""Logits of Kinetics-400, before the softmax."""


class ClipNet(nn.Module):
    """A small network of space and time convolutions: `n 3 t h w` in [-1, 1] to `n d` of about unit variance.

    Each pixel comes with its place, since mean and maximum over the last map forget where things are.
    """

    def __init__(self, dim: int = DIM, widths: tuple[int, int, int] = WIDTHS):
        super().__init__()
        first, second, third = widths
        self.layers = nn.Sequential(
            *_conv(3 + 2, first, kernel=(2, 4, 4), stride=(2, 4, 4)),
            *_conv(first, first, kernel=(1, 3, 3)),
            *_conv(first, first, kernel=(3, 1, 1)),
            *_conv(first, second, kernel=(1, 3, 3), stride=(1, 2, 2)),
            *_conv(second, second, kernel=(3, 1, 1), stride=(2, 1, 1)),
            *_conv(second, third, kernel=(1, 3, 3), stride=(1, 2, 2)),
            *_conv(third, third, kernel=(3, 1, 1)),
        )
        self.project = nn.Linear(2 * third, dim)
        self.standard = nn.BatchNorm1d(dim, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        count, _, frames, height, width = x.shape
        shape = count, 1, frames, height, width
        rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)[:, None].expand(shape)
        columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype).expand(shape)
        maps = self.layers(torch.cat([x, rows, columns], dim=1))
        return self.standard(self.project(torch.cat([maps.mean((2, 3, 4)), maps.amax((2, 3, 4))], dim=1)))


class NetFeatures:
    """A `ClipNet` as an extractor."""

    def __init__(self, name: str, net: ClipNet, takes: InputFormat, device: torch.device | str = "cpu"):
        self.net, self.takes, self.device = net.to(device).eval(), takes, device
        self.id = f"{name}-{_fingerprint(net, takes)}"
        self.dim = net.project.out_features

    @torch.inference_mode()
    def extract(self, clips: np.ndarray) -> np.ndarray:
        """As `VideoFeatures.extract`."""
        return self.net(to_input(clips).to(self.device)).float().cpu().numpy()


class I3DFeatures:
    """Kinetics-400 logits of the I3D that FVD is computed with, from the TorchScript file that StyleGAN-V published."""

    dim, takes = I3D_DIM, I3D_FORMAT

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        path = Path(path)
        try:
            self.net = torch.jit.load(path, map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise FeatureError(f"I3D needs i3d_torchscript.pt as published, '{path}' is not that file") from error
        self.device = device
        with path.open("rb") as file:
            self.id = f"i3d-{hashlib.file_digest(file, 'sha256').hexdigest()[:DIGITS]}"

    @torch.inference_mode()
    def extract(self, clips: np.ndarray) -> np.ndarray:
        """As `VideoFeatures.extract`."""
        x = torch.from_numpy(clips).to(self.device).movedim(-1, 1).float()
        return self.net(x, rescale=True, resize=True, return_features=True).float().cpu().numpy()


def to_input(clips: np.ndarray) -> Tensor:
    """`n t h w 3` uint8 to `n 3 t h w` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(clips)).movedim(-1, 1).float() / 127.5 - 1


def trained_features(path: Path = TRAINED, device: torch.device | str = "cpu") -> NetFeatures:
    """The extractor trained on what ShapeWorld's clips show (`python -m fewstep.evaluation.train_features`)."""
    net = ClipNet()
    try:
        net.load_state_dict({name: value.float() for name, value in load_file(path).items()}, strict=False)
    except (FileNotFoundError, SafetensorError, RuntimeError) as error:
        raise FeatureError(f"{path} does not hold the trained extractor: train it again") from error
    return NetFeatures("shapes", net, SHAPES_FORMAT, device)


def random_features(
    seed: int = 0, takes: InputFormat = SHAPES_FORMAT, dim: int = DIM, device: torch.device | str = "cpu"
) -> NetFeatures:
    """Untrained features, the same for the same seed: what a distance says that owes nothing to training."""
    source = torch.Generator().manual_seed(seed)
    net = ClipNet(dim)
    with torch.no_grad():
        for weight in (value for value in net.parameters() if value.ndim > 1):
            gain = (2 / weight[0].numel()) ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=source) * gain)
        net.project.bias.zero_()
    return NetFeatures(f"random{seed}", net, takes, device)


def open_extractor(words: str, device: torch.device | str = "cpu") -> VideoFeatures:
    """An extractor by name: `shapes`, `random`, `random:SEED`, or `i3d:PATH`. Raises FeatureError."""
    name, _, rest = words.partition(":")
    if name == "shapes" and not rest:
        return trained_features(device=device)
    if name == "random" and (rest or "0").isdigit():
        return random_features(int(rest or 0), device=device)
    if name == "i3d" and rest:
        return I3DFeatures(rest, device)
    raise FeatureError(f"an extractor is called shapes, random, random:SEED or i3d:PATH, got '{words}'")


def _conv(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)) -> Any:
    padding = tuple(size // 2 if size % 2 else 0 for size in kernel)
    return (
        nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )


def _fingerprint(net: ClipNet, takes: InputFormat) -> str:
    """Of every number that shapes the features, and of how clips are prepared."""
    digest = hashlib.sha256(repr(takes).encode())
    for name, value in sorted(net.state_dict().items()):
        if value.is_floating_point():
            digest.update(name.encode() + value.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]
