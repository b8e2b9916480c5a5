"""AAD-1 at Wan's size: what stands there for the embedded runs, the 14B student of the paper."""

from __future__ import annotations

from dataclasses import replace

from fewstep.recipes.aad1 import CONTEXT, LAYOUT
from fewstep.reproduce.aad1 import paper
from fewstep.reproduce.aad1.arms import COLD, DMD4, OTHERS, TWO_STEPS, WHOLE, judged_long, long
from fewstep.reproduce.full_scale import I2V, Few, FullPaper, Run
from fewstep.reproduce.paper import Item, Model, Training

START, STUDENT = Training(recipe="ode.wan_1_3b"), Training(recipe="aad1.wan_14b")
"""Self Forcing's causal start, and all three stages of the paper's student."""
REFINED = "aad1.wan_14b_refined"
"""The last stage alone, which the ablations change."""
CHANGES = {
    "causal_frame": {"discriminator.visibility": "causal", "discriminator.granularity": "frame"},
    "causal_clip": {"discriminator.visibility": "causal"},
    "bidirectional_frame": {"discriminator.granularity": "frame"},
}
"""Of stage III, by row of Table 3; its last row is the student itself."""
TWO = ("1.0", "0.8333333333333334")
"""Levels of the variant of two evaluations: (1000, 500) at shift 5."""
DRIFTING = Few(100, (0,), ("drift", "dynamic_degree"))
"""The paper's Table 3 is of 100 clips, some of them its own; these are of VBench-I2V's first 100 prompts."""
LATENCY = tuple(
    Run(f"latency of {size}", ("fewstep", "bench", "--preset", f"wan_{size}", "--steps", "1", "4",
                               "--json", f"runs/wan/bench_{size}.json"), 0.1)
    for size in ("1_3b", "14b")
)  # fmt: skip
ABOUT = {
    "table1": "VBench-I2V's columns of the whole list, five clips of each prompt and picture. Self Forcing is asked to "
    "go on from pictures as it is, as in the paper.",
    "table2": "The paper prints two cells; here are all four, by VBench-I2V.",
    "table3": "Drift is our imaging quality's, of 20 s; dynamic degree is VBench-I2V's, of 5 s.",
    "table4": "The long and the large clips are made by the student of Table 1 as it is.",
    "figure9": "Imaging quality by VBench-I2V stands for collapse, the energy of a grid at 8 or 16 pixels for grids.",
}
ABSENT = {
    "both": "Of embedded size only: no recipe of this size refines ASD's student.",
    "table5": "Speed is a machine's: `fewstep bench --preset wan_14b --steps 1 4` prints latency and rate.",
}


def full_paper() -> FullPaper:
    """All items, with their commands' models, lengths and pictures."""
    whole = paper()
    return FullPaper(
        paper=replace(whole, title=f"{whole.title} (Wan 2.1)", items=tuple(map(_item, whole.items)), controls=()),
        suite=I2V,
        trainings=_trainings(),
        once=frozenset({START.key}),
        few={arm.key: DRIFTING for arm in judged_long.values()},
        own={long.key: ("drift", "dynamic_degree")} | dict.fromkeys(_of_figure9(), ("grid_energy",)),
        extra={"table5": LATENCY},
        layout=LAYOUT,
        context=CONTEXT,
    )


def _of_figure9() -> list[str]:
    (item,) = [each for each in paper().items if each.key == "figure9"]
    return [arm.key for arm in item.arms]


def _item(item: Item) -> Item:
    if item.key in ABSENT:
        return replace(item, about="", absent=ABSENT[item.key], arms=(), tables=(), claims=(), figures=())
    return replace(item, about=ABOUT.get(item.key, item.about))


def _trainings() -> dict[str, Training]:
    """By the key of the embedded run."""
    warm, cold = Model(STUDENT, "warmup/model"), Model(STUDENT, "ode/model")
    found = {WHOLE.key: STUDENT, DMD4.key: Training(recipe="self_forcing.wan_1_3b", start=Model(START))}
    found[COLD.key] = Training(recipe=REFINED, variant="no_warmup", start=cold)
    found[TWO_STEPS.key] = Training(recipe="aad1.wan_14b", variant="2step", options=_levels())
    for name, embedded in OTHERS.items():
        options = tuple(word for key, value in CHANGES[name].items() for word in (f"--stages.0.method.{key}", value))
        found[embedded.key] = Training(recipe=REFINED, variant=name, options=options, start=warm)
    for weight in ("0", "50"):
        options = ("--stages.0.method.penalty-weight", weight)
        found[f"aad1.figure9_lambda_{weight}"] = Training(
            recipe=REFINED, variant=f"lambda{weight}", options=options, start=warm
        )
    return found


def _levels() -> tuple[str, ...]:
    places = ("stages.0.data", *(f"stages.{stage}.method" for stage in range(3)))
    return tuple(word for place in places for word in (f"--{place}.levels", *TWO))
