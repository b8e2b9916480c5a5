"""ASD's runs at Wan's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewstep.reproduce.full_scale import ANALYSED, LONG, PROMPTS, T2V, Cluster, Run, prompts_run

RETRAINED = {"dmd2": ("2step", ("1.0", "0.8333333333333334"), 0.88), "dmd1": ("1step", ("1.0",), 0.81)}
"""Name, levels (1000, 500) and (1000) at shift 5 (ASD, Appendix A), and the share of the four-step student's work: it
rolls out less, and the scores, most of the work, stay. An estimate."""
PLANS = {"asd": ("4", "2*", "2", "1*", "1"), "dmd4": ("4", "2*", "2", "1*", "1"), "dmd2": ("2",), "dmd1": ("1",)}
LONG_PLANS = {"asd": ("2*", "1*"), "dmd2": ("2",), "dmd1": ("1",)}
TEACHER = "Wan-AI/Wan2.1-T2V-14B-Diffusers"
ALPHAS = ("0", "0.3", "1")
"""Of Figure 11, beside the recipe's own."""


def runs(cluster: Cluster, seeds: Sequence[int]) -> list[Run]:
    """In order: the causal start, the students, their clips and scores, and the distances of Table 3."""
    first, folder = cluster.train("ode.wan_1_3b", 0)
    start = ("--stages.0.init", str(folder / "model"))
    found = [first, prompts_run(T2V)]
    for seed in seeds:
        students = dict(_students(cluster, seed, start, found))
        for row, student in students.items():
            for plan in PLANS.get(row, ("4", "2*", "1*")):
                found += cluster.vbench(f"{row} at {plan}", row, student, seed, plan, T2V, size="wan_1_3b")
            for plan in LONG_PLANS.get(row, ()):
                title = f"Table 4, {row} at {plan}"
                found += cluster.vbench(title, row, student, seed, plan, T2V, size="wan_1_3b", frames=LONG)
        if seed == seeds[0]:
            found += _table3(cluster, students["asd"], seed)
    return found


def _students(cluster: Cluster, seed: int, start: tuple[str, ...], found: list[Run]) -> list[tuple[str, Path]]:
    """Train every student of a seed: rows and where they are."""
    asked: list[tuple[str, str, str, tuple[str, ...], float]] = [
        ("asd", "asd.wan_1_3b", "", (), 1.0),
        ("dmd4", "self_forcing.wan_1_3b", "", (), 1.0),
    ]
    for row, (variant, levels, share) in RETRAINED.items():
        asked.append((row, "self_forcing.wan_1_3b", variant, ("--stages.0.method.levels", *levels), share))
    if seed == 0:
        for alpha in ALPHAS:
            weight = ("--stages.0.method.alpha", alpha)
            asked.append((f"alpha{alpha}", "asd.wan_1_3b", f"alpha{alpha}", weight, 1.0))
    students = []
    for row, recipe, variant, options, share in asked:
        run, folder = cluster.train(recipe, seed, variant, (*options, *start), share=share)
        found.append(run)
        students.append((row, folder / "model"))
    return students


def _table3(cluster: Cluster, student: Path, seed: int) -> list[Run]:
    """Clips of every step count and of the teacher, each with noise of its own, and their distances."""
    out, found = cluster.runs / "clips" / "table3", []
    lines = ("--prompts", str(PROMPTS / "prompts.txt"), "--count", str(ANALYSED // 3), "--seeds")
    for plan in "1234":
        noise = ",".join(str(10 * int(plan) + k) for k in range(3))
        found.append(cluster.sample(f"Table 3, ASD at {plan}", f"asd={student}", plan, ANALYSED, out, (*lines, noise)))
    found.append(cluster.sample("Table 3, the teacher", f"teacher={TEACHER}", "50", ANALYSED, out, (*lines, "50,51,52"),
                                size=TEACHER))  # fmt: skip
    near = [out / f"asd-seed{seed}-{n}" for n in "1234"]
    for n in range(3):
        found.append(cluster.distance(f"Table 3, {n + 1} to {n + 2}", near[n], near[n + 1]))
    far = out / "teacher-seed0-50"
    return [*found, *(cluster.distance(f"Table 3, {n + 1} to the teacher", each, far) for n, each in enumerate(near))]
