"""The motion alarm rings for clips that stand still, and for no others."""

from __future__ import annotations

from pathlib import Path

import torch

from fewstep.methods.base import Batch
from fewstep.recipes import asd
from fewstep.training.monitor import Monitor, motion


def watch(latents: torch.Tensor) -> Monitor:
    recipe = asd.tiny()
    return Monitor(Path("unused"), torch.nn.Identity(), recipe.stages[-1].method, recipe.clip, Batch(latents=latents))


def test_motion_is_the_mean_change_per_frame() -> None:
    ramp = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(2, 4, 3, 2, 2)
    assert motion(ramp) == 1.0
    assert motion(ramp * 0 + 7) == 0.0


def test_the_alarm_names_the_plan_that_collapsed() -> None:
    monitor = watch(torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    usual = {"monitor/motion_4step": monitor.reference * 0.9, "monitor/motion_1step": monitor.reference * 1.1}
    assert monitor.alarm(usual) is None
    warning = monitor.alarm({**usual, "monitor/motion_1step": 0.01})
    assert "motion collapse: clips change by 1step 0.01" in warning
    assert "4step" not in warning
