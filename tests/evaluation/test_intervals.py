from __future__ import annotations

import numpy as np
import pytest

from fewstep.evaluation.intervals import Interval, interval, resampled_means


def spread(values: list[np.ndarray], **options) -> Interval:
    return interval(resampled_means(values, **options)[:, 0])


def test_the_estimate_is_the_mean_of_what_was_measured():
    values = np.array([[1.0, np.nan], [2.0, 4.0], [6.0, np.nan]])
    assert resampled_means([values], count=10)[0] == pytest.approx([3.0, 4.0])


def test_seeds_count_alike_however_much_each_left_out():
    one, two = np.array([[0.0], [0.0], [0.0]]), np.array([[1.0], [np.nan], [np.nan]])
    assert resampled_means([one, two], count=10)[0] == pytest.approx([0.5])


def test_one_seed_gives_the_interval_of_a_mean():
    values = np.random.default_rng(0).normal(size=(400, 1))
    found = spread([values])
    assert found.half_width == pytest.approx(1.96 * values.std() / np.sqrt(400), rel=0.1)
    assert found.low < found.mean < found.high


def test_seeds_that_differ_widen_the_interval():
    values = np.random.default_rng(0).normal(size=(400, 1))
    alike, apart = spread([values] * 3), spread([values - 1, values, values + 1])
    assert apart.mean == pytest.approx(alike.mean)
    assert apart.half_width > 5 * alike.half_width


def test_prompts_are_drawn_once_for_all_seeds():
    values = np.random.default_rng(0).normal(size=(100, 1))
    assert np.allclose(resampled_means([values], count=50), resampled_means([values, values], count=50))


def test_two_models_are_paired():
    hard = np.random.default_rng(0).normal(size=(100, 1))
    difference = resampled_means([hard + 1], count=50) - resampled_means([hard], count=50)
    assert np.allclose(difference, 1)


def test_what_was_never_measured_has_no_interval():
    found = spread([np.full((5, 1), np.nan)], count=10)
    assert np.isnan([found.mean, found.low, found.high]).all()


def test_seeds_measured_on_different_prompts_are_refused():
    with pytest.raises(ValueError, match="same prompts"):
        resampled_means([np.zeros((3, 1)), np.zeros((4, 1))])
