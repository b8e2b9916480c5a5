from __future__ import annotations

import numpy as np
import pytest

from fewstep.reproduce.evidence import (
    Evidence,
    Missing,
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
    assert samples.draws("facts_true")[0] == pytest.approx(100 * facts)
    drifts = np.mean([[clip["metrics"]["drift"] for clip in each.clips] for each in samples.cells])
    assert samples.draws("clip.drift")[0] == pytest.approx(drifts)
    assert samples.draws("clip.dynamic_degree")[0] == pytest.approx(50.0)


def test_a_combination_is_linear_and_paired(make_evidence):
    evidence = make_evidence({A: 0.6, B: 0.5})
    gain = difference(A, B, "facts_true")(evidence)
    single = [evidence.of(each).draws("facts_true") for each in (A, B)]
    np.testing.assert_allclose(gain, single[0] - single[1])
    assert np.std(gain[1:]) < 0.5 * np.std(single[0][1:])  # hard prompts are hard for both
    np.testing.assert_allclose(combination((1.0, A, "facts_true"), (-1.0, A, "facts_true"))(evidence), 0.0, atol=1e-12)


def test_less_of_a_measure_counts_the_other_way(make_evidence):
    evidence = make_evidence({A: 0.6, B: 0.5})
    np.testing.assert_allclose(
        difference(A, B, "facts_true", sign=-1)(evidence), -difference(A, B, "facts_true")(evidence)
    )


def test_what_was_not_measured_says_what_it_needs(cell):
    evidence = Evidence({}, {}, {}, {A: "not run: needs `fewstep train r.x`"})
    with pytest.raises(Missing, match="fewstep train"):
        difference(A, A, "total")(evidence)
    samples = Samples(A, (cell(A, 0.5),))
    with pytest.raises(Missing, match="metric 'drift'"):
        samples.draws("clip.drift")
    with pytest.raises(Missing, match="no features"):
        samples.array("features")


def test_preference_counts_wins_less_losses(cell):
    def stated(right: list[float], made) -> Samples:
        base = cell(made, 0.5)
        clips = [{**clip, "facts_true": right[index % len(right)]} for index, clip in enumerate(base.clips)]
        return Samples(made, (base.__class__(**{**vars(base), "clips": clips}),))

    evidence = Evidence({A: stated([1, 1, 0.5, 0.2], A), B: stated([0, 0.5, 0.5, 0.9], B)}, {}, {}, {})
    assert preference(A, B)(evidence)[0] == pytest.approx(100 * (2 - 1) / 4)


@pytest.fixture
def with_arrays(cell):
    return lambda made, **arrays: Samples(made, (cell(made, 0.5),), (arrays,))


def test_the_nearer_set_is_nearer(with_arrays):
    rng = np.random.default_rng(0)
    points = {made: rng.normal(shift, 1, size=(300, 4)) for made, shift in ((A, 0.0), (B, 0.3), (C, 2.0))}
    evidence = Evidence({made: with_arrays(made, features=rows) for made, rows in points.items()}, {}, {}, {})
    gap = distance_gap(A, B, C)(evidence)
    assert gap.value == pytest.approx(4 * (2.0**2 - 0.3**2), rel=0.15)
    assert gap.low > 0
    assert set_distance(evidence.of(A), evidence.of(A)).value == pytest.approx(0, abs=1e-9)


def test_the_first_chunk_changes_most_where_its_steps_differ(with_arrays):
    def cosines(first: float, later: float) -> np.ndarray:
        made = np.ones((20, 3, 4, 4))
        made[:, 0, 0, -1], made[:, 1:, 0, -1] = first, later
        return made

    samples = {A: with_arrays(A, **{"similarity.chunk": cosines(0.7, 0.96)})}
    samples[B] = with_arrays(B, **{"similarity.chunk": cosines(0.7, 0.9)})
    evidence = Evidence(samples, {}, {}, {})
    np.testing.assert_allclose(first_chunk_gap(A, "chunk")(evidence), 0.26)
    np.testing.assert_allclose(later_chunk_gain(A, B, "chunk")(evidence), 0.06)
