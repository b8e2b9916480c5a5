"""What was measured, as claims, tables and figures ask for it: by arm and measure, on the data and on its resamples."""

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
from fewstep.metrics.frechet import frechet_distance
from fewstep.metrics.intervals import half_sampled, interval, resampled_means
from fewstep.metrics.similarity import StepSimilarity
from fewstep.reproduce.paper import Arm, Statistic, Training

PERCENT = 100.0
ON_FRAMES = "clip."
"""Before the name of a metric on frames; names without it are ShapeBench's."""
POINTS = ("imaging_quality", "grid_energy", "drift", "drift_slope", "motion", "camera_speed")
"""Metrics on frames that are told in their own unit; the others in percent."""


class Missing(ValueError):
    """Something that was not run, or not measured."""


@dataclass(frozen=True)
class Samples:
    """Everything of one arm: a cell and its arrays for each training seed."""

    arm: Arm
    cells: tuple[Cell, ...]
    arrays: tuple[Mapping[str, np.ndarray], ...] = ()

    @cached_property
    def _bench(self) -> dict[str, np.ndarray]:
        return resample([values_of(cell.clips) for cell in self.cells])

    def draws(self, measure: str) -> np.ndarray:
        """A mean over clips and seeds, in percent or points, on the data and then on every resample. Raises Missing."""
        if not measure.startswith(ON_FRAMES):
            if measure not in self._bench:
                raise Missing(f"{self.arm.key} has no measure '{measure}': measure it anew")
            return self._bench[measure]
        name = measure.removeprefix(ON_FRAMES)
        rows = [[(clip.get("metrics") or {}).get(name) for clip in cell.clips] for cell in self.cells]
        values = [np.array([np.nan if value is None else value for value in row], np.float64) for row in rows]
        if not any(np.isfinite(each).any() for each in values):
            raise Missing(f"{self.arm.key} has no metric '{name}' on frames: measure it anew")
        scale = 1.0 if name in POINTS else PERCENT
        return scale * resampled_means([each[:, None] for each in values])[:, 0]

    def estimate(self, measure: str) -> Estimate:
        """The same with its interval."""
        return interval(self.draws(measure), self.cells[0].protocol.clips)

    def array(self, name: str) -> list[np.ndarray]:
        """`features` or `similarity.*` of each training seed. Raises Missing."""
        if len(self.arrays) != len(self.cells) or any(name not in each for each in self.arrays):
            raise Missing(f"{self.arm.key} has no {name}: measure it anew")
        return [each[name] for each in self.arrays]

    @property
    def seeds(self) -> int:
        """Training seeds."""
        return len(self.cells)

    @property
    def evaluations(self) -> int | None:
        """Denoising passes per clip."""
        return self.cells[0].evaluations

    @property
    def seconds(self) -> float | None:
        """Per clip, median over seeds."""
        times = [cell.timing.seconds for cell in self.cells if cell.timing]
        return median(times) if times else None


class Evidence:
    """All samples and logs of a report."""

    def __init__(
        self,
        samples: Mapping[Arm, Samples],
        controls: Mapping[str, Samples],
        logs: Mapping[Training, Sequence[Mapping[str, list[dict[str, Any]]]]],
        absent: Mapping[Arm | Training, str],
    ):
        """`logs` has for each training the stages' lines of every seed; `absent` says why something is not there."""
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

    def log(self, training: Training) -> list[list[dict[str, Any]]]:
        """Lines of the last stage of every seed. Raises Missing."""
        found = self.logs.get(training)
        if not found:
            raise Missing(self.absent.get(training, f"{training.key} has no log"))
        return [list(stages.values())[-1] for stages in found]

    def stage_log(self, training: Training, stage: str) -> list[list[dict[str, Any]]]:
        """Lines of one stage of every seed. Raises Missing."""
        found = [stages[stage] for stages in self.logs.get(training, ()) if stage in stages]
        if not found:
            raise Missing(self.absent.get(training, f"{training.key} has no log of its stage {stage}"))
        return found


def combination(*terms: tuple[float, Arm, str]) -> Statistic:
    """A weighted sum of means, drawn together: the same prompts for all, the same seeds for arms of equally many."""

    def statistic(evidence: Evidence) -> np.ndarray:
        return np.sum([weight * evidence.of(arm).draws(measure) for weight, arm, measure in terms], axis=0)

    return statistic


def difference(ours: Arm, theirs: Arm, measure: str, *, sign: float = 1.0) -> Statistic:
    """How much more of a measure ours has; `sign` -1 for measures of which less is better."""
    return combination((sign, ours, measure), (-sign, theirs, measure))


def first_chunk_gap(arm: Arm, reading: str) -> Statistic:
    """min over later blocks of S_b[1, N], minus S_1[1, N] (facts on ASD Figure 4): above 0 as the paper says."""

    def statistic(evidence: Evidence) -> np.ndarray:
        seeds = [_similarity(each).first_last for each in evidence.of(arm).array(f"similarity.{reading}")]
        means = resampled_means(seeds)
        return means[:, 1:].min(1) - means[:, 0]

    return statistic


def later_chunk_gain(ours: Arm, theirs: Arm, reading: str) -> Statistic:
    """Mean S_b[1, N] of the later blocks, ours minus theirs."""

    def statistic(evidence: Evidence) -> np.ndarray:
        sides = []
        for arm in (ours, theirs):
            seeds = [_similarity(each).first_last[:, 1:] for each in evidence.of(arm).array(f"similarity.{reading}")]
            sides.append(resampled_means(seeds).mean(1))
        return sides[0] - sides[1]

    return statistic


def similarity_matrices(samples: Samples, reading: str) -> list[np.ndarray]:
    """S_b of each block, the mean over clips and seeds."""
    return list(np.mean([each.mean(0) for each in samples.array(f"similarity.{reading}")], axis=0))


def set_distance(one: Samples, other: Samples) -> Estimate:
    """Fréchet distance of the clips' features, the mean over training seeds; its interval is over clips."""
    return _over_halves(one, [other], lambda ours, others: frechet_distance(ours, others[0]))


def distance_gap(arm: Arm, near: Arm, far: Arm) -> Callable[[Evidence], Estimate]:
    """Distance to `far` minus distance to `near` (ASD Table 3): above 0 where the near one is nearer."""

    def statistic(evidence: Evidence) -> Estimate:
        sides = [evidence.of(near), evidence.of(far)]
        return _over_halves(
            evidence.of(arm),
            sides,
            lambda ours, others: frechet_distance(ours, others[1]) - frechet_distance(ours, others[0]),
        )

    return statistic


def _over_halves(
    one: Samples, others: Sequence[Samples], statistic: Callable[[np.ndarray, list[np.ndarray]], float]
) -> Estimate:
    """A statistic of sets of features, the mean over training seeds; other seeds stand in for those that lack one."""
    ours = one.array("features")
    sides = [[side.array("features")[seed % side.seeds] for seed in range(one.seeds)] for side in others]
    count = min(len(values) for values in [*ours, *(values for side in sides for values in side)])
    width = ours[0].shape[1]
    left = np.concatenate([values[:count] for values in ours], axis=1)
    right = np.concatenate([values[:count] for side in sides for values in side], axis=1)

    def over_seeds(rows: np.ndarray, other: np.ndarray) -> float:
        mine = np.split(rows, len(ours), axis=1)
        theirs = np.split(other, other.shape[1] // width, axis=1)
        by_side = [theirs[start : start + len(ours)] for start in range(0, len(theirs), len(ours))]
        return float(np.mean([statistic(mine[s], [side[s] for side in by_side]) for s in range(len(ours))]))

    return half_sampled(over_seeds, left, right)


def _similarity(cosines: np.ndarray) -> StepSimilarity:
    """From `[clips, blocks, steps, steps]` as it is kept."""
    return StepSimilarity(tuple(cosines.swapaxes(0, 1)))


def set_distance_of(one: Arm | None, other: Arm | None) -> Callable[[Evidence], Estimate]:
    """`set_distance` of two arms; without arms the floor, two halves of the ground truth."""

    def statistic(evidence: Evidence) -> Estimate:
        if one is not None and other is not None:
            return set_distance(evidence.of(one), evidence.of(other))
        (features,) = evidence.control("truth").array("features")
        half = len(features) // 2
        return half_sampled(frechet_distance, features[:half], features[half : 2 * half])

    return statistic


def preference(ours: Arm, theirs: Arm) -> Statistic:
    """Clips of ours in which more of what the prompt states is right, less those of theirs, in percent of all."""

    def statistic(evidence: Evidence) -> np.ndarray:
        sides = [evidence.of(ours), evidence.of(theirs)]
        facts = [[np.array([clip["facts_true"] for clip in cell.clips]) for cell in side.cells] for side in sides]
        votes = [np.sign(mine - yours) for mine, yours in zip(*facts, strict=False)]
        return PERCENT * resampled_means([each[:, None] for each in votes])[:, 0]

    return statistic
