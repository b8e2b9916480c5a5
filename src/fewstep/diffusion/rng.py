"""Random streams that can be saved: every draw in the package names the one it comes from."""

from __future__ import annotations

import torch
from torch import Tensor


class Rng:
    """Two streams: `shared` agrees on all ranks (step counts), `local` differs per data-parallel rank (noise)."""

    def __init__(self, seed: int, *, rank: int = 0, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.shared = torch.Generator().manual_seed(seed)
        self.local = torch.Generator(device=self.device).manual_seed(seed * 1_000_003 + rank + 1)

    def integer(self, low: int, high: int) -> int:
        """A uniform integer in [low, high), the same on every rank."""
        return int(torch.randint(low, high, (), generator=self.shared))

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal noise of x's shape, dtype and device, from the local stream."""
        return torch.randn(x.shape, generator=self.local, device=self.device, dtype=torch.float32).to(x)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) from the local stream."""
        return torch.rand(shape, generator=self.local, device=self.device)

    def state_dict(self) -> dict[str, Tensor]:
        return {"shared": self.shared.get_state(), "local": self.local.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.shared.set_state(state["shared"].cpu())
        self.local.set_state(state["local"].cpu())
