"""ShapeBench: exact semantic scores and weight-free quality proxies of shape videos, combined as in VBench.

Semantic is the mean of nine dimensions, Quality the weighted mean of six (aesthetic quality is left out), Total is
(4 Quality + Semantic) / 5. Every dimension is normalised between a noise control and the ground truth, both frozen in
`normalisation.json`, and limited to that range: a frozen clip flickers less than a true one and must not gain by it.
The numbers are this world's own; none of them is a VBench score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from fewstep.evaluation import quality
from fewstep.evaluation.quality import QUALITY
from fewstep.evaluation.semantics import SEMANTIC, atoms, recognition_rate, semantic_scores
from fewstep.metrics.base import Clip
from fewstep.metrics.flow import flows_of
from fewstep.metrics.temporal import flickering_of, smoothness_of
from fewstep.shapes.recognise import Verdict, recognise
from fewstep.shapes.scene import Scene, World

DIMENSIONS = (*QUALITY, *SEMANTIC)
QUALITY_WEIGHTS = {name: 0.5 if name == "dynamic_degree" else 1.0 for name in QUALITY}
"""VBench's weights; without aesthetic quality they sum to 5.5."""
NORMALISATION = Path(__file__).with_name("normalisation.json")
PERCENT = 100.0
FPS = 16.0
"""Of frames that come without a rate; ShapeBench itself counts frames."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Raw value per dimension that maps to 0 (noise control) and to 1 (ground truth)."""

    version: int
    low: dict[str, float]
    high: dict[str, float]

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Normalised values `[..., dimensions]`, limited to 0 … 1; NaN stays NaN."""
        low, high = (np.array([table[name] for name in DIMENSIONS]) for table in (self.low, self.high))
        return np.clip((raw - low) / (high - low), 0, 1)


@lru_cache(maxsize=1)
def frozen_normalisation() -> Normalisation:
    """The committed limits. A change of world or recogniser needs a new version (`fit_normalisation`)."""
    return Normalisation(**json.loads(NORMALISATION.read_text()))


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """Everything measured on one clip; `raw` holds one number per dimension, NaN where the caption asks nothing."""

    scene: str
    """Content hash of the scene."""
    raw: dict[str, float]
    atoms: tuple[tuple[str, bool], ...]
    moves_tracked: bool
    """Dynamic by the tracked objects' speed on screen."""
    moves_flow: bool
    """Dynamic by optical flow, VBench's rule."""
    recognised: float
    """Share of expected object appearances with a recognisable shape."""
    imaging: np.ndarray
    """Imaging quality of each frame, 0 … 100."""
    place: tuple[float, float] = (np.nan, np.nan)
    """Where the objects begin (x, y), on average, in sides of the picture; NaN where there is none."""


@dataclass(frozen=True, eq=False)
class ShapeScores:
    """Scores of a set of clips. All numbers are in percent; per-clip rows allow intervals by resampling."""

    rows: tuple[ClipScores, ...]
    normalisation: Normalisation

    @cached_property
    def raw(self) -> np.ndarray:
        """Per-clip raw values `[clips, dimensions]`."""
        return np.array([[row.raw[name] for name in DIMENSIONS] for row in self.rows])

    @cached_property
    def dimensions(self) -> dict[str, float]:
        """Mean raw value per dimension over the clips that it applies to, in percent; NaN where it applies to none."""
        return dict(zip(DIMENSIONS, (PERCENT * _mean(self.raw)).tolist(), strict=True))

    @cached_property
    def normalised(self) -> dict[str, float]:
        """The same after normalisation."""
        return dict(zip(DIMENSIONS, (PERCENT * self.normalisation(_mean(self.raw))).tolist(), strict=True))

    @property
    def quality(self) -> float:
        """Weighted mean of the six quality dimensions. Raises ValueError when one was never asked for."""
        return self._combine(QUALITY)

    @property
    def semantic(self) -> float:
        """Mean of the nine semantic dimensions. Raises ValueError when one was never asked for."""
        return self._combine(SEMANTIC)

    @property
    def total(self) -> float:
        """(4 Quality + Semantic) / 5."""
        return (4 * self.quality + self.semantic) / 5

    @property
    def dynamic_tracked(self) -> float:
        """Share of all clips with a fast object, by tracking, in percent."""
        return PERCENT * float(np.mean([row.moves_tracked for row in self.rows]))

    @property
    def dynamic_flow(self) -> float:
        """Share of all dynamic clips by optical flow, in percent."""
        return PERCENT * float(np.mean([row.moves_flow for row in self.rows]))

    @property
    def recognition_rate(self) -> float:
        """Share of expected object appearances with a recognisable shape, in percent."""
        return PERCENT * float(np.mean([row.recognised for row in self.rows]))

    @property
    def atoms_true(self) -> float:
        """Share of all stated facts that came out right, in percent."""
        return PERCENT * float(np.mean([true for row in self.rows for _, true in row.atoms]))

    @property
    def change(self) -> float:
        """Mean change of imaging quality from the first third of a clip's frames to its last, signed, in points."""
        thirds = [np.array_split(row.imaging, 3) for row in self.rows]
        return float(np.mean([parts[2].mean() - parts[0].mean() for parts in thirds]))

    def interval(
        self, measure: Callable[[ShapeScores], float], *, level: float = 0.95, draws: int = 1000, seed: int = 0
    ) -> tuple[float, float]:
        """Percentile bootstrap interval over clips of any measure of a `ShapeScores`."""
        rng = np.random.default_rng(seed)
        values = [measure(self.select(rng.integers(len(self.rows), size=len(self.rows)))) for _ in range(draws)]
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def select(self, indices: Sequence[int] | np.ndarray) -> ShapeScores:
        """Scores of some of the clips; indices may repeat."""
        return ShapeScores(tuple(self.rows[int(i)] for i in indices), self.normalisation)

    def summary(self) -> dict[str, float]:
        """All aggregate numbers by name, ready for JSON; Total, Quality and Semantic only where they are defined."""
        numbers = {f"raw/{name}": value for name, value in self.dimensions.items() if np.isfinite(value)}
        numbers |= {f"normalised/{name}": value for name, value in self.normalised.items() if np.isfinite(value)}
        if all(np.isfinite(value) for value in self.normalised.values()):
            numbers |= {"total": self.total, "quality": self.quality, "semantic": self.semantic}
        names = ("dynamic_tracked", "dynamic_flow", "recognition_rate", "atoms_true", "change")
        return numbers | {name: getattr(self, name) for name in names} | {"clips": float(len(self.rows))}

    def _combine(self, names: tuple[str, ...]) -> float:
        missing = [name for name in names if not np.isfinite(self.normalised[name])]
        if missing:
            raise ValueError(
                f"no clip's caption asks for {', '.join(missing)}: score more scenes (about 32 cover all dimensions)"
            )
        weights = [QUALITY_WEIGHTS.get(name, 1.0) for name in names]
        return float(np.average([self.normalised[name] for name in names], weights=weights))


def _mean(raw: np.ndarray) -> np.ndarray:
    """Mean over clips of the known values, NaN where there is none."""
    known = np.isfinite(raw)
    counts = known.sum(0)
    return np.where(counts > 0, np.where(known, raw, 0).sum(0) / np.maximum(counts, 1), np.nan)


def score(
    videos: Iterable[np.ndarray],
    scenes: Sequence[Scene],
    *,
    world: World | None = None,
    normalisation: Normalisation | None = None,
) -> ShapeScores:
    """Score clips `[f, H, W, 3]` uint8 against the scenes of their captions, in order.

    Motion is read from the first `world.frames` frames, all else from the whole clip. About 0.1 s a clip.
    Raises ValueError when the numbers of clips and scenes differ.
    """
    rows = []
    for index, frames in enumerate(videos):
        if index >= len(scenes):
            raise ValueError(f"each clip needs its scene, got more than {len(scenes)} clips: pass a scene for each")
        rows.append(score_clip(frames, scenes[index], world))
    if len(rows) != len(scenes) or not rows:
        raise ValueError(f"each scene needs its clip, and one is the least, got {len(rows)} for {len(scenes)} scenes")
    return ShapeScores(tuple(rows), normalisation or frozen_normalisation())


def score_clip(frames: np.ndarray | Clip, scene: Scene, world: World | None = None) -> ClipScores:
    """All measurements of one clip, or its frames `[f, H, W, 3]` uint8; a clip shares its flow with other metrics."""
    clip = frames if isinstance(frames, Clip) else Clip(frames, FPS)
    return score_verdict(recognise(clip.frames, world), clip, scene, world)


def score_verdict(verdict: Verdict, clip: Clip, scene: Scene, world: World | None = None) -> ClipScores:
    """The same from a verdict at hand."""
    span = (world or World()).frames
    flows = flows_of(clip, quality.FLOW_STRIDE)
    in_span = (span - 1) // quality.FLOW_STRIDE
    imaging = quality.imaging(clip)
    measured = {
        "subject_consistency": quality.subject_consistency(verdict),
        "background_consistency": quality.background_consistency(clip, verdict),
        "temporal_flickering": flickering_of(clip),
        "motion_smoothness": smoothness_of(clip),
        "dynamic_degree": float(verdict.moving) if scene.moving else np.nan,
        "imaging_quality": float(imaging.mean()) / 100,
    }
    return ClipScores(
        scene=scene.content_hash,
        raw=measured | semantic_scores(verdict, scene),
        atoms=atoms(verdict, scene),
        moves_tracked=verdict.moving,
        moves_flow=quality.moves_by_flow(clip.frames[:span], flows[:in_span]),
        recognised=recognition_rate(verdict, scene),
        imaging=imaging,
        place=_beginning(verdict, clip.frames.shape[1]),
    )


def _beginning(verdict: Verdict, side: int) -> tuple[float, float]:
    """The mean over objects of where each is first seen, in sides."""
    seen = [track.centre[track.present.argmax()] / side for track in verdict.tracks.values()]
    x, y = np.mean(seen, axis=0) if seen else (np.nan, np.nan)
    return float(x), float(y)


def fit_normalisation(truth: ShapeScores, noise: ShapeScores, version: int) -> Normalisation:
    """Limits from ground truth and noise clips: semantic dimensions and dynamic degree keep 0 and 1, being shares."""
    shares = (*SEMANTIC, "dynamic_degree")
    low = {name: 0.0 if name in shares else round(noise.dimensions[name] / PERCENT, 4) for name in DIMENSIONS}
    high = {name: 1.0 if name in shares else round(truth.dimensions[name] / PERCENT, 4) for name in DIMENSIONS}
    return Normalisation(version=version, low=low, high=high)
