"""Where a network that makes clips lives, and in which number format: by what was asked for and what is there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from fewstep.hardware import Format, pick_dtype, require_float8
from fewstep.models.dit import VideoDiT
from fewstep.models.offload import offload as offload_blocks
from fewstep.models.quantize import quantize_blocks


@dataclass(frozen=True)
class Placing:
    """A choice that the device can follow."""

    device: torch.device
    dtype: torch.dtype
    """Of everything but the blocks' weights in float8."""
    offload: bool = False
    """Blocks and the past wait in host memory."""
    float8: bool = False
    """Blocks have float8 weights."""

    @classmethod
    def choose(cls, device: torch.device, dtype: Format | torch.dtype, offload: bool) -> Placing:
        """Raises ValueError for what the device cannot do. On the CPU, whose memory is the host's, nothing is moved."""
        float8 = dtype == "float8"
        if float8:
            require_float8(device)
            if offload:
                raise ValueError("offload moves blocks in bfloat16 or float32, got float8: choose one of the two")
        if offload and device.type == "cpu":
            warnings.warn(
                "offload has no effect on the CPU, whose memory is the host's: nothing is moved", stacklevel=3
            )
            offload = False
        number = torch.bfloat16 if dtype == "float8" else pick_dtype(dtype, device)
        return cls(device, number, offload, float8)

    @property
    def loads_on(self) -> torch.device:
        """Where the transformer is read to: to the host, when its blocks move one by one from there."""
        return torch.device("cpu") if self.offload or self.float8 else self.device

    def place(self, net: VideoDiT) -> VideoDiT:
        """The network, read to `loads_on`, where it belongs."""
        if self.offload:
            return offload_blocks(net, self.device)
        return quantize_blocks(net, self.device) if self.float8 else net
