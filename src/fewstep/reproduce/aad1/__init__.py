"""AAD-1 (arXiv 2606.03972): what it printed and claims, and what stands for it here."""

from __future__ import annotations

from fewstep.reproduce.aad1 import figures, tables
from fewstep.reproduce.aad1.arms import JUDGES, STAGE2, dmd4, full, judged
from fewstep.reproduce.paper import Arm, Model, Paper


def paper() -> Paper:
    """AAD-1 at embedded scale."""
    return Paper(
        key="aad1",
        title="AAD-1: Asymmetric Adversarial Distillation for One-Step Autoregressive Video Generation",
        reference="arXiv 2606.03972v2",
        items=(
            tables.table1(),
            tables.table2(),
            tables.table3(),
            tables.table4(),
            figures.latency(full, dmd4),
            figures.cost(JUDGES["bidirectional_clip"], JUDGES["causal_clip"]),
            figures.penalty(judged["bidirectional_clip"], STAGE2),
            figures.causal_teacher(),
        ),
        controls=(Arm(key="teacher@50", title="teacher, 50 steps", model=Model("shapes-teacher"), plan="50"),),
    )
