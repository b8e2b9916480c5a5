"""Self Forcing with DMD: the baseline, for students of four, two and one steps."""

from __future__ import annotations

from fewstep.methods.base import OptimConfig
from fewstep.methods.dmd import DMDConfig
from fewstep.recipes import teacher
from fewstep.recipes.worlds import SHAPES, SHAPES_MATCHING, TINY, WAN, WAN_PROMPTS, WAN_RUNTIME
from fewstep.training.data import PromptData
from fewstep.training.recipe import Recipe, Stage


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = DMDConfig(
        **TINY.student,
        ratio=2,
        guidance=2.0,
        generator_optim=OptimConfig(lr=1e-3, ema=0.5, ema_start=1),
        fake_score_optim=OptimConfig(lr=1e-3),
    )
    stage = Stage(name="dmd", method=method, data=PromptData(world=TINY.world), steps=2, batch=2, init="teacher")
    return TINY.recipe("self_forcing.tiny", *teacher.tiny().stages, stage, teacher="teacher")


def shapes() -> Recipe:
    """The embedded baseline: four steps, every prefix trained by random exits."""
    return _shapes("self_forcing.shapes", SHAPES.levels)


def shapes_2step() -> Recipe:
    """The baseline retrained for two steps, as the paper retrains it: raw list (1000, 500)."""
    return _shapes("self_forcing.shapes_2step", (SHAPES.levels[0], SHAPES.levels[2]))


def shapes_1step() -> Recipe:
    """The baseline retrained for one step."""
    return _shapes("self_forcing.shapes_1step", SHAPES.levels[:1])


def wan_1_3b() -> Recipe:
    """Self Forcing's DMD at Wan 1.3B with the 14B teacher: 120 cycles are its 600 iterations."""
    method = DMDConfig(**WAN.student, batch_guidance=False)
    stage = Stage(
        name="dmd", method=method, data=WAN_PROMPTS, steps=120, batch=1, accumulate=64, init="runs/ode.wan_1_3b/model"
    )
    return WAN.distillation("self_forcing.wan_1_3b", stage, runtime=WAN_RUNTIME)


def _shapes(name: str, levels: tuple[float, ...]) -> Recipe:
    method = DMDConfig(**{**SHAPES.student, "levels": levels}, **SHAPES_MATCHING)
    return SHAPES.compared(name, "dmd", method)
