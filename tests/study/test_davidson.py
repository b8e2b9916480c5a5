from __future__ import annotations

import math

import numpy as np
import pytest

from fewstep.study.davidson import PRIOR, strengths


def test_two_models_have_the_closed_form():
    # 19.5 : 4.5 : 8.5 with the half answers; equal strengths would tie v = 4.5 / sqrt(19.5 * 8.5) times as often
    values, ties = strengths([(0, 1)], np.array([[[19, 4, 8]]]), 2)
    assert values[0, 0] - values[0, 1] == pytest.approx(math.log(19.5 / 8.5), abs=1e-9)
    assert ties[0] == pytest.approx(math.log(4.5 / math.sqrt(19.5 * 8.5)), abs=1e-9)
    assert values.sum() == pytest.approx(0, abs=1e-9)


def test_counts_that_the_model_predicts_give_its_strengths_back():
    truth, tie = np.array([0.8, 0.1, -0.9]), 0.7
    matches = [(0, 1), (0, 2), (1, 2)]
    counts = []
    for i, j in matches:
        p, q = np.exp(truth[[i, j]])
        share = np.array([p, tie * math.sqrt(p * q), q])
        counts.append(1e5 * share / share.sum() - PRIOR)
    values, ties = strengths(matches, np.array([counts]), 3)
    assert values[0] == pytest.approx(truth, abs=1e-6)
    assert math.exp(ties[0]) == pytest.approx(tie, abs=1e-6)


def test_at_the_optimum_each_model_scores_what_is_expected_of_it():
    # the likelihood equations: wins plus half the ties equal their expectation
    rng = np.random.default_rng(0)
    matches = [(0, 1), (1, 2), (2, 3), (0, 3)]
    counts = rng.integers(0, 12, (5, 4, 3))
    values, ties = strengths(matches, counts, 4)
    for row in range(5):
        scored, expected = np.zeros(4), np.zeros(4)
        for (i, j), (win, tie, loss) in zip(matches, counts[row] + PRIOR, strict=True):
            p, q = np.exp(values[row, [i, j]])
            share = np.array([p, math.exp(ties[row]) * math.sqrt(p * q), q])
            share *= (win + tie + loss) / share.sum()
            scored[[i, j]] += win + tie / 2, loss + tie / 2
            expected[[i, j]] += share[0] + share[1] / 2, share[2] + share[1] / 2
        assert scored == pytest.approx(expected, abs=1e-6)


def test_a_model_that_never_lost_is_strongest_and_finite():
    values, _ = strengths([(0, 1), (1, 2), (0, 2)], np.array([[[48, 0, 0], [10, 2, 30], [48, 0, 0]]]), 3)
    assert np.isfinite(values).all()
    assert values[0].argsort().tolist() == [1, 2, 0]


def test_swapping_the_sides_of_a_match_changes_nothing():
    counts = np.array([[[5, 2, 9], [7, 1, 3]]])
    values, ties = strengths([(0, 1), (1, 2)], counts, 3)
    swapped, same = strengths([(1, 0), (1, 2)], np.array([[[9, 2, 5], [7, 1, 3]]]), 3)
    assert swapped == pytest.approx(values)
    assert same == pytest.approx(ties)


def test_models_that_nothing_joins_have_no_strengths():
    values, ties = strengths([(0, 1), (2, 3)], np.ones((2, 2, 3)), 4)
    assert np.isnan(values).all()
    assert np.isnan(ties).all()
