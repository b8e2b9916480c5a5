from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.base import Estimate
from fewstep.reproduce.verdict import judge, run_test


def draws(value: float, spread: float, count: int = 2000) -> np.ndarray:
    return np.concatenate([[value], np.random.default_rng(0).normal(value, spread, count)])


def outcome(value: float, spread: float, kind: str = "more", margin: float = 2.0, seeds: int = 3) -> str:
    return judge([run_test(draws(value, spread), kind, margin, seeds=seeds)])[0].outcome


def test_chances_are_the_share_of_resamples_on_the_other_side():
    found = run_test(np.array([1.0, -1.0, 1.0, 2.0, 3.0]), "more", 2.5, seeds=3)
    assert found.p_for == pytest.approx((1 + 1) / 5)  # one of four is not above 0
    assert found.p_against == pytest.approx((1 + 1) / 5)  # one of four reaches 2.5
    same = run_test(np.array([0.0, -1.0, 1.0, 2.0, 3.0]), "same", 2.5, seeds=3)
    assert same.p_for == pytest.approx((1 + 1) / 5)  # the worse of: one reaches 2.5, none -2.5
    assert same.p_against == pytest.approx((1 + 3) / 5)


def test_an_estimate_stands_for_a_normal_law():
    found = run_test(Estimate(1.959964, 0.0, 3.919928, 10), "more", 1.0, seeds=3)
    assert found.p_for == pytest.approx(0.025, abs=1e-4)


def test_a_claim_of_more_is_held_refuted_or_open():
    assert outcome(3.0, 0.5) == "held"
    assert outcome(-3.0, 0.5) == "did not hold"
    assert outcome(0.2, 0.5) == "did not hold"  # surely below what counts
    assert outcome(1.5, 1.5) == "cannot be told"


def test_a_claim_of_sameness_is_held_refuted_or_open():
    assert outcome(0.3, 0.4, "same") == "held"
    assert outcome(-4.0, 0.5, "same") == "did not hold"
    assert outcome(1.5, 1.5, "same") == "cannot be told"


def test_a_small_but_sure_difference_is_said_to_be_small():
    (found,) = judge([run_test(draws(0.5, 0.05), "more", 2.0, seeds=3)])
    assert found.outcome == "held"
    assert "below the 2" in found.why


def test_few_seeds_cannot_speak_for_a_method():
    assert outcome(3.0, 0.5, seeds=2) == "cannot be told"
    (found,) = judge([run_test(draws(3.0, 0.5), "more", 2.0, seeds=1)])
    assert "1 training seed" in found.why
    assert found.estimate is not None


def test_many_claims_need_stronger_evidence():
    weak, noise = run_test(draws(2.1, 1.0), "more", 2.0, seeds=3), run_test(draws(0.9, 1.0), "more", 2.0, seeds=3)
    assert judge([weak])[0].outcome == "held"
    assert judge([weak, *[noise] * 9])[0].outcome == "cannot be told"


def test_what_measures_nothing_is_open():
    assert judge([run_test(np.full(10, np.nan), "more", 1.0, seeds=3)])[0].outcome == "cannot be told"


def test_a_margin_is_required():
    with pytest.raises(ValueError, match="margin must be above 0"):
        run_test(draws(1, 1), "more", 0.0, seeds=3)
