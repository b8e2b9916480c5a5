"""What was measured, as claims, tables and figures ask for it: by arm and measure, seed by seed and resampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np

from fewstep.evaluation.results import Cell
from fewstep.evaluation.scores import resample, values_of
from fewstep.metrics.base import Estimate
from fewstep.metrics.drift import LEAST_DYNAMIC
from fewstep.metrics.frechet import frechet_distance
from fewstep.metrics.intervals import half_draws, resampled_means
from fewstep.metrics.seeds import Missing, Seeded, common_seeds, paired, seeded
from fewstep.metrics.similarity import StepSimilarity
from fewstep.reproduce.paper import Arm, Quantity, Statistic, Training

PERCENT = 100.0
ON_FRAMES = "clip."
"""Before the name of a metric on frames; names without it are ShapeBench's."""
POINTS = ("imaging_quality", "grid_energy", "drift", "drift_slope", "motion", "camera_speed")
"""Metrics on frames that are told in their own unit; the others in percent."""
DRIFT = "drift"
"""The metric on frames that clips which stand still pass without saying anything."""
Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Samples:
    """Everything of one arm: a cell and its arrays for each training seed."""

    arm: Arm
    cells: tuple[Cell, ...]
    arrays: tuple[Mapping[str, np.ndarray], ...] = ()

    @cached_property
    def _bench(self) -> list[dict[str, np.ndarray]]:
        return [resample(values_of(cell.clips)) for cell in self.cells]

    @cached_property
    def _frames(self) -> list[dict[str, np.ndarray]]:
        """Means of every metric on frames, for each cell."""
        return [_on_frames(cell.clips) for cell in self.cells]

    def quantity(self, measure: str) -> Seeded:
        """A mean over clips, in percent or points, of every seed. Raises Missing.

        Drift is missing where some seed's clips hardly move, as AAD-1 prints N/A in Table 3.
        """
        if measure.startswith(ON_FRAMES):
            name = measure.removeprefix(ON_FRAMES)
            if name == DRIFT:
                self._require_motion()
            if not all(name in each for each in self._frames):
                raise Missing(f"{self.arm.key} has no metric '{name}' on frames: measure it anew")
            drawn = [each[name] for each in self._frames]
        elif all(measure in each for each in self._bench):
            drawn = [each[measure] for each in self._bench]
        else:
            raise Missing(f"{self.arm.key} has no measure '{measure}': measure it anew")
        return seeded(self.seeds, drawn, self.cells[0].protocol.clips)

    def estimate(self, measure: str) -> Estimate:
        """The same with its interval."""
        return self.quantity(measure).estimate()

    def array(self, name: str) -> list[np.ndarray]:
        """`features`, `imaging` or `similarity.*` of each cell. Raises Missing."""
        if len(self.arrays) != len(self.cells) or any(name not in each for each in self.arrays):
            raise Missing(f"{self.arm.key} has no {name}: measure it anew")
        return [each[name] for each in self.arrays]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds, one for each cell; none of a bundled model, which has one cell."""
        return () if isinstance(self.arm.model.source, str) else tuple(cell.training_seed for cell in self.cells)

    @property
    def moves(self) -> bool:
        """Whether the clips of every seed move enough for what is said of drift."""
        return bool((self.quantity(f"{ON_FRAMES}dynamic_degree").drawn[:, 0] >= PERCENT * LEAST_DYNAMIC).all())

    @property
    def evaluations(self) -> int | None:
        """Denoising passes per clip."""
        return self.cells[0].evaluations

    @property
    def seconds(self) -> float | None:
        """Per clip, median over seeds."""
        times = [cell.timing.seconds for cell in self.cells if cell.timing]
        return median(times) if times else None

    def _require_motion(self) -> None:
        if not self.moves:
            degrees = self.quantity(f"{ON_FRAMES}dynamic_degree").drawn[:, 0]
            raise Missing(
                f"drift says nothing of clips that hardly move: {self.arm.title} has a dynamic "
                f"degree of {degrees.min():.1f} %, below {PERCENT * LEAST_DYNAMIC:g} %"
            )


def _on_frames(clips: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Mean of each metric that says something of some clip, on the data and on resamples, in percent or points."""
    rows = [clip.get("metrics") or {} for clip in clips]
    names = sorted({name for row in rows for name, value in row.items() if value is not None and np.isfinite(value)})
    if not names:
        return {}
    scales = [1.0 if name in POINTS else PERCENT for name in names]
    values = np.array([[np.nan if row.get(name) is None else row[name] for name in names] for row in rows], np.float64)
    return dict(zip(names, (resampled_means(values) * scales).T, strict=True))


class Evidence:
    """All samples and logs of a report."""

    def __init__(
        self,
        samples: Mapping[Arm, Samples],
        controls: Mapping[str, Samples],
        logs: Mapping[Training, Mapping[int, Mapping[str, Lines]]],
        absent: Mapping[Arm | Training, str],
    ):
        """`logs` has for each training and seed the stages' lines; `absent` says why something is not there."""
        self.samples, self.controls, self.logs, self.absent = samples, controls, logs, absent

    def of(self, arm: Arm) -> Samples:
        """Raises Missing, saying what it needs."""
        if arm not in self.samples:
            raise Missing(self.absent.get(arm, f"{arm.title} was not measured"))
        return self.samples[arm]

    def control(self, name: str) -> Samples:
        """Ground truth (`truth`), or what was done to it. Raises Missing."""
        if name not in self.controls:
            raise Missing(f"the control '{name}' was not measured")
        return self.controls[name]

    def log(self, training: Training) -> dict[int, Lines]:
        """Lines of the last stage of every seed. Raises Missing."""
        found = self.logs.get(training)
        if not found:
            raise Missing(self.absent.get(training, f"{training.key} has no log"))
        return {seed: list(stages.values())[-1] for seed, stages in found.items()}


def combination(*terms: tuple[float, Arm, str]) -> Quantity:
    """A weighted sum of means, clip by clip and seed by seed."""

    def statistic(evidence: Evidence) -> Seeded:
        found = [evidence.of(arm).quantity(measure) for _, arm, measure in terms]
        weights = [weight for weight, _, _ in terms]
        return paired(lambda *drawn: sum(weight * each for weight, each in zip(weights, drawn, strict=True)), *found)

    return statistic


def difference(ours: Arm, theirs: Arm, measure: str, *, sign: float = 1.0) -> Quantity:
    """How much more of a measure ours has; `sign` -1 for measures of which less is better."""
    return combination((sign, ours, measure), (-sign, theirs, measure))


def first_chunk_gap(arm: Arm, reading: str) -> Statistic:
    """S_b[1, N] minus S_1[1, N] for each later block b (facts on ASD Figure 4): each above 0 as the paper says."""

    def statistic(evidence: Evidence) -> tuple[Seeded, ...]:
        samples = evidence.of(arm)
        means = [resampled_means(each) for each in _first_last(samples, reading)]
        clips = samples.cells[0].protocol.clips
        return tuple(
            seeded(samples.seeds, [each[:, block] - each[:, 0] for each in means], clips)
            for block in range(1, means[0].shape[1])
        )

    return statistic


def later_chunk_gain(ours: Arm, theirs: Arm, reading: str) -> Quantity:
    """Mean S_b[1, N] of the later blocks, ours minus theirs."""

    def statistic(evidence: Evidence) -> Seeded:
        sides = []
        for samples in (evidence.of(ours), evidence.of(theirs)):
            means = [resampled_means(each[:, 1:]).mean(1) for each in _first_last(samples, reading)]
            sides.append(seeded(samples.seeds, means, samples.cells[0].protocol.clips))
        return paired(np.subtract, *sides)

    return statistic


def similarity_matrices(samples: Samples, reading: str) -> list[np.ndarray]:
    """S_b of each block, the mean over clips and seeds."""
    return list(np.mean([each.mean(0) for each in samples.array(f"similarity.{reading}")], axis=0))


def set_distance(one: Samples, other: Samples) -> Seeded:
    """Fréchet distance of the clips' features for every training seed."""
    return _over_halves(one, [other], lambda ours, others: frechet_distance(ours, others[0]))


def distance_gap(arm: Arm, near: Arm, far: Arm) -> Quantity:
    """Distance to `far` minus distance to `near` (ASD Table 3): above 0 where the near one is nearer."""

    def statistic(evidence: Evidence) -> Seeded:
        return _over_halves(
            evidence.of(arm),
            [evidence.of(near), evidence.of(far)],
            lambda ours, others: frechet_distance(ours, others[1]) - frechet_distance(ours, others[0]),
        )

    return statistic


def _over_halves(
    one: Samples, others: Sequence[Samples], statistic: Callable[[np.ndarray, list[np.ndarray]], float]
) -> Seeded:
    """A statistic of equally many features of each side, for every training seed that all have."""
    sides = [one, *others]
    seeds, places = common_seeds(*(side.seeds for side in sides))
    sets = [[side.array("features")[i] for i in place] for side, place in zip(sides, places, strict=True)]
    count = min(len(rows) for side in sets for rows in side)

    def draws(mine: np.ndarray, *theirs: np.ndarray) -> np.ndarray:
        joined = np.concatenate([rows[:count] for rows in theirs], axis=1)  # halves are of the same clips in all
        return half_draws(lambda a, b: statistic(a, np.split(b, len(theirs), axis=1)), mine[:count], joined)

    return seeded(seeds, [draws(*rows) for rows in zip(*sets, strict=True)], count)


def _first_last(samples: Samples, reading: str) -> list[np.ndarray]:
    """S_b[1, N] `[clips, blocks]` of every seed, from the cosines `[clips, blocks, steps, steps]` that are kept."""
    cosines = samples.array(f"similarity.{reading}")
    return [StepSimilarity(tuple(each.swapaxes(0, 1))).first_last for each in cosines]


def set_distance_of(one: Arm | None, other: Arm | None) -> Quantity:
    """`set_distance` of two arms; without arms the floor, ground truth of other prompts at the same number."""

    def statistic(evidence: Evidence) -> Seeded:
        if one is not None and other is not None:
            return set_distance(evidence.of(one), evidence.of(other))
        truth = evidence.control("truth")
        (features,), (others,) = truth.array("features"), truth.array("features.others")
        return seeded((), [half_draws(frechet_distance, features, others)], len(features))

    return statistic


def preference(ours: Arm, theirs: Arm) -> Quantity:
    """Clips of ours in which more of what the prompt states is right, less those of theirs, in percent of all."""

    def statistic(evidence: Evidence) -> Seeded:
        sides = [evidence.of(ours), evidence.of(theirs)]
        seeds, places = common_seeds(*(side.seeds for side in sides))
        mine, yours = (
            [np.array([clip["facts_true"] for clip in side.cells[i].clips]) for i in place]
            for side, place in zip(sides, places, strict=True)
        )
        votes = [np.sign(a - b) for a, b in zip(mine, yours, strict=True)]
        return seeded(seeds, [PERCENT * resampled_means(each[:, None])[:, 0] for each in votes], len(votes[0]))

    return statistic
