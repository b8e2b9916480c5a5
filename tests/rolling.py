"""A short clip in chunks of three, and what a network runs to make it."""

from __future__ import annotations

import torch

from fewstep.diffusion.steps import StepPlan
from fewstep.models.layout import ChunkLayout
from fewstep.rollout import rollout

FOUR, TWO, ONE = (StepPlan.uniform(levels) for levels in ((1.0, 0.9, 0.8, 0.6), (1.0, 0.8), (1.0,)))
LAYOUT = ChunkLayout(3)
NEAR = {"rtol": 1e-5, "atol": 1e-5}


def some_start():
    """Noise of two clips, and their prompts."""
    torch.manual_seed(2)
    return torch.randn(2, 12, 16, 4, 4), torch.randn(2, 8, 32)


def run(net, start, plan=TWO, layout=LAYOUT, **options):
    return rollout(net, *start, plan, layout=layout, rng=torch.Generator().manual_seed(3), **options)


class Log:
    """Which passes a network runs, by wrapping its three entry points."""

    def __init__(self, net, monkeypatch):
        self.passes = []
        for name in ("forward", "prefill", "forward_packed"):
            monkeypatch.setattr(net, name, self._logged(name, getattr(net, name)))

    def _logged(self, name, function):
        def call(*args, **kwargs):
            self.passes.append(name)
            return function(*args, **kwargs)

        return call
