"""The training loop: for each turn, only its player learns. It knows nothing of what the losses mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Method, Turn
from fewstep.training.optim import Learner
from fewstep.training.precision import computing


class NonFiniteError(ValueError):
    """A loss or gradient norm stopped being a finite number; nothing was written to the weights."""


@dataclass
class Cycle:
    """What one pass over a method's turns measured; means over the turns of each player."""

    step: int
    signals: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Trainer:
    """A method, its learners, and where they are. `state_dict` holds all that a bit-exact resume needs."""

    def __init__(
        self,
        method: Method,
        rng: Rng,
        read: Callable[[int], Batch],
        *,
        steps: int,
        accumulate: int = 1,
        dtype: torch.dtype = torch.float32,
    ):
        self.method, self.rng, self.read = method, rng, read
        self.steps, self.accumulate, self.dtype = steps, accumulate, dtype
        self.learners = {name: Learner(player) for name, player in method.players.items()}
        self.step = 0
        self.position = 0

    def cycle(self) -> Cycle:
        """Every turn of one cycle, in order."""
        started = time.perf_counter()
        measured: list[tuple[str, dict[str, Tensor]]] = []
        for turn in self.method.turns(self.step):
            measured.append((turn.player, self._update(turn)))
        self.step += 1
        return Cycle(self.step, _means(measured), time.perf_counter() - started)

    def _update(self, turn: Turn) -> dict[str, Tensor]:
        """One optimiser update: accumulate, check, clip, step."""
        learner = self.learners[turn.player]
        for other in self.learners.values():
            other.require_grad(other is learner)
        learner.zero_grad()
        parts = self._accumulate(turn)
        norm = learner.clip()
        self._require_finite(turn.player, {**parts, "grad_norm": norm})
        factor = learner.step(self.step / self.steps)
        learner.zero_grad()
        return {**parts, "grad_norm": norm, "lr": torch.tensor(factor * learner.optim.lr)}

    def _accumulate(self, turn: Turn) -> dict[str, Tensor]:
        """Gradients of the mean loss over `accumulate` batches; returns the mean of each signal."""
        sums: dict[str, Tensor] = {}
        for _ in range(self.accumulate):
            batch = self.read(self.position).to(self.rng.device)
            self.position += 1
            with computing(self.dtype, self.rng.device):
                loss = turn.loss(batch)
            (loss.total / self.accumulate).backward()
            for name, value in {**loss.parts, "loss": loss.total}.items():
                share = torch.as_tensor(value).detach().float() / self.accumulate
                sums[name] = sums[name] + share if name in sums else share
        return sums

    def _require_finite(self, player: str, signals: Mapping[str, Tensor]) -> None:
        """Stop before the optimiser step when a loss or norm is not finite: reduced on the device, read once."""
        checked = torch.stack([signals["loss"].reshape(()), signals["grad_norm"].float().to(signals["loss"].device)])
        if bool(torch.isfinite(checked).all()):
            return
        shown = ", ".join(f"{name} {float(value):.4g}" for name, value in signals.items() if value.numel() == 1)
        raise NonFiniteError(
            f"losses and gradients must be finite, but {player}'s turn in cycle {self.step} gave {shown}; "
            "the weights were not changed: lower its learning rate or look at the data, then resume"
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "position": self.position,
            "rng": self.rng.state_dict(),
            "learners": {name: learner.state_dict() for name, learner in self.learners.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, learner in self.learners.items():
            learner.load_state_dict(state["learners"][name])
        self.rng.load_state_dict(state["rng"])
        self.step, self.position = state["step"], state["position"]

    def counters(self) -> dict[str, int]:
        """Batches read, and updates of each player, since the stage began."""
        updates = {f"{name}_updates": learner.updates for name, learner in self.learners.items()}
        return {"batches": self.position, **updates}

    @property
    def generator(self) -> Learner:
        """Learner of the player whose weights are the stage's result."""
        return self.learners[self.method.generator]


def _means(measured: list[tuple[str, dict[str, Tensor]]]) -> dict[str, float]:
    """`player/signal` -> mean over that player's turns; a signal that some turns lack is averaged over the others."""
    named = [(f"{player}/{name}", value) for player, signals in measured for name, value in signals.items()]
    on_device = torch.stack([value.detach().float().reshape(()).to(named[0][1].device) for _, value in named])
    values: dict[str, list[float]] = {}
    for (name, _), value in zip(named, on_device.tolist(), strict=True):
        values.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in values.items()}
