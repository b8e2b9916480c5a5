"""Adversarial Self-Distillation (arXiv 2511.01419): what it printed and claims, and what stands for it here."""

from __future__ import annotations

from fewstep.reproduce.asd import figures, lengths, tables
from fewstep.reproduce.asd.arms import start, teacher
from fewstep.reproduce.paper import Paper


def paper() -> Paper:
    """ASD at embedded scale."""
    return Paper(
        key="asd",
        title="Towards One-Step Causal Video Generation via Adversarial Self-Distillation",
        reference="arXiv 2511.01419",
        items=(
            tables.table1(),
            tables.table2(),
            lengths.table3(),
            lengths.table4(),
            figures.figure4(),
            figures.figure6(),
            figures.figure8(),
            figures.figure11(),
            figures.figure13(),
            figures.figure14(),
        ),
        controls=(teacher, start),
    )
