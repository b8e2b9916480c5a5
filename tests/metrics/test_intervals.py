from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import block_length, block_resamples, half_sampled, interval, resampled_means


def spread(values: np.ndarray, **options) -> Estimate:
    return interval(resampled_means(values, **options)[:, 0], len(values))


def test_the_estimate_is_the_mean_of_what_was_measured():
    values = np.array([[1.0, np.nan], [2.0, 4.0], [6.0, np.nan]])
    assert resampled_means(values, count=10)[0] == pytest.approx([3.0, 4.0])


def test_prompts_give_the_interval_of_a_mean():
    values = np.random.default_rng(0).normal(size=(400, 1))
    found = spread(values)
    assert found.half_width == pytest.approx(1.96 * values.std() / np.sqrt(400), rel=0.1)
    assert found.low < found.value < found.high


def test_two_models_are_paired():
    hard = np.random.default_rng(0).normal(size=(100, 1))
    difference = resampled_means(hard + 1, count=50) - resampled_means(hard, count=50)
    assert np.allclose(difference, 1)


def test_what_was_never_measured_has_no_interval():
    found = spread(np.full((5, 1), np.nan), count=10)
    assert np.isnan([found.value, found.low, found.high]).all()


def test_a_mean_of_no_prompt_is_refused():
    with pytest.raises(ValueError, match="one prompt or more"):
        resampled_means(np.zeros((0, 1)))


def test_an_estimate_says_how_many_samples_it_rests_on():
    assert spread(np.arange(7.0)[:, None], count=10).samples == 7


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(one.mean() - other.mean())


def test_half_samples_spread_like_fresh_samples():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(100, 1)), 2 * rng.normal(size=(300, 1))
    found = half_sampled(mean_difference, one, other, count=2000)
    assert found.value == pytest.approx(mean_difference(one, other))
    assert found.half_width == pytest.approx(1.96 * np.sqrt(one.var() / 100 + other.var() / 300), rel=0.1)
    assert found.samples == 100


def test_half_samples_leave_a_bias_of_small_sets_in_the_value_and_centre_on_it():
    def largest(one: np.ndarray, other: np.ndarray) -> float:  # grows with the number of samples
        return float(len(one) / 10 + one.mean())

    rows = np.random.default_rng(0).normal(size=(100, 1))
    found = half_sampled(largest, rows, rows)
    assert found.low < found.value < found.high


def test_blocks_keep_neighbours_together_and_draw_every_value_alike():
    drawn = block_resamples(np.arange(30), 2000, 5, np.random.default_rng(0))
    assert drawn.shape == (2000, 30)
    steps = np.diff(drawn, axis=1) % 30
    inside = np.arange(29) % 5 != 4
    assert (steps[:, inside] == 1).all()
    assert (steps[:, ~inside] != 1).mean() > 0.9
    assert np.bincount(drawn.ravel(), minlength=30) / drawn.size == pytest.approx(np.full(30, 1 / 30), rel=0.1)


def test_blocks_grow_with_the_cube_root_of_the_series():
    assert (block_length(8), block_length(64), block_length(1000)) == (4, 8, 20)
