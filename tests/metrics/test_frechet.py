from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from fewstep.metrics.frechet import (
    estimate_frechet,
    frechet_distance,
    frechet_infinity,
    gaussian_frechet_distance,
)


def drawn(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ np.random.default_rng(99).normal(size=(d, d)) + shift


def reference(x: np.ndarray, y: np.ndarray) -> float:
    root = sqrtm(np.cov(x.T) @ np.cov(y.T))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root.real))


def test_a_set_is_at_distance_zero_from_itself():
    for n, d in ((200, 12), (10, 40)):
        x = drawn(n, d, 0)
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6 * np.var(x) * d)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 12), (300, 300, 40), (64, 200, 32)])
def test_it_equals_scipys_matrix_root_in_float64(n, m, d):
    x, y = drawn(n, d, 0), drawn(m, d, 1, shift=0.3)
    assert frechet_distance(x, y) == pytest.approx(reference(x, y), rel=1e-6)


def test_fewer_samples_than_features_give_the_same_distance_without_their_covariances():
    x, y = drawn(30, 20, 0), drawn(25, 20, 1)
    # zeros change no distance, but make both sets narrower than their features
    wide = [np.concatenate([side, np.zeros((len(side), 40))], axis=1) for side in (x, y)]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_two_numbers_per_side_by_hand():
    x, y = np.array([[0.0], [2.0]]), np.array([[3.0], [9.0]])  # means 1 and 6, variances 2 and 18
    assert frechet_distance(x, y) == pytest.approx(25 + (np.sqrt(18) - np.sqrt(2)) ** 2)


def test_gaussians_have_a_closed_form():
    one, other = np.diag([1.0, 4.0]), np.diag([9.0, 1.0])
    found = gaussian_frechet_distance(np.zeros(2), one, np.array([3.0, 0.0]), other)
    assert found == pytest.approx(9 + (3 - 1) ** 2 + (2 - 1) ** 2)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40_000, 2)) * [1, 2], rng.normal(size=(40_000, 2)) * [3, 1] + [3, 0]
    assert frechet_distance(x, y) == pytest.approx(found, rel=0.02)


def test_turning_and_moving_both_sets_changes_nothing():
    x, y = drawn(100, 10, 0), drawn(100, 10, 1, shift=1.0)
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(10, 10)))
    assert frechet_distance(x @ turn + 7, y @ turn + 7) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_features_that_never_vary_do_not_disturb_it():
    x, y = drawn(50, 6, 0), drawn(50, 6, 1)
    x[:, 2] = y[:, 2] = 4.0
    assert frechet_distance(x, y) == pytest.approx(reference(np.delete(x, 2, 1), np.delete(y, 2, 1)), rel=1e-6)


def test_the_bias_of_equal_laws_falls_as_one_over_the_samples():
    d, rng = 16, np.random.default_rng(0)
    counts = np.array([100, 200, 400, 800])
    means = [np.mean([frechet_distance(*rng.normal(size=(2, n, d))) for _ in range(24)]) for n in counts]
    slope, at_infinity = np.polyfit(1 / counts, means, 1)
    assert slope == pytest.approx(d * (d + 4) / 2, rel=0.15)
    assert abs(at_infinity) < 0.1 * means[0]


def test_extrapolation_to_endless_samples_takes_the_bias_away():
    rng, d, true = np.random.default_rng(0), 16, 1.0
    pairs = [(rng.normal(size=(400, d)), rng.normal(size=(400, d)) + true / np.sqrt(d)) for _ in range(4)]
    biased = np.mean([frechet_distance(*pair) for pair in pairs])
    extrapolated = np.mean([frechet_infinity(*pair) for pair in pairs])
    assert biased - true > 0.35
    assert abs(extrapolated - true) < 0.12


def test_intervals_cover_what_fresh_samples_give():
    rng, inside = np.random.default_rng(0), 0
    fresh = [frechet_distance(rng.normal(size=(60, 4)), rng.normal(size=(60, 4)) + 0.5) for _ in range(300)]
    widths = []
    for _ in range(60):
        found = estimate_frechet(rng.normal(size=(60, 4)), rng.normal(size=(60, 4)) + 0.5)
        inside += found.low <= np.mean(fresh) <= found.high
        widths.append(found.high - found.low)
    assert inside >= 51  # 57 are expected
    low, high = np.percentile(fresh, [2.5, 97.5])
    assert np.mean(widths) == pytest.approx(high - low, rel=0.3)


def test_what_has_no_distance_is_refused():
    x = drawn(20, 5, 0)
    with pytest.raises(ValueError, match="one width, got 5 and 4"):
        frechet_distance(x, x[:, :4])
    with pytest.raises(ValueError, match="finite features"):
        frechet_distance(x, np.full((20, 5), np.nan))
    with pytest.raises(ValueError, match="2 clips or more"):
        frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match="48 clips or more on both sides, got 20"):
        frechet_infinity(x, x)
