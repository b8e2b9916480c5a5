"""Adversarial Self-Distillation (arXiv 2511.01419): what it printed and claims, and what stands for it here."""

from __future__ import annotations

from fewstep.reproduce.asd import figures, lengths, tables
from fewstep.reproduce.asd.arms import start, teacher
from fewstep.reproduce.paper import Paper

LEFT_OUT = {
    "Figures 1 and 3": "drawings of the method; what they draw is in `methods/asd.py` and its tests",
    "Figures 2, 5, 7 and 10": "pictures picked by eye; the first clips of every arm, the same prompts for all, stand "
    "under Tables 1, 2 and 4 instead",
    "Figure 6, the bars of MAGI-1, Wan2.1, SkyReels-V2 and CausVid": "none of these models has an embedded counterpart",
    "Figure 8, aesthetic quality": "no measure without downloaded weights stands for it",
    "Figure 9, its three scenarios": "the prompts of complex motion of objects and of the camera are unpublished; "
    "ShapeWorld's test prompts, which hold both, stand for all three",
    "Figure 12": "a screenshot of the raters' page; `fewstep study` makes one",
    "Appendix I, 1.3 % more memory": "one process on a CPU shares its memory with everything else; `fewstep plan` "
    "counts it at any size",
}


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
        left_out=LEFT_OUT,
    )
