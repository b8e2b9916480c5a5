"""AAD-1's runs at Wan's size: the 14B student of the paper."""

from __future__ import annotations

from collections.abc import Sequence

from fewstep.reproduce.full_scale import I2V, LONG, Cluster, Run, prompts_run

RECIPE, REFINED = "aad1.wan_14b", "aad1.wan_14b_refined"
"""All three stages, and the last one alone, which the ablations change."""
VISIBILITY, GRANULARITY = "discriminator.visibility", "discriminator.granularity"
ABLATIONS: dict[str, dict[str, str]] = {
    "causal_frame": {VISIBILITY: "causal", GRANULARITY: "frame"},
    "causal_clip": {VISIBILITY: "causal"},
    "bidirectional_frame": {GRANULARITY: "frame"},
    "lambda0": {"penalty-weight": "0"},
    "lambda50": {"penalty-weight": "50"},
}
"""Changes of stage III by row: Table 3, Figure 9."""


def runs(cluster: Cluster, seeds: Sequence[int]) -> list[Run]:
    """In order, for each seed: all stages, the ablations of the last one, clips from pictures, and their scores."""
    found = [prompts_run(I2V)]
    for seed in seeds:
        whole, folder = cluster.train(RECIPE, seed)
        found.append(whole)
        rows = {"stage3": folder / "model", "stage2": folder / "warmup" / "model"}
        for name, changes in ABLATIONS.items():
            options = tuple(word for key, value in changes.items() for word in (f"--stages.0.method.{key}", value))
            start = ("--stages.0.init", str(rows["stage2"]))
            run, place = cluster.train(REFINED, seed, name, (*options, *start))
            found.append(run)
            rows[name] = place / "model"
        for row, student in rows.items():
            found += cluster.vbench(f"{row}", row, student, seed, "1", I2V, size="wan_14b")
            found += cluster.vbench(f"{row}, 20 s", row, student, seed, "1", I2V, size="wan_14b", frames=LONG)
    return found
