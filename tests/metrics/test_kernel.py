from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.kernel import estimate_mmd2, mmd2, permutation_p, polynomial_kernel


def test_two_clips_per_side_by_hand():
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])  # k(x, y) = (x y + 1)^3
    within_x, within_y = 3**3, 1
    across = (1 + 4**3 + 1 + 7**3) / 4
    assert mmd2(x, y) == pytest.approx(within_x + within_y - 2 * across)


def test_the_kernel_does_not_grow_with_the_number_of_features():
    x = np.ones((1, 3))
    assert polynomial_kernel(x, x) == pytest.approx(polynomial_kernel(np.ones((1, 300)), np.ones((1, 300))))


def test_equal_laws_are_at_zero_on_average_at_any_number_of_samples():
    rng = np.random.default_rng(0)
    for n in (6, 40):
        found = [mmd2(*rng.normal(size=(2, n, 8))) for _ in range(300)]
        assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300)


def test_it_sees_a_difference_that_mean_and_covariance_do_not_have():
    rng = np.random.default_rng(0)
    normal, skewed = rng.normal(size=(300, 4)), rng.exponential(size=(300, 4)) - 1
    assert permutation_p(normal, skewed, count=200) < 0.02


def test_the_test_is_exact_under_equal_laws():
    rng = np.random.default_rng(1)
    found = np.array([permutation_p(*rng.normal(size=(2, 12, 5)), count=99) for _ in range(200)])
    assert np.mean(found <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(found) == pytest.approx(0.5, abs=0.07)


def test_far_sets_have_the_least_p_and_equal_ones_the_largest():
    x = np.random.default_rng(0).normal(size=(30, 4))
    assert permutation_p(x, x + 5, count=99) == pytest.approx(1 / 100)
    assert permutation_p(x, x, count=99) > 0.5


def test_the_interval_holds_the_value_and_leaves_zero_when_sets_differ():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 6)), rng.normal(size=(80, 6)) + 0.8
    found = estimate_mmd2(x, y)
    assert 0 < found.low < found.value < found.high
    assert found.value == mmd2(x, y)
    assert found.samples == 80


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="2 clips or more"):
        mmd2(np.ones((1, 3)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="of one width"):
        mmd2(np.ones((4, 2)), np.ones((4, 3)))
