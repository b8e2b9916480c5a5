from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewstep.metrics.seeds import Missing
from fewstep.reproduce.evidence import (
    Evidence,
    Samples,
    combination,
    difference,
    distance_gap,
    first_chunk_gap,
    later_chunk_gain,
    preference,
    set_distance,
)
from fewstep.reproduce.paper import Arm, Model, Training

A, B, C = (Arm(key=f"{name}@1", title=name, model=Model(Training(recipe="r.x")), plan="1") for name in "abc")


def test_measures_are_in_percent_and_metrics_in_their_own_unit(make_evidence):
    samples = make_evidence({A: 0.5}, metrics=3.0).of(A)
    facts = np.mean([[clip["facts_true"] for clip in each.clips] for each in samples.cells])
    assert samples.quantity("facts_true").value == pytest.approx(100 * facts)
    drifts = np.mean([[clip["metrics"]["drift"] for clip in each.clips] for each in samples.cells])
    assert samples.quantity("clip.drift").value == pytest.approx(drifts)
    assert samples.quantity("clip.dynamic_degree").value == pytest.approx(50.0)


def test_a_combination_is_linear_and_paired(make_evidence):
    evidence = make_evidence({A: 0.6, B: 0.5})
    gain = difference(A, B, "facts_true")(evidence)
    single = [evidence.of(each).quantity("facts_true") for each in (A, B)]
    np.testing.assert_allclose(gain.drawn, single[0].drawn - single[1].drawn)
    assert gain.seeds == (0, 1, 2)
    assert gain.clip_error < 0.5 * single[0].clip_error  # hard prompts are hard for both
    assert gain.seed_error < 1e-12 < single[0].seed_error  # and so is a seed's luck
    same = combination((1.0, A, "facts_true"), (-1.0, A, "facts_true"))(evidence)
    np.testing.assert_allclose(same.drawn, 0.0, atol=1e-12)


def test_less_of_a_measure_counts_the_other_way(make_evidence):
    evidence = make_evidence({A: 0.6, B: 0.5})
    less, more = (difference(A, B, "facts_true", sign=sign)(evidence) for sign in (-1, 1))
    np.testing.assert_allclose(less.drawn, -more.drawn)


def test_drift_of_clips_that_hardly_move_is_left_open(cell):
    def moving(share: float, seed: int):
        base = cell(A, 0.5, seed, metrics=1.0)
        degrees = (np.arange(len(base.clips)) < share * len(base.clips)).astype(float)
        clips = [
            {**clip, "metrics": {**clip["metrics"], "dynamic_degree": degree}}
            for clip, degree in zip(base.clips, degrees, strict=True)
        ]
        return replace(base, clips=clips)

    assert Samples(A, (moving(0.05, 0), moving(0.5, 1))).quantity("clip.drift").value > 0
    still = Samples(A, (moving(0.5, 0), moving(0.025, 1)))
    assert not still.moves
    with pytest.raises(Missing, match=r"dynamic degree of 2.5 %, below 5 %"):
        still.quantity("clip.drift")
    assert still.quantity("clip.dynamic_degree").value > 0


def test_what_was_not_measured_says_what_it_needs(cell):
    evidence = Evidence({}, {}, {}, {A: "not run: needs `fewstep train r.x`"})
    with pytest.raises(Missing, match="fewstep train"):
        difference(A, A, "total")(evidence)
    samples = Samples(A, (cell(A, 0.5),))
    with pytest.raises(Missing, match="metric 'imaging_quality'"):
        samples.quantity("clip.imaging_quality")
    with pytest.raises(Missing, match="no features"):
        samples.array("features")


def test_preference_counts_wins_less_losses(cell):
    def stated(right: list[float], made) -> Samples:
        base = cell(made, 0.5)
        clips = [{**clip, "facts_true": right[index % len(right)]} for index, clip in enumerate(base.clips)]
        return Samples(made, (base.__class__(**{**vars(base), "clips": clips}),))

    evidence = Evidence({A: stated([1, 1, 0.5, 0.2], A), B: stated([0, 0.5, 0.5, 0.9], B)}, {}, {}, {})
    assert preference(A, B)(evidence).value == pytest.approx(100 * (2 - 1) / 4)


@pytest.fixture
def with_arrays(cell):
    return lambda made, **arrays: Samples(made, (cell(made, 0.5),), (arrays,))


def test_the_nearer_set_is_nearer(with_arrays):
    rng = np.random.default_rng(0)
    points = {made: rng.normal(shift, 1, size=(300, 4)) for made, shift in ((A, 0.0), (B, 0.3), (C, 2.0))}
    evidence = Evidence({made: with_arrays(made, features=rows) for made, rows in points.items()}, {}, {}, {})
    gap = distance_gap(A, B, C)(evidence)
    assert gap.value == pytest.approx(4 * (2.0**2 - 0.3**2), rel=0.15)
    assert gap.estimate().low > 0
    assert set_distance(evidence.of(A), evidence.of(A)).value == pytest.approx(0, abs=1e-9)


def test_distances_are_told_for_every_seed_that_both_sides_have(cell):
    rng = np.random.default_rng(0)

    def points(made: Arm, seeds: tuple[int, ...], shift: float) -> Samples:
        arrays = tuple({"features": rng.normal(shift, 1, size=(200, 3))} for _ in seeds)
        return Samples(made, tuple(cell(made, 0.5, seed) for seed in seeds), arrays)

    found = set_distance(points(A, (0, 1, 2), 0.0), points(B, (1, 2), 1.0))
    assert found.seeds == (1, 2)
    assert found.value == pytest.approx(3.0, rel=0.2)
    bundled = replace(C, model=Model("shapes-teacher"))
    assert set_distance(points(A, (0, 1, 2), 0.0), points(bundled, (0,), 1.0)).seeds == (0, 1, 2)


def test_the_first_chunk_changes_most_where_its_steps_differ(with_arrays):
    def cosines(first: float, later: float) -> np.ndarray:
        made = np.ones((20, 3, 4, 4))
        made[:, 0, 0, -1], made[:, 1:, 0, -1] = first, later
        return made

    samples = {A: with_arrays(A, **{"similarity.chunk": cosines(0.7, 0.96)})}
    samples[B] = with_arrays(B, **{"similarity.chunk": cosines(0.7, 0.9)})
    evidence = Evidence(samples, {}, {}, {})
    for later in first_chunk_gap(A, "chunk")(evidence):
        np.testing.assert_allclose(later.drawn, 0.26)
    assert len(first_chunk_gap(A, "chunk")(evidence)) == 2
    np.testing.assert_allclose(later_chunk_gain(A, B, "chunk")(evidence).drawn, 0.06)
