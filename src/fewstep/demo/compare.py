"""The same prompts and noise through every model and plan of the demo, each clip timed alone and judged exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fewstep.demo.page import Take, Variant
from fewstep.evaluation.semantics import judge
from fewstep.models.checkpoint_dir import FROM_IMAGE, FROM_TEXT
from fewstep.pipeline import Pipeline
from fewstep.rollout import OnStep
from fewstep.shapes.grammar import Scene, caption
from fewstep.shapes.render import render
from fewstep.shot import TEACHER_STEPS, Generation, ShotOptions

TEACHER, START, STUDENT, ANIMATOR = "shapes-teacher", "shapes-init", FROM_TEXT, FROM_IMAGE
PLANS = ("4", "2*", "2", "1*", "1")


@dataclass(frozen=True, kw_only=True)
class Column:
    """What to make one variant with."""

    group: str
    weights: str
    model: str | Path
    plan: str | None = None
    """Name of a step plan; None is a teacher's own sampler."""


def columns(available: Sequence[str], live: Path | None, live_note: str) -> list[Column]:
    """The page's columns for the bundled models that are there, and the student that was just distilled."""
    found = []
    if TEACHER in available:
        found.append(Column(group="teacher", weights="teacher", model=TEACHER))
    if STUDENT in available:
        found += [Column(group="student", weights="one ASD student", model=STUDENT, plan=plan) for plan in PLANS]
    if START in available:
        found.append(Column(group="live", weights="before distillation", model=START, plan="1"))
    if live is not None:
        found.append(Column(group="live", weights=live_note, model=live, plan="1"))
    return found


def animator() -> Column:
    """The bundled student that goes on from a picture."""
    return Column(group="image", weights="image-to-video student", model=ANIMATOR, plan="1")


def measure(
    column: Column, pipeline: Pipeline, scenes: Sequence[Scene], seed: int, advance: Callable[[], None]
) -> Variant:
    """One clip per scene, behind the scene's first picture where the student goes on from one.

    The first is made twice: what a process does only once is not part of a clip's time.
    """
    steps, first = _counts(column.plan, len(pipeline.passport.levels)) if column.plan else (None, None)

    def make(index: int, on_step: OnStep | None = None) -> Generation:
        scene = scenes[index]
        picture = render(scene, frames=1)[0] if pipeline.passport.begins_with == "image" else None
        options: ShotOptions = {"steps": steps, "first": first, "image": picture}
        return pipeline.generate(caption(scene), seed=seed, index=index, on_step=on_step, **options)

    taken: Counter[int] = Counter()
    make(0, lambda chunk, step, x0: taken.update([chunk]))
    takes = []
    for index, scene in enumerate(scenes):
        made = make(index)
        takes.append(Take(made.frames[0], made.seconds["total"], judge(made.frames[0], scene)))
        advance()
    return Variant(
        group=column.group,
        title=_title(column.plan),
        weights=column.weights,
        steps=tuple(taken.values()) if column.plan else (made.network_evaluations,),
        commits=made.commits,
        takes=tuple(takes),
        score=sum(take.right for take in takes) / sum(len(take.checks) for take in takes),
        seconds=median(take.seconds for take in takes),
    )


def _counts(plan: str, levels: int) -> tuple[int, int | None]:
    return int(plan.rstrip("*")), levels if plan.endswith("*") else None


def _title(plan: str | None) -> str:
    if plan is None:
        return f"{TEACHER_STEPS} steps"
    return "1 step" if plan == "1" else f"{plan} steps"
