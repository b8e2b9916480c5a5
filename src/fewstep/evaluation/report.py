"""The README's table from saved cells: rows of models, columns of step plans, intervals in every field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from fewstep.evaluation.results import Cell, ResultsError
from fewstep.evaluation.scores import MEASURES, TOTALS, resample, values_of
from fewstep.metrics.base import ABSENT, Estimate
from fewstep.metrics.seeds import Missing, Seeded, paired, seeded

TITLES = {
    "truth": "ground truth",
    "vae": "VAE round trip",
    "teacher": "teacher",
    "init": "ODE initialisation, before",
    "dmd4": "DMD for 4 steps",
    "dmd2": "DMD retrained for 2 steps",
    "dmd1": "DMD retrained for 1 step",
    "asd": "ASD, one student",
}
"""Rows in their order; others follow under their own names."""
OWN = "own sampler"
"""Column of rows that have no step plan."""
HEADLINE = {"semantic": "S", "quality": "Q", "dynamic_degree": "D"}
"""Scores of the main table and their letters there."""


@dataclass(frozen=True)
class Grid:
    """Text in rows and columns."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As a table of a README; lines within a field are kept."""
        lines = [f"| {' | '.join(self.header)} |", f"|{'---|' * len(self.header)}"]
        lines += [f"| {' | '.join(text.replace(chr(10), '<br>') for text in row)} |" for row in self.rows]
        return "\n".join(lines)


@dataclass(frozen=True)
class Field:
    """One row at one plan; its cells are the training seeds."""

    row: str
    plan: str
    cells: tuple[Cell, ...]

    @property
    def column(self) -> str:
        """Column of the table."""
        return self.plan if self.cells[0].kind == "student" else OWN

    def quantity(self, name: str) -> Seeded:
        """One of the totals and measures, of every training seed; a row of one model has none to differ by."""
        seeds = tuple(cell.training_seed for cell in self.cells) if len(self.cells) > 1 else ()
        return seeded(seeds, [each[name] for each in self._scores], len(self.cells[0].clips))

    def estimate(self, name: str) -> Estimate:
        """The same with its interval."""
        return self.quantity(name).estimate()

    @cached_property
    def _scores(self) -> list[dict[str, np.ndarray]]:
        return [resample(values_of(cell.clips)) for cell in self.cells]


def fields(cells: Sequence[Cell]) -> list[Field]:
    """Cells grouped by row and plan, in the table's order."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.row, cell.plan), []).append(cell)
    rows = [*TITLES, *sorted({row for row, _ in groups} - set(TITLES))]
    found = [Field(row, plan, tuple(group)) for (row, plan), group in groups.items()]
    return sorted(found, key=lambda field: (rows.index(field.row), -_effort(field.plan)))


def headline(found: Sequence[Field]) -> Grid:
    """The main table: Semantic, Quality and dynamic degree with intervals, evaluations and time per clip."""
    texts = {(field.row, field.column): _headline(field) for field in found}
    return _grid("Scores by model and step plan", found, texts)


def relative(found: Sequence[Field], reference: str) -> Grid:
    """Semantic in percent of another row's, paired over prompts and training seeds, with the interval of the ratio.

    Fields are compared with the reference's field of the same plan where it has one, else with its only one. A row of
    one model stands beside every seed of the other; rows of several that share no seed are not compared.
    """
    others = {field.column: field for field in found if field.row == reference}
    if not others:
        names = ", ".join(dict.fromkeys(field.row for field in found))
        raise ResultsError(f"a row of the table is required, got '{reference}': choose from {names}")
    texts = {}
    for field in found:
        other = others.get(field.column) or (next(iter(others.values())) if len(others) == 1 else None)
        if field.row != reference and other is not None:
            try:
                ratio = paired(_percent, field.quantity("semantic"), other.quantity("semantic"))
            except Missing:
                continue
            texts[field.row, field.column] = str(ratio.estimate())
    return _grid(f"Semantic in percent of: {TITLES.get(reference, reference)}", found, texts)


def dimensions(found: Sequence[Field]) -> list[Grid]:
    """Every total and measure of every row and plan in percent, in two tables: Semantic's, then the others."""
    split = MEASURES.index("object_class"), MEASURES.index("overall_consistency") + 1
    semantic = MEASURES[split[0] : split[1]]
    others = tuple(name for name in MEASURES if name not in semantic)
    heads = [("Semantic and its dimensions", ("semantic", *semantic)), ("Quality and the rest", (*TOTALS[1:], *others))]
    return [
        Grid(
            title,
            ("", "steps", *(name.replace("_", " ") for name in names)),
            tuple(
                (_title(field.row, [field]), field.plan, *(field.estimate(name).short for name in names))
                for field in found
            ),
        )
        for title, names in heads
    ]


def notes(found: Sequence[Field]) -> list[str]:
    """What the table rests on: prompts, intervals, and the machine that was timed."""
    cells = [cell for field in found for cell in field.cells]
    protocol = cells[0].protocol
    first = ", the first frames of their scenes" if protocol.begins_with == "image" else ""
    timed = sorted({f"{c.timing.device}, {c.timing.threads} threads, {c.timing.dtype}" for c in cells if c.timing})
    commits = sorted({cell.commit for cell in cells if cell.commit})
    lines = [
        f"S: Semantic, Q: Quality, D: dynamic degree on prompts that ask for fast motion. ShapeBench "
        f"{protocol.scorer}, 0 to 100; no VBench numbers.",
        f"{protocol.clips} {protocol.split} prompts ({protocol.prompts}){first} and noise of seed {protocol.seed}, the "
        "same for every model and plan. In brackets: 95 % intervals, by a bootstrap over prompts, and Student's t over "
        "training seeds where a row has several.",
        "Evaluations count guided steps twice and commits to the cache not. Time: median of clips made one by one, "
        f"transformer and decoder ({'; '.join(timed) or 'not measured'}).",
    ]
    return [*lines, f"Measured at commit {', '.join(commits)}."] if commits else lines


def _grid(title: str, found: Sequence[Field], texts: dict[tuple[str, str], str]) -> Grid:
    columns = sorted({field.column for field in found}, key=_effort, reverse=True)
    names = {OWN: OWN, "1": "1 step"}
    header = ("", *(names.get(column, f"{column} steps") for column in columns))
    rows = [row for row in dict.fromkeys(field.row for field in found) if any(row == key for key, _ in texts)]
    body = ((_title(row, found), *(texts.get((row, column), ABSENT) for column in columns)) for row in rows)
    return Grid(title, header, tuple(body))


def _percent(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return 100 * ours / theirs


def _headline(field: Field) -> str:
    lines = [f"{letter} {field.estimate(name)}" for name, letter in HEADLINE.items()]
    evaluations = field.cells[0].evaluations
    if evaluations is not None:
        times = [cell.timing.seconds for cell in field.cells if cell.timing]
        lines += [f"{evaluations} evaluations", *([f"{1000 * median(times):.0f} ms"] if times else [])]
    return "\n".join(lines)


def _title(row: str, found: Sequence[Field]) -> str:
    own = [field for field in found if field.row == row]
    title, seeds = TITLES.get(row, row), max(len(field.cells) for field in own)
    if own[0].cells[0].kind == "teacher":
        title += f" ({', '.join(field.plan for field in own)} steps)"
    return title if seeds == 1 else f"{title} ({seeds} seeds)"


def _effort(plan: str) -> float:
    """Plans by what they cost: a starred one lies between its count and the next; no plan is the most."""
    steps = plan.rstrip("*+")
    return float(steps) + {"*": 0.5, "+": 0.25}.get(plan[-1], 0.0) if steps.isdecimal() else 1e9
