"""ASD at Wan's size: what stands there for the embedded runs."""

from __future__ import annotations

from dataclasses import replace

from fewstep.reproduce.asd import lengths, paper
from fewstep.reproduce.asd.arms import ASD, DMD1, DMD2, DMD4, SWEEP, teacher
from fewstep.reproduce.full_scale import T2V, Few, FullPaper
from fewstep.reproduce.paper import Item, Model, Training

START = Training(recipe="ode.wan_1_3b")
LEVELS = {"2step": ("1.0", "0.8333333333333334"), "1step": ("1.0",)}
"""(1000, 500) and (1000) at shift 5 (ASD, Appendix A)."""
SHARES = {"self_forcing.wan_1_3b.2step": 0.88, "self_forcing.wan_1_3b.1step": 0.81}
"""Of the four-step student's work: they roll out less, and the scores, most of the work, stay. An estimate."""
SMALL, LARGE = (f"Wan-AI/Wan2.1-T2V-{size}-Diffusers" for size in ("1.3B", "14B"))
"""The teacher of Table 1, and that of Table 3, which distillation matches."""
FEW = 683
"""Prompts of each of three seeds of noise, for the 2048 clips of a Fréchet distance."""
ABOUT = {
    "table1": "VBench on extended prompts, five clips of each, 25 of those of temporal flickering.",
    "table2": "The same 2 × 2 as the paper's; the plus spends First-Frame Enhancement's steps on the second chunk.",
    "table3": "FVD on I3D's features of 2049 clips a side, the same prompts and independent noise.",
    "table4": "Clips of 20 s by students of 5 s, whose chunks see the newest 21 latent frames at positions in them. "
    "Drift is the deviation of our imaging quality over segments of 2 s.",
    "figure8": "VBench's dimensions, normalised with its own constants.",
    "figure13": "From the logs of the two runs.",
    "figure14": "From the log of the run.",
}
ABSENT = {
    "figure4": "No command records what every step predicts at Wan's size: `fewstep reproduce asd` does so with the "
    "embedded models.",
    "figure6": "People are asked: `fewstep study CLIPS CLIPS -o DIR` makes the page from the clips of Table 1.",
}


def full_paper() -> FullPaper:
    """All items, with their commands' models, lengths and prompts."""
    whole = paper()
    distant = {arm.key: arm for arm in lengths.table3().arms}
    free, (far,) = (
        [arm for arm in distant.values() if arm.row == "asd"],
        [a for a in distant.values() if a.row != "asd"],
    )
    return FullPaper(
        paper=replace(whole, title=f"{whole.title} (Wan 2.1)", items=tuple(map(_item, whole.items)), controls=()),
        suite=T2V,
        trainings=_trainings(),
        hub={teacher.key: SMALL, far.key: LARGE},
        once=frozenset({START.key}),
        shares=SHARES,
        few={key: Few(FEW, tuple(10 * arm.noise + k for k in range(3))) for key, arm in distant.items()},
        own={arm.key: ("drift", "dynamic_degree") for arm in lengths.LONG.values()},
        distances=(
            *((free[n].key, free[n + 1].key) for n in range(len(free) - 1)),
            *((arm.key, far.key) for arm in free),
        ),
        window=("--window", "21", "--sink", "0"),
    )


def _item(item: Item) -> Item:
    if item.key in ABSENT:
        return replace(item, about="", absent=ABSENT[item.key], arms=(), tables=(), claims=(), figures=())
    return replace(item, about=ABOUT.get(item.key, item.about))


def _trainings() -> dict[str, Training]:
    """By the key of the embedded run; all students start from one causal start."""
    start = Model(START)
    found = {ASD: Training(recipe="asd.wan_1_3b", start=start)}
    found[DMD4] = Training(recipe="self_forcing.wan_1_3b", start=start)
    for embedded, variant in ((DMD2, "2step"), (DMD1, "1step")):
        levels = ("--stages.0.method.levels", *LEVELS[variant])
        found[embedded] = Training(recipe="self_forcing.wan_1_3b", variant=variant, options=levels, start=start)
    for embedded in SWEEP.values():
        found[embedded] = replace(embedded, recipe="asd.wan_1_3b", start=start)
    return {embedded.key: training for embedded, training in found.items()}
