"""Which models are measured: the row of the table that each belongs to, and the plans that it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewstep.checkpoints.hub import fetch
from fewstep.checkpoints.model_files import read_model
from fewstep.diffusion.steps import read_plan_name
from fewstep.evaluation.results import CONTROLS, ResultsError
from fewstep.models.checkpoint_dir import Passport
from fewstep.pipeline import Pipeline
from fewstep.shot import ShotOptions

PLANS = ("4", "2*", "2", "1*", "1")
ENHANCED = 4
"""Steps that a star gives the first chunk (ASD Table 1), and a plus the second: the same cost at another place."""


@dataclass(frozen=True)
class Entry:
    """A model and the row of the table that it belongs to; several models of one row are its training seeds."""

    row: str
    folder: Path
    passport: Passport

    @classmethod
    def parse(cls, words: str) -> Entry:
        """`MODEL`, whose row follows from how it was trained, or `ROW=MODEL`."""
        row, equals, name = words.partition("=") if not Path(words).exists() else ("", "", words)
        folder = fetch(name if equals else words)
        passport = read_model(folder).passport
        row = row if equals else row_of(passport)
        if not row or row in CONTROLS:
            raise ValueError(f"a row needs a name other than {' and '.join(CONTROLS)}, got '{words}': choose another")
        return cls(row, folder, passport)

    @property
    def training_seed(self) -> int:
        """Of the recipe, 0 where the passport says nothing."""
        return self.passport.seed or 0

    def plans(self, plans: Sequence[str], teacher_steps: int) -> tuple[str, ...]:
        """The plans asked for that the model can serve; a teacher has one of its own."""
        if self.passport.kind == "teacher":
            return (str(teacher_steps),)
        return tuple(plan for plan in plans if serves(self.passport, plan))


def row_of(passport: Passport) -> str:
    """The row of a model by its kind and recipe, else its own name."""
    if passport.kind == "teacher":
        return "teacher"
    family = (passport.trained_by or "").partition(".")[0]
    rows = {"ode": "init", "self_forcing": f"dmd{len(passport.levels)}", "asd": "asd"}
    return rows.get(family, passport.name)


def require_distinct(entries: Sequence[Entry]) -> None:
    """Raise ValueError for no models at all, and for two of one row and training seed."""
    if not entries:
        raise ValueError("one model or more is required, got none: name bundled models or folders")
    claimed: dict[tuple[str, int], Path] = {}
    for entry in entries:
        key = (entry.row, entry.training_seed)
        if key in claimed:
            raise ValueError(
                f"models of one row must differ in their training seed, '{claimed[key]}' and '{entry.folder}' are both "
                f"'{entry.row}' of seed {key[1]}: name another row, as in other={entry.folder}"
            )
        claimed[key] = entry.folder


def serves(passport: Passport, plan: str) -> bool:
    """Whether a student has the levels for a plan: a star or a plus needs all four, a count its own.

    Raises ValueError for a name that is no plan.
    """
    found = read_plan_name(plan)
    if found is None or (found[1] and found[0] >= ENHANCED):
        raise ValueError(
            f"a plan is a number of steps, with a star below {ENHANCED} for an enhanced first chunk or a plus for an "
            f"enhanced second one, such as 4, 2* or 1, got '{plan}'"
        )
    steps, mark = found
    return len(passport.levels) >= (ENHANCED if mark else steps)


def plan_options(pipeline: Pipeline, plan: str) -> ShotOptions:
    """`Pipeline.shot`'s options for a plan: "4", "2*", … of a student, a number of Euler steps of a teacher.

    Raises ValueError for a plan that the model cannot serve.
    """
    if not pipeline.is_student:
        if not plan.isdecimal():
            raise ValueError(f"a teacher's plan is a number of Euler steps, got '{plan}': ask for 50, say")
        return {"steps": int(plan)}
    if not serves(pipeline.passport, plan):
        levels = len(pipeline.passport.levels)
        raise ResultsError(
            f"plan '{plan}' needs {plan if plan.isdecimal() else ENHANCED} noise levels, '{pipeline.passport.name}' "
            f"has {levels}: ask for fewer steps, or measure a model that was trained for more"
        )
    options: ShotOptions = {"steps": int(plan.rstrip("*+"))}
    if plan.endswith("*"):
        options["first"] = ENHANCED
    elif plan.endswith("+"):
        options["second"] = ENHANCED
    return options
