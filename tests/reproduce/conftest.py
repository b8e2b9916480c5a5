from __future__ import annotations

import numpy as np
import pytest

from fewstep.evaluation.results import Cell, Protocol, Timing
from fewstep.evaluation.scores import MEASURES
from fewstep.metrics.registry import clip_metrics
from fewstep.reproduce.evidence import Evidence, Samples
from fewstep.reproduce.paper import Arm

CLIPS = 40


def make_cell(made: Arm, level: float, seed: int = 0, *, spread: float = 0.05, metrics: float | None = None) -> Cell:
    """Clips whose measures lie about `level`; hard prompts are hard for everybody, and each seed has its own luck."""
    hard = np.random.default_rng(0).uniform(-0.1, 0.1, size=(CLIPS, 1))
    luck = np.random.default_rng([7, seed]).normal(0, spread, size=(CLIPS, len(MEASURES)))
    values = np.clip(level + hard + luck, 0.01, 0.99)
    clips = [
        {
            "index": index,
            "caption": f"clip {index}",
            **dict(zip(MEASURES, map(float, row), strict=True)),
            "missed": [],
            **(
                {}
                if metrics is None
                else {
                    "metrics": {
                        **dict.fromkeys(clip_metrics(), float(row[1])),
                        "drift": metrics + float(row[0]),
                        "dynamic_degree": float(index % 2),
                    }
                }
            ),
        }
        for index, row in enumerate(values)
    ]
    return Cell(
        row=made.key,
        kind="student",
        model=made.key,
        plan=made.plan,
        training_seed=seed,
        fingerprint="f",
        commit=None,
        trained_by="r.x",
        protocol=Protocol(split="test", clips=CLIPS, seed=0, prompts="abc", batch=16, scorer=1),
        evaluations=3,
        commits=2,
        timing=Timing(seconds=0.05, denoise=0.03, decode=0.02, clips=5, threads=1, device="cpu", dtype="float32"),
        summary={},
        clips=clips,
    )


def _seeds(arm: Arm, seeds: int) -> int:
    """Bundled models have one."""
    return 1 if isinstance(arm.model.source, str) else seeds


@pytest.fixture
def cell():
    """`cell(arm, level, seed)`: clips whose measures lie about a level."""
    return make_cell


@pytest.fixture
def make_evidence():
    """Evidence of arms at levels: `make_evidence({arm: 0.6}, seeds=3)`."""

    def make(levels, seeds: int = 3, logs=None, absent=None, **options) -> Evidence:
        samples = {
            each: Samples(each, tuple(make_cell(each, level, seed, **options) for seed in range(_seeds(each, seeds))))
            for each, level in levels.items()
        }
        return Evidence(samples, {}, logs or {}, absent or {})

    return make
