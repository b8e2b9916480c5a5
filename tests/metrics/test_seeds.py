from __future__ import annotations

import math

import numpy as np
import pytest

from fewstep.metrics.seeds import Missing, Seeded, half_width, paired, seeded, t_quantile, t_tail


def quantity(means: list[float], clip_error: float = 0.0, count: int = 2000) -> Seeded:
    """Seeds with these values, whose resamples lie about them with this deviation, alike in all."""
    noise = np.random.default_rng(0).normal(size=count)
    noise = clip_error * (noise - noise.mean()) / noise.std(ddof=1)
    return seeded(range(len(means)), [np.concatenate([[mean], mean + noise]) for mean in means], 64)


@pytest.mark.parametrize(
    ("degrees", "tail", "value"),
    [(1, 0.025, 12.7062), (2, 0.025, 4.30265), (2, 0.05, 2.91999), (5, 0.025, 2.57058), (10, 0.005, 3.16927)],
)
def test_students_t_is_that_of_the_tables(degrees, tail, value):
    assert t_quantile(tail, degrees) == pytest.approx(value, rel=1e-5)
    assert t_tail(value, degrees) == pytest.approx(tail, rel=1e-4)


def test_t_of_many_degrees_is_the_normal_law():
    assert t_quantile(0.025, 2000) == pytest.approx(1.96, abs=2e-3)


def test_three_seeds_that_agree_on_their_clips_have_the_interval_of_t_with_two_degrees():
    found = quantity([1.0, 2.0, 3.0]).estimate()
    assert found.value == pytest.approx(2.0)
    assert found.half_width == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


def test_one_seed_has_the_interval_of_its_clips():
    assert quantity([2.0], 0.5).estimate().half_width == pytest.approx(1.96 * 0.5, rel=1e-4)


def test_errors_of_seeds_and_clips_add_as_squares():
    found = quantity([1.0, 2.0, 3.0], 0.5).estimate()
    assert found.half_width == pytest.approx(math.hypot(4.30265 / math.sqrt(3), 1.96 * 0.5), rel=1e-4)


def test_an_interval_is_never_narrower_than_seeds_or_clips_alone():
    rng = np.random.default_rng(1)
    for _ in range(30):
        seeds, clips = rng.exponential(size=2)
        means = list(rng.normal(0, seeds, size=rng.integers(2, 6)))
        both = quantity(means, clips).estimate().half_width
        assert both >= quantity(means).estimate().half_width
        assert both >= quantity([0.0], clips).estimate().half_width


def test_the_interval_covers_a_methods_true_mean_as_often_as_it_says():
    rng, covered, trials, prompts = np.random.default_rng(2), 0, 400, 40
    for _ in range(trials):
        hard, luck = rng.normal(size=prompts), rng.normal(0, 0.3, size=(3, 1))
        clips = hard + luck + rng.normal(0, 0.3, size=(3, prompts))
        draws = rng.integers(prompts, size=(100, prompts))
        drawn = np.concatenate([clips.mean(1)[:, None], clips[:, draws].mean(2)], axis=1)
        found = Seeded((0, 1, 2), drawn, prompts).estimate()
        covered += found.low <= 0 <= found.high
    assert 0.94 <= covered / trials <= 1.0


def test_a_chance_is_the_level_at_which_the_interval_ends_at_the_limit():
    found = quantity([1.0, 2.0, 3.5], 0.5)
    low = found.estimate().low
    assert found.chance_above(low) == pytest.approx(0.025, rel=1e-4)
    assert found.chance_below(low) == pytest.approx(0.975, rel=1e-4)
    assert found.chance_above(found.value) == pytest.approx(0.5)
    assert found.chance_above(-1e6) < found.chance_above(0) < found.chance_above(1)


def test_a_single_number_has_no_interval():
    found = seeded((0,), [3.0], 5)
    assert found.value == 3.0
    assert np.isnan([found.estimate().low, found.chance_above(0)]).all()
    assert seeded((0, 1), [3.0, 3.2], 5).estimate().low < 3.1


def test_pairs_are_of_the_same_seed_and_resample():
    ours, theirs = quantity([1.0, 2.0, 9.0], 0.5), quantity([0.0, 1.0, 8.0], 0.5)
    gain = paired(np.subtract, ours, theirs)
    assert (gain.value, gain.seed_error) == pytest.approx((1.0, 0.0))
    assert gain.clip_error == pytest.approx(0.0, abs=1e-12)


def test_seeds_that_one_side_lacks_are_left_out_and_what_has_none_stands_for_all():
    ours = seeded((0, 2, 5), [1.0, 2.0, 3.0], 8)
    theirs, fixed = seeded((2, 5), [1.0, 1.0], 4), seeded((), [1.0], 9)
    gain = paired(np.subtract, ours, theirs)
    assert gain.seeds == (2, 5)
    assert gain.drawn[:, 0].tolist() == [1.0, 2.0]
    assert gain.samples == 4
    assert paired(np.subtract, ours, fixed).drawn[:, 0].tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(Missing, match="no training seed"):
        paired(np.subtract, ours, seeded((1,), [1.0], 8))


def test_widths_are_taken_value_by_value():
    assert half_width(np.array([0.0, 1.0]), np.array([1.0, 0.0]), 3) == pytest.approx([1.959964, 4.302653])
