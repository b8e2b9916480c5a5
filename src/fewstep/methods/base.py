"""What a method is: players that learn, and turns that say who learns from which loss next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

import torch
from torch import Tensor, nn

from fewstep.diffusion.rng import Rng
from fewstep.types import Latents, TextEmbeds


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, the optimiser of the lineage, or Muon for the matrices of a network trained from nothing."""

    lr: float
    """Peak learning rate."""
    betas: tuple[float, float] = (0.0, 0.999)
    """AdamW moments; Self Forcing uses (0, 0.999)."""
    eps: float = 1e-8
    """AdamW denominator floor (ASD App. A)."""
    weight_decay: float = 0.01
    """Decoupled weight decay (ASD App. A)."""
    clip: float = 10.0
    """Global gradient-norm limit (Self Forcing: 10)."""
    warmup: int = 0
    """Updates of linear warm-up."""
    decay: bool = False
    """Cosine decay to a tenth of the peak over the stage."""
    lr_scale: Mapping[str, float] = field(default_factory=dict)
    """Parameter-name prefix -> factor on the learning rate."""
    muon_lr: float | None = None
    """When set, hidden matrices are trained by Muon at this rate and everything else by AdamW at `lr`."""
    ema: float | None = None
    """Decay of the exponential moving average of the weights; None keeps none."""
    ema_start: int = 0
    """Updates of this player after which the average starts, as a copy."""

    def __post_init__(self) -> None:
        for name, value in (("betas", self.betas[0]), ("betas", self.betas[1]), ("ema", self.ema or 0.0)):
            if not 0 <= value < 1:
                raise ValueError(f"OptimConfig.{name} must lie in [0, 1), got {value}: an average that fades")
        require_numbers(
            self, at_least={"lr": 0, "weight_decay": 0, "warmup": 0, "ema_start": 0}, above={"eps": 0, "clip": 0}
        )
        rates = {f"lr_scale[{prefix!r}]": factor for prefix, factor in self.lr_scale.items()}
        for name, rate in {"muon_lr": self.muon_lr or 0.0, **rates}.items():
            if not 0 <= rate < math.inf:
                raise ValueError(f"OptimConfig.{name} must be a finite number of 0 or more, got {rate}")


def require_numbers(config: Any, *, at_least: Mapping[str, float] = {}, above: Mapping[str, float] = {}) -> None:
    """Raise ValueError unless these fields of a config are finite and not below, or above, the bound beside each."""
    for name in (*at_least, *above):
        value = getattr(config, name)
        enough = value >= at_least[name] if name in at_least else value > above[name]
        if not (enough and value < math.inf):  # nan is never enough
            asked = f"of {at_least[name]} or more" if name in at_least else f"above {above[name]}"
            raise ValueError(f"{type(config).__name__}.{name} must be a finite number {asked}, got {value}")


def require_literals(config: Any) -> None:
    """Raise ValueError unless every field of a config that is one of a few words has one of them."""
    for name, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is Literal and (value := getattr(config, name)) not in get_args(hint):
            words = ", ".join(map(repr, get_args(hint)))
            raise ValueError(f"{type(config).__name__}.{name} must be one of {words}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a loss may look at. Fields a method does not ask for are None."""

    text: TextEmbeds | None = None
    """Embeddings of the prompts."""
    null_text: TextEmbeds | None = None
    """Embedding of the unconditional (or negative) prompt, repeated over the batch."""
    captions: tuple[str, ...] = ()
    latents: Latents | None = None
    """Clean clips."""
    trajectory: Tensor | None = None
    """`b s t c h w`: teacher ODE states at the plan's noise levels, noisy to clean; the last is the clean endpoint."""
    frames: Tensor | None = None
    """`b f 3 H W` float pixels in [-1, 1], for the autoencoder."""
    tokens: Tensor | None = None
    """`b l` token ids, for the text encoder."""
    targets: Mapping[str, Tensor] | None = None
    """Machine-readable labels, for the text encoder."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with every tensor on `device`."""

        def move(value):
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            if isinstance(value, Mapping):
                return {key: move(item) for key, item in value.items()}
            return value

        return Batch(**{name: move(getattr(self, name)) for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Loss:
    """A scalar to differentiate and the detached signals worth logging."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Player:
    """A module that some turn trains, and how."""

    module: nn.Module
    optim: OptimConfig
    average: nn.Module | None = None
    """A frozen copy of the module that holds its running average, for methods that ask it; the trainer moves it."""


@dataclass(frozen=True)
class Turn:
    """One optimiser update of one player. Only that player's parameters require gradients while `loss` runs."""

    player: str
    loss: Callable[[Batch], Loss]


@runtime_checkable
class Method(Protocol):
    """One paper, one file. The trainer knows this protocol and nothing else of a method."""

    players: dict[str, Player]
    generator: str
    """Name of the player whose (averaged) weights are the stage's result."""

    def turns(self, step: int) -> Sequence[Turn]:
        """The updates of one cycle, in order; each draws its own batch."""
        ...


@runtime_checkable
class Networks(Protocol):
    """What a method may ask for; training decides weights, device, precision and sharding."""

    def student(self) -> nn.Module: ...

    def teacher(self) -> nn.Module: ...

    def fake_score(self) -> nn.Module: ...


@runtime_checkable
class MethodConfig(Protocol):
    """A frozen dataclass of hyper-parameters that can make its method."""

    def build(self, networks: Networks, rng: Rng) -> Method: ...
