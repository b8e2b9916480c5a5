"""The motion alarm rings for clips that stand still, and for no others."""

from __future__ import annotations

from pathlib import Path

import torch

from fewstep.methods.base import Batch
from fewstep.recipes import asd
from fewstep.training.monitor import Monitor, MotionWatch, motion


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


def test_motion_falls_below_a_share_of_the_most_so_far_but_of_no_more_than_real_clips_have() -> None:
    watch = MotionWatch(0.8, real=1.0)
    seen = [{"monitor/motion_4step": 9.0, "monitor/motion_1step": v} for v in (0.5, 0.9, 0.75, 0.71, 2.0, 0.85, 0.79)]
    assert [watch.fell(signals) for signals in seen] == [False, False, False, True, False, False, True]
    assert watch.most == 2.0
    without = MotionWatch(0.8, real=None, most=2.0)
    assert without.fell({"monitor/motion_1step": 1.5, "monitor/motion_reference": 0.1})
