"""Tiny networks for methods, and who of a game's players learns what."""

from __future__ import annotations

from copy import deepcopy

import torch

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Method, OptimConfig, Turn
from fewstep.models.dit import VideoDiT
from fewstep.models.presets import PRESETS

TINY = PRESETS["tiny"]
FAST = OptimConfig(lr=1e-3, weight_decay=0.0)


class Networks:
    """Tiny networks by their seeds, with no parameter left at zero."""

    def __init__(self, *, student: int = 0, fake_score: int = 0, teacher: int = 0, checkpointing: bool = False):
        self.seeds = {"student": student, "fake_score": fake_score, "teacher": teacher}
        self.checkpointing = checkpointing

    def _net(self, name: str) -> VideoDiT:
        torch.manual_seed(self.seeds[name])
        net = VideoDiT(TINY)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        net.gradient_checkpointing = self.checkpointing
        return net

    def student(self) -> VideoDiT:
        return self._net("student")

    def fake_score(self) -> VideoDiT:
        return self._net("fake_score")

    def teacher(self) -> VideoDiT:
        return self._net("teacher").requires_grad_(False)


def prompts(index: int = 0, size: int = 2, clip: tuple[int, ...] | None = None) -> Batch:
    """Prompts of a seed, and clips of a shape."""
    generator = torch.Generator().manual_seed(index)
    text = torch.randn(size, 5, TINY.text_dim, generator=generator)
    latents = None if clip is None else torch.randn(size, *clip, generator=generator)
    return Batch(text=text, null_text=torch.zeros_like(text), latents=latents)


def freeze_all_but(method: Method, name: str) -> None:
    """As the trainer does for a turn; a player's frozen parts that another owns come last."""
    for player in method.players.values():
        player.module.requires_grad_(False)
    method.players[name].module.requires_grad_(True)


def owners_of_gradients(method: Method) -> set[str]:
    """Players that hold a gradient which is not zero."""
    return {
        name
        for name, player in method.players.items()
        if any(p.grad is not None and p.grad.abs().max() > 0 for p in player.module.parameters())
    }


def moved_by(method: Method, turn: Turn, batch: Batch) -> set[str]:
    """Players whose weights another look finds changed after one update, made as the trainer makes it."""
    freeze_all_but(method, turn.player)
    before = {name: deepcopy(player.module.state_dict()) for name, player in method.players.items()}
    optimizer = torch.optim.AdamW(method.players[turn.player].module.parameters(), lr=1e-3)
    turn.loss(batch).total.backward()
    optimizer.step()
    optimizer.zero_grad()
    after = {name: player.module.state_dict() for name, player in method.players.items()}
    return {name for name in before if any(not torch.equal(before[name][k], after[name][k]) for k in before[name])}


def twice(method: Method, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of a cycle, and of the same cycle from the same random streams."""
    assert isinstance(method.rng, Rng)
    state, made = deepcopy(method.rng.state_dict()), []
    for _ in range(2):
        method.rng.load_state_dict(deepcopy(state))
        made.append(torch.stack([turn.loss(batch).total for turn in method.turns(0)]))
    return made[0], made[1]
