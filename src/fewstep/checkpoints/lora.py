"""LoRA on a transformer: W + s (alpha / rank) up down, folded into the weights or beside them.

`lora_file.read_lora` reads one from the formats in use. Axes: o outputs, i inputs, r rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fewstep.models.dit import VideoDiT
from fewstep.models.weights import WeightsError


@dataclass(frozen=True)
class LowRank:
    """A change of a weight: scale * up @ down."""

    down: Float[Tensor, "r i"]
    up: Float[Tensor, "o r"]
    scale: float
    """alpha / rank; what the user asks for multiplies it."""


@dataclass(frozen=True)
class LoRA:
    """What a file changes, by the transformer's parameter names."""

    name: str
    """The file, for messages."""
    low_rank: Mapping[str, LowRank]
    """Weight -> its two factors. A convolution's kernel counts as inputs."""
    added: Mapping[str, Tensor]
    """Parameter -> a difference of its own shape: of biases and norms, or of whole weights."""
    keys: Mapping[str, str]
    """Parameter -> the name that the file has for it."""

    @property
    def rank(self) -> int:
        """Of the widest pair."""
        return max((pair.down.shape[0] for pair in self.low_rank.values()), default=0)


Scaled = tuple[LoRA, float]
"""A LoRA and its strength; 1 is what it was trained for."""


@torch.no_grad()
def merge(net: VideoDiT, loras: Sequence[Scaled]) -> None:
    """Add the LoRAs to the weights. The sum is made in fp32 and rounded once, to the weights' dtype.

    Raises WeightsError, before anything has changed, naming each of their keys that the network has no place for.
    """
    for name, parameter in _touched(net, loras).items():
        parameter.copy_(_changed(name, parameter, loras, low_rank=True))


def attach(net: VideoDiT, loras: Sequence[Scaled]) -> Attached:
    """Put the LoRAs beside the weights: the linear layers get a low-rank branch, and keep their weights untouched.

    The few parameters that no branch can change (biases, norms, the patch embedding) are replaced, and the old ones
    kept. Attach before compiling. Several calls may follow each other. Raises WeightsError like `merge`.
    """
    modules, parameters = {}, {}
    for name, parameter in _touched(net, loras).items():
        where, _, leaf = name.rpartition(".")
        layer = net.get_submodule(where)
        pairs = [(lora.low_rank[name], scale) for lora, scale in loras if name in lora.low_rank]
        linear = isinstance(layer, nn.Linear) and leaf == "weight"
        if pairs and linear:
            modules[where] = (layer, LowRankLinear(layer, pairs))
        if not linear or any(name in lora.added for lora, _ in loras):
            changed = _changed(name, parameter.detach(), loras, low_rank=not linear)
            parameters[name] = (parameter, nn.Parameter(changed, requires_grad=parameter.requires_grad))
    for name, (_, module) in modules.items():
        net.set_submodule(name, module)
    for name, (_, new) in parameters.items():
        _set(net, name, new)
    return Attached(net, modules, parameters)


@dataclass(frozen=True)
class Attached:
    """LoRAs beside a network's weights, and the way back."""

    net: VideoDiT
    modules: Mapping[str, tuple[nn.Module, nn.Module]]
    """Name -> the layer that was there and the one with the branch."""
    parameters: Mapping[str, tuple[nn.Parameter, nn.Parameter]]
    """Name -> the parameter that was there and the changed one."""

    def remove(self) -> None:
        """The network as it was, bit for bit. Raises ValueError while a later LoRA sits on top of these."""
        on_top = any(self.net.get_submodule(name) is not new for name, (_, new) in self.modules.items())
        on_top |= any(self.net.get_parameter(name) is not new for name, (_, new) in self.parameters.items())
        if on_top:
            raise ValueError("LoRAs come off once, the last one first: remove what was attached later")
        for name, (old, _) in self.parameters.items():
            _set(self.net, name, old)
        for name, (module, _) in self.modules.items():
            self.net.set_submodule(name, module)


class LowRankLinear(nn.Linear):
    """A linear layer with a low-rank branch beside it: x -> W x + b + up (down x).

    Shares the parameters of the layer that it stands for. The branch shows in the state dict, so that two LoRAs make
    two networks to a fingerprint, and weights that lack theirs are not saved for whole ones.
    """

    down: Tensor
    up: Tensor

    def __init__(self, linear: nn.Linear, pairs: Sequence[tuple[LowRank, float]]):
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        downs = [_like(pair.down, linear.weight) for pair, _ in pairs]
        ups = [_like(scale * pair.scale * pair.up.float(), linear.weight) for pair, scale in pairs]
        if isinstance(linear, LowRankLinear):
            downs, ups = [linear.down, *downs], [linear.up, *ups]
        self.register_buffer("down", torch.cat(downs))
        self.register_buffer("up", torch.cat(ups, dim=1))
        self.train(linear.training)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        return super().forward(x) + F.linear(F.linear(x, self.down), self.up)


def _touched(net: VideoDiT, loras: Sequence[Scaled]) -> dict[str, nn.Parameter]:
    """The parameters that the LoRAs change."""
    parameters = dict(net.named_parameters())
    for lora, _ in loras:
        _check(parameters, lora)
    changed = {name for lora, _ in loras for name in lora.keys}
    return {name: parameter for name, parameter in parameters.items() if name in changed}


def _check(parameters: Mapping[str, Tensor], lora: LoRA) -> None:
    unknown = [key for name, key in lora.keys.items() if name not in parameters]
    shapes = {name: (pair.up.shape[0], pair.down.shape[1]) for name, pair in lora.low_rank.items()}
    reshaped = []
    for name, parameter in parameters.items():
        need, flat = tuple(parameter.shape), (parameter.shape[0], parameter[0].numel())
        if name in shapes and shapes[name] != flat:
            reshaped.append(f"{lora.keys[name]} (need {list(flat)}, found {list(shapes[name])})")
        if name in lora.added and tuple(lora.added[name].shape) != need:
            reshaped.append(f"{lora.keys[name]} (need {list(need)}, found {list(lora.added[name].shape)})")
    problems = [
        f"{len(keys)} {kind}: {', '.join(sorted(keys))}"
        for kind, keys in (("for layers that it has not", unknown), ("of another shape", reshaped))
        if keys
    ]
    if problems:
        raise WeightsError(
            f"the LoRA {lora.name} does not fit the network; {'; '.join(problems)}. "
            "Use a LoRA of a text-to-video Wan 2.1 of this size."
        )


def _changed(name: str, parameter: Tensor, loras: Sequence[Scaled], *, low_rank: bool) -> Tensor:
    """The parameter with its differences, and with its low-rank changes if asked for; in its own dtype."""
    wide = parameter.to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
    for lora, scale in loras:
        if low_rank and name in lora.low_rank:
            pair = lora.low_rank[name]
            down, up = _like(pair.down, wide), _like(pair.up, wide)
            wide += scale * pair.scale * (up @ down).view_as(wide)
        if name in lora.added:
            wide += scale * _like(lora.added[name], wide)
    return wide.to(parameter.dtype)


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    return tensor.to(other.device, other.dtype)


def _set(net: nn.Module, name: str, parameter: nn.Parameter) -> None:
    where, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(where), leaf, parameter)
