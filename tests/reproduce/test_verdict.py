from __future__ import annotations

import math

import numpy as np
import pytest

from fewstep.metrics.seeds import Seeded, seeded
from fewstep.reproduce.verdict import Outcome, judge, run_test


def made(value: float, spread: float, seeds: int = 3) -> Seeded:
    """Seeds about a value, whose mean has the standard error `spread`; their clips say nothing more."""
    apart = np.linspace(-1, 1, seeds) if seeds > 1 else np.zeros(1)
    error = apart.std(ddof=1) / math.sqrt(seeds) if seeds > 1 else 1.0
    return seeded(range(seeds), [np.full(3, value + spread * each / error) for each in apart], 64)


def clips(value: float, spread: float) -> Seeded:
    """One seed with 2000 resamples."""
    return seeded((0,), [np.concatenate([[value], np.random.default_rng(0).normal(value, spread, 2000)])], 64)


def outcome(value: float, spread: float, kind: str = "more", margin: float = 2.0, seeds: int = 3) -> Outcome:
    return judge([run_test(made(value, spread, seeds), kind, margin)])[0].outcome


def test_chances_are_those_of_t_over_the_seeds():
    found = run_test(made(2.91999, 1.0), "more", 2.91999 + 4.30265)
    assert found.p_for == pytest.approx(0.05, rel=1e-4)
    assert found.p_against == pytest.approx(0.025, rel=1e-4)
    same = run_test(made(0.0, 1.0), "same", 2.91999)
    assert same.p_for == pytest.approx(0.05, rel=1e-4)
    assert same.p_against == pytest.approx(0.95, rel=1e-4)


def test_a_claim_of_more_is_held_refuted_or_open():
    assert outcome(3.0, 0.3) == "held"
    assert outcome(-3.0, 0.3) == "did not hold"
    assert outcome(0.2, 0.3) == "did not hold"  # surely below what counts
    assert outcome(1.5, 1.5) == "cannot be told"


def test_a_claim_of_sameness_is_held_refuted_or_open():
    assert outcome(0.3, 0.2, "same") == "held"
    assert outcome(-4.0, 0.3, "same") == "did not hold"
    assert outcome(1.5, 1.5, "same") == "cannot be told"


def test_three_seeds_are_less_sure_than_their_clips():
    assert outcome(2.0, 1.0, seeds=3) == "cannot be told"  # 2 of its errors: .09 with two degrees
    assert outcome(2.0, 1.0, seeds=9) == "held"


def test_a_small_but_sure_difference_is_said_to_be_small():
    (found,) = judge([run_test(made(0.5, 0.02), "more", 0.6)])
    assert found.outcome == "held"
    assert "below the 0.6" in found.why


def test_few_seeds_cannot_speak_for_a_method():
    assert outcome(3.0, 0.001, seeds=2) == "cannot be told"
    (found,) = judge([run_test(clips(3.0, 0.5), "more", 2.0)])
    assert found.outcome == "cannot be told"
    assert "1 training seed" in found.why
    assert found.estimate is not None


def test_many_claims_need_stronger_evidence_and_say_so():
    weak, noise = run_test(made(4.0, 1.0), "more", 2.0), run_test(made(0.9, 1.0), "more", 2.0)
    assert judge([weak])[0].outcome == "held"
    among = judge([weak, *[noise] * 9])[0]
    assert among.outcome == "cannot be told"
    assert "by itself it would hold (p = 0.029)" in among.why


def test_a_claim_about_several_needs_all_of_them_and_falls_with_one():
    held = run_test([made(3.0, 0.2), made(5.0, 0.2)], "more", 2.0)
    assert judge([held])[0].outcome == "held"
    assert held.estimate.value == pytest.approx(3.0)
    assert held.p_for == pytest.approx(run_test(made(3.0, 0.2), "more", 2.0).p_for)
    fallen = run_test([made(3.0, 0.2), made(-3.0, 0.2)], "more", 2.0)
    assert judge([fallen])[0].outcome == "did not hold"
    assert fallen.p_against == pytest.approx(2 * run_test(made(-3.0, 0.2), "more", 2.0).p_against)
    apart = run_test([made(0.1, 0.02), made(-5.0, 0.2)], "same", 2.0)
    assert apart.estimate.value == pytest.approx(-5.0)
    assert judge([apart])[0].outcome == "did not hold"


def test_faults_speak_against_a_number_that_would_do():
    amiss = ({}, {1: ["a trend"]}, {0: ["a trend"], 2: ["pinned"]})
    sound, one, most = (run_test(made(3.0, 0.2), "more", 2.0, faults) for faults in amiss)
    assert [judge([each])[0].outcome for each in (sound, one, most)] == ["held", "cannot be told", "did not hold"]
    assert "seed 0: a trend; seed 2: pinned" in judge([most])[0].why


def test_what_measures_nothing_is_open():
    nothing = seeded((0, 1, 2), [np.full(10, np.nan)] * 3, 4)
    assert judge([run_test(nothing, "more", 1.0)])[0].outcome == "cannot be told"
    (single,) = judge([run_test(seeded((0,), [3.0], 4), "more", 1.0)])
    assert single.outcome == "cannot be told"
    assert "no interval" in single.why


def test_a_measure_at_its_limit_cannot_tell_which_is_better():
    (found,) = judge([run_test(made(0.0, 0.0), "more", 2.0)])
    assert (found.outcome, found.p) == ("cannot be told", None)
    assert "at its limit" in found.why
    assert judge([run_test(made(0.0, 0.0), "same", 2.0)])[0].outcome == "held"


def test_a_margin_is_required():
    with pytest.raises(ValueError, match="margin must be above 0"):
        run_test(made(1, 1), "more", 0.0)
