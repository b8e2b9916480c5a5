"""AAD-1 (arXiv 2606.03972): what it printed and claims, and what stands for it here."""

from __future__ import annotations

from fewstep.reproduce.aad1 import figures, tables
from fewstep.reproduce.aad1.arms import JUDGES, STAGE2, dmd4, full
from fewstep.reproduce.aad1.both import both
from fewstep.reproduce.paper import Arm, Model, Paper

LEFT_OUT = {
    "Figures 2 and 3": "drawings of the method; what they draw is in `models/discriminator.py`, `methods/aad.py` and "
    "their tests",
    "Figures 1, 4, 6 and 7": "pictures picked by eye; the first clips of every arm, the same pictures and prompts for "
    "all, stand under Tables 1 to 4 instead",
    "Figure 5, CausVid": "no such student was trained here",
    "Tables 1, 2 and 4, aesthetic quality": "no measure without downloaded weights stands for it",
    "Table 5, 14B": "one size is embedded; its published rows are printed",
    "Appendix A": "propositions; the tests of the discriminator show which frames its gradients reach",
    "Appendix C, 1040 and 830 GB": "of 64 GPUs; one process on a CPU shares its memory with everything else, and "
    "`fewstep plan` counts it at any size",
}


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
            figures.penalty(full, STAGE2),
            figures.causal_teacher(),
            figures.preferred(full, dmd4),
            both(),
        ),
        left_out=LEFT_OUT,
        controls=(Arm(key="teacher@50", title="teacher, 50 steps", model=Model("shapes-teacher"), plan="50"),),
    )
