"""What training adds to a player: its optimisers, its learning rate over time, and a running average of its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fewstep.methods.base import OptimConfig, Player
from fewstep.training.muon import KernelMuon

DECAY_FLOOR = 0.1
"""Share of the peak learning rate that a cosine decay ends at."""


def lr_factor(optim: OptimConfig, updates: int, progress: float) -> float:
    """Factor on every peak learning rate before update number `updates`, at `progress` in [0, 1] of the stage."""
    factor = min(1.0, (updates + 1) / (optim.warmup + 1))
    if optim.decay:
        factor *= DECAY_FLOOR + (1 - DECAY_FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return factor


def hidden_weights(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[str]:
    """Names of the weights of layers of some kinds inside repeated blocks: what Muon is made for."""
    repeated = tuple(
        f"{name}." if name else "" for name, part in module.named_modules() if isinstance(part, nn.ModuleList)
    )
    if not repeated:
        return set()
    inside = (name for name, part in module.named_modules() if isinstance(part, kinds) and name.startswith(repeated))
    return {f"{name}.weight" for name in inside}


def _groups(named: dict[str, nn.Parameter], optim: OptimConfig, lr: float) -> list[dict[str, Any]]:
    """Parameter groups, one per `lr_scale` prefix in use; each remembers its own peak."""
    scales = {name: next((f for p, f in optim.lr_scale.items() if name.startswith(p)), 1.0) for name in named}
    return [
        {"params": [p for name, p in named.items() if scales[name] == scale], "lr": lr * scale, "peak_lr": lr * scale}
        for scale in dict.fromkeys(scales.values())
    ]


def build_optimizers(module: nn.Module, optim: OptimConfig) -> list[torch.optim.Optimizer]:
    """Fused AdamW over everything; when `muon_lr` is set, Muon over hidden matrices and kernels, AdamW over the rest.

    Raises:
        ValueError: an `lr_scale` prefix matches no parameter.
    """
    named = dict(module.named_parameters())
    for prefix in optim.lr_scale:
        if not any(name.startswith(prefix) for name in named):
            raise ValueError(
                f"OptimConfig.lr_scale names the prefix {prefix!r}, but no parameter starts with it; "
                f"parameters start with {sorted({name.split('.')[0] for name in named})}"
            )
    use_muon = optim.muon_lr is not None
    matrices = hidden_weights(module, (nn.Linear,)) if use_muon else set()
    kernels = hidden_weights(module, (nn.Conv2d, nn.Conv3d)) if use_muon else set()
    rest = {name: p for name, p in named.items() if name not in matrices | kernels}
    optimizers: list[torch.optim.Optimizer] = []
    if rest:
        groups = _groups(rest, optim, optim.lr)
        settings = {"betas": optim.betas, "eps": optim.eps, "weight_decay": optim.weight_decay}
        optimizers.append(torch.optim.AdamW(groups, fused=True, **settings))
    for names, muon in ((matrices, torch.optim.Muon), (kernels, KernelMuon)):
        if names and optim.muon_lr is not None:
            groups = _groups({name: named[name] for name in named if name in names}, optim, optim.muon_lr)
            optimizers.append(muon(groups, weight_decay=optim.weight_decay))
    return optimizers


class Learner:
    """A player in training. Its whole state round-trips through `state_dict`."""

    def __init__(self, player: Player):
        self.module, self.optim = player.module, player.optim
        self.parameters = list(player.module.parameters())
        self.optimizers = build_optimizers(player.module, player.optim)
        self.updates = 0
        self.shown = player.average
        self.average: dict[str, Tensor] | None = None
        if player.average is not None:  # the very tensors of that module
            self.average = {name: value.detach() for name, value in player.average.state_dict().items()}

    def require_grad(self, on: bool) -> None:
        """Switch gradients of all the player's parameters."""
        for parameter in self.parameters:
            parameter.requires_grad_(on)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def clip(self) -> Tensor:
        """Limit the global gradient norm; returns the norm before, on the parameters' device."""
        return nn.utils.clip_grad_norm_(self.parameters, self.optim.clip)

    def step(self, progress: float) -> float:
        """One update of weights and average; returns the learning-rate factor used."""
        factor = lr_factor(self.optim, self.updates, progress)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            optimizer.step()
        self.updates += 1
        self._follow()
        return factor

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; it starts as a copy after `ema_start` updates."""
        if self.optim.ema is None or self.updates < self.optim.ema_start:
            return
        weights = dict(self._weights())
        if self.average is None:
            self.average = {name: value.clone() for name, value in weights.items()}
            return
        kept = [name for name, value in weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in kept], [weights[n] for n in kept], 1 - self.optim.ema)

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self.module.state_dict().items():
            yield name, value.detach()

    def result(self) -> dict[str, Tensor]:
        """The weights worth keeping: the average where one is kept, else the weights themselves."""
        return self.average if self.average is not None else dict(self._weights())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The module with its averaged weights, where an average is kept; its own come back to the bit."""
        if self.average is None:
            yield
            return
        own = {name: value.clone() for name, value in self._weights()}
        self.module.load_state_dict(self.average)
        try:
            yield
        finally:
            self.module.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        return {
            "module": dict(self._weights()),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        average = state["average"]
        if self.shown is not None:
            self.shown.load_state_dict(average)
            average = self.average
        elif average is not None:
            weights = dict(self._weights())
            average = {name: value.to(weights[name].device) for name, value in average.items()}
        self.average = average
        self.updates = state["updates"]
