from __future__ import annotations

import numpy as np
import pytest

from fewstep.study.agreement import interval_scale, krippendorff, nominal

X = 0
RATINGS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, X, X, X],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, X, 3],
        [X, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, X],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, X],
    ]
)
"""Krippendorff (2011), section C: four observers, twelve units, some missing."""
COUNTS = np.stack([np.equal(RATINGS, value).sum(0) for value in range(1, 6)], axis=1)


def test_krippendorffs_own_example_has_his_values():
    assert krippendorff(COUNTS, nominal(5))[0] == pytest.approx(0.743, abs=5e-4)
    assert krippendorff(COUNTS, interval_scale(np.arange(5.0)))[0] == pytest.approx(0.849, abs=5e-4)


def test_four_answers_by_hand():
    # units {a a}, {a b}: o_ab = o_ba = 1 of 4; n_a = 3, n_b = 1, so 2 * 3 * 1 / (4 * 3) is expected: 1 - 0.5 / 0.5
    assert krippendorff(np.array([[2, 0], [1, 1]]), nominal(2))[0] == pytest.approx(0)


def test_raters_who_agree_have_one_and_those_who_only_guess_have_about_zero():
    assert krippendorff(np.array([[3, 0], [0, 3], [0, 2]]), nominal(2))[0] == 1
    guesses = np.random.default_rng(0).multinomial(4, [0.4, 0.2, 0.4], size=4000)
    assert krippendorff(guesses, nominal(3))[0] == pytest.approx(0, abs=0.03)


def test_units_count_as_often_as_they_are_drawn_and_those_of_one_rater_not_at_all():
    weights = np.zeros((1, 12))
    weights[0, [0, 1, 1, 5]] = [1, 2, 2, 1]
    repeated = COUNTS[[0, 1, 1, 5]]
    alone = np.concatenate([repeated, [[0, 0, 0, 0, 1]]])
    assert krippendorff(COUNTS, nominal(5), weights) == pytest.approx(krippendorff(alone, nominal(5)))


@pytest.mark.parametrize("counts", [[[1, 0], [0, 1]], [[2, 0], [3, 0]]])
def test_where_nothing_can_be_compared_there_is_no_alpha(counts: list):
    assert np.isnan(krippendorff(np.array(counts), nominal(2))[0])
