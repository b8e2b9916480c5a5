from __future__ import annotations

import math

import pytest

from fewstep.metrics.significance import Z95, holm, sign_test, wilson


@pytest.mark.parametrize(
    ("successes", "low", "high"),
    [(32, 0.53, 0.78), (38, 0.66, 0.88), (41, 0.73, 0.93), (24, 0.36, 0.64), (39, 0.68, 0.90), (47, 0.89, 1.00)],
)
def test_intervals_of_shares_of_48_votes(successes: int, low: float, high: float):
    # ASD's user study has 48 votes for each baseline: 67, 79, 85, 50, 81 and 98 %
    assert wilson(successes, 48) == pytest.approx((low, high), abs=5e-3)


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (2.5, 7), (9, 9), (30, 100)])
def test_at_the_ends_of_the_interval_the_score_test_is_on_its_edge(successes: float, trials: int):
    share = successes / trials
    for end in wilson(successes, trials):
        if 0 < end < 1:
            assert abs(share - end) / math.sqrt(end * (1 - end) / trials) == pytest.approx(Z95)


def test_no_trials_have_no_interval():
    assert all(math.isnan(end) for end in wilson(0, 0))


def test_the_sign_test_by_hand():
    assert sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(7, 3) == pytest.approx(2 * (1 + 10 + 45 + 120) / 1024)
    assert sign_test(4, 4) == sign_test(0, 0) == 1
    assert sign_test(3, 9) == sign_test(9, 3)


def test_under_equal_chances_the_test_is_below_its_level_no_more_often_than_that():
    n = 15
    for level in (0.01, 0.05, 0.2):
        rejected = sum(math.comb(n, wins) for wins in range(n + 1) if sign_test(wins, n - wins) <= level)
        assert rejected / 2**n <= level


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, then not below its predecessor
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_is_not_known():
    adjusted = holm([0.02, math.nan])
    assert adjusted[0] == 0.02
    assert math.isnan(adjusted[1])
