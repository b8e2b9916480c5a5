"""The models and ways of sampling that stand for those of AAD-1, and what counts as a difference."""

from __future__ import annotations

from typing import Any

from fewstep.reproduce.paper import Arm, Model, Training

MEASURES = {
    "clip.subject_consistency": "Subject",
    "clip.background_consistency": "Background",
    "clip.motion_smoothness": "Smoothness",
    "clip.dynamic_degree": "Dynamic",
    "clip.imaging_quality": "Imaging",
    "clip.i2v_subject": "I2V subject",
    "clip.i2v_background": "I2V background",
}
"""The paper's columns by our proxies; aesthetic quality has none."""
MARGIN = dict.fromkeys(MEASURES, 1.0) | {"clip.dynamic_degree": 5.0, "clip.imaging_quality": 2.0, "clip.drift": 0.5}
"""Points that count, fixed before anything was measured: about half of what the paper's stages differ by."""
SHARE = 10.0
"""The same of preferences, in percent."""

WHOLE = Training(recipe="aad1.shapes")
STAGE1, STAGE2, STAGE3 = Model(WHOLE, "ode/model"), Model(WHOLE, "warmup/model"), Model(WHOLE)
TWO_STEPS = Training(recipe="aad1.table4_2step")
COLD = Training(recipe="aad1.table2_no_warmup", start=STAGE1)
OTHERS = {
    name: Training(recipe=f"aad1.table3_{name}", start=STAGE2)
    for name in ("causal_frame", "causal_clip", "bidirectional_frame")
}
JUDGES = {**OTHERS, "bidirectional_clip": WHOLE}
"""The discriminators of Table 3, all from the same start; the last one is AAD-1's own, so stage III itself."""
DMD4 = Training(recipe="self_forcing.shapes")


def arm_of(row: str, title: str, model: Model, plan: str = "1", mark: str = "", **special: Any) -> Arm:
    """Clips that begin with the first picture of the true ones."""
    return Arm(key=f"{row}@{plan},i2v{mark}", title=title, model=model, plan=plan, from_picture=True, **special)


ode = arm_of("ode", "stage I", STAGE1)
warm = arm_of("warmup", "stage II", STAGE2)
full = arm_of("aad1", "stage III", STAGE3)
cold = arm_of("cold", "stage III straight from stage I", Model(COLD))
dmd4 = arm_of("dmd4", "DMD for 4 steps, from a picture", Model(DMD4), "4")
two = arm_of("aad1_2", "stage III of two steps", Model(TWO_STEPS), "2")
long = arm_of("aad1", "stage III, 4 × length", STAGE3, mark=",x4", length=4)
large = arm_of("aad1", "stage III, 2 × resolution", STAGE3, mark=",2x", enlarge=2)
judged = {name: arm_of(name, name.replace("_", " and "), Model(training)) for name, training in OTHERS.items()}
judged["bidirectional_clip"] = full
judged_long = {
    name: arm_of(name, f"{name.replace('_', ' and ')}, 4 × length", Model(training), mark=",x4", length=4)
    for name, training in OTHERS.items()
}
judged_long["bidirectional_clip"] = long
