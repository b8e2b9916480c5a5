"""ShapeBench results side by side, with the intervals without which they mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.table import Table

from fewstep.evaluation.shapebench import DIMENSIONS, ShapeScores

MEASURES: dict[str, Callable[[ShapeScores], float]] = {
    "Total": lambda s: s.total,
    "Quality": lambda s: s.quality,
    "Semantic": lambda s: s.semantic,
    "shape ∧ colour": lambda s: s.dimensions["color"],
    "imaging": lambda s: s.dimensions["imaging_quality"],
    "facts right": lambda s: s.atoms_true,
    "recognised": lambda s: s.recognition_rate,
    "dynamic": lambda s: s.dimensions["dynamic_degree"],
    "drift": lambda s: s.drift,
}
"""Columns of the summary."""


def summary_table(results: Mapping[str, ShapeScores], *, draws: int = 300) -> Table:
    """One row per model with 95 % bootstrap intervals over clips."""
    table = Table("", *MEASURES, title="ShapeBench, percent (95 % interval over clips)")
    for name, scores in results.items():
        cells = []
        for measure in MEASURES.values():
            low, high = scores.interval(measure, draws=draws)
            cells.append(f"{measure(scores):.1f}\n[dim]{low:.1f} … {high:.1f}[/dim]")
        table.add_row(name, *cells)
    return table


def dimension_table(results: Mapping[str, ShapeScores]) -> Table:
    """One row per dimension, one column per model: raw means in percent."""
    table = Table("dimension", *results, title="ShapeBench, raw dimensions in percent")
    for name in DIMENSIONS:
        table.add_row(name, *(f"{scores.dimensions[name]:.1f}" for scores in results.values()))
    return table
