"""The models and plans that stand for those of ASD, and what counts as a difference."""

from __future__ import annotations

from typing import Any

from fewstep.reproduce.paper import Arm, Model, Training

TOTALS = {"total": "Total", "quality": "Quality", "semantic": "Semantic"}
MARGIN = {"total": 2.0, "quality": 2.0, "semantic": 4.0}
"""Points that count, fixed before anything was measured: two fifths of what First-Frame Enhancement alone brings the
paper at one step (4.9 of Total without ASD, Table 2). Semantic varies twice as much."""
DIMENSION, COSINE, DISTANCE, SHARE = 3.0, 0.02, 1.0, 10.0
"""The same for a single dimension, a cosine, a Fréchet distance, and a share of preferences in percent."""

ASD = Training(recipe="asd.shapes")
DMD4, DMD2, DMD1 = (Training(recipe=f"self_forcing.shapes{suffix}") for suffix in ("", "_2step", "_1step"))
ALPHAS = (0.0, 0.01, 0.03, 0.3, 1.0)
"""Of Figure 11, beside the recipe's own 0.1."""
SWEEP = {
    alpha: Training(recipe="asd.shapes", variant=f"alpha{alpha:g}", options=("--stages.0.method.alpha", f"{alpha:g}"))
    for alpha in ALPHAS
}


def arm_of(row: str, training: Training | str, title: str, plan: str, mark: str = "", **special: Any) -> Arm:
    """An arm under the key `row@plan` and what is special of it."""
    return Arm(key=f"{row}@{plan}{mark}", title=title, model=Model(training), plan=plan, **special)


PLANS = ("4", "2*", "2", "2+", "1*", "1", "1+")
asd = {plan: arm_of("asd", ASD, f"ASD, {plan}", plan) for plan in PLANS}
dmd4 = {plan: arm_of("dmd4", DMD4, f"DMD for 4 steps, {plan}", plan) for plan in PLANS}
dmd2 = arm_of("dmd2", DMD2, "DMD retrained for 2", "2")
dmd1 = arm_of("dmd1", DMD1, "DMD retrained for 1", "1")
teacher = arm_of("teacher", "shapes-teacher", "teacher, 50 steps", "50")
start = arm_of("init", "shapes-init", "ODE start, 4 steps", "4")


def published(total: float, quality: float, semantic: float) -> dict[str, float]:
    """A printed triple."""
    return {"total": total, "quality": quality, "semantic": semantic}
