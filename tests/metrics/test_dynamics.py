from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.dynamics import Series, logit_gap


def series(seed: int, deviation: float, *, n: int = 300, slope: float = 0.0, mean: float = 0.2) -> Series:
    """A trend and noise whose neighbours depend on each other (first-order autoregression, .6)."""
    rng, values = np.random.default_rng(seed), np.zeros(n)
    for i in range(1, n):
        values[i] = 0.6 * values[i - 1] + 0.8 * rng.normal()
    cycles = np.arange(1, n + 1)
    return Series(cycles.astype(float), mean + deviation * values + slope * cycles)


def test_a_signal_is_read_from_the_cycles_that_logged_it():
    log = [{"cycle": i, "gap": i / 10 if i % 2 else None, "loss": 1.0} for i in range(1, 21)]
    found = Series.of(log, "gap")
    assert found.cycles.tolist() == list(range(1, 20, 2))
    assert found.values[1] == 0.3
    assert found.after(0.5).cycles.tolist() == [11, 13, 15, 17, 19]


def test_a_trend_by_hand_and_no_variance_beside_it():
    found = Series(np.arange(1.0, 11), 3 + 0.5 * np.arange(1.0, 11))
    assert found.line == pytest.approx((0.5, 3))
    assert found.residuals == pytest.approx(np.zeros(10), abs=1e-12)


def test_a_calm_gap_has_no_fault():
    found = logit_gap(series(3, 0.05, mean=0.0), series(4, 0.02, mean=0.6))
    assert found.faults == []
    assert found.slope.low < 0 < found.slope.high


def test_a_gap_that_is_one_sided_grows_or_is_won_by_the_discriminator_is_faulted():
    aside = logit_gap(series(3, 0.05, mean=0.5))
    assert ["one standard deviation" in fault for fault in aside.faults] == [True]
    grows = logit_gap(series(3, 0.05, mean=-0.45, slope=0.002))
    assert ["trend" in fault for fault in grows.faults] == [True]
    assert grows.slope.value == pytest.approx(0.002, rel=0.2)
    pinned = logit_gap(series(3, 0.05, mean=0.0), Series(np.arange(1.0, 301), np.full(300, 1.0)))
    assert pinned.faults == ["the discriminator's accuracy rests at 1.00"]


def test_slopes_that_are_not_there_are_rarely_found():
    faults = [any("trend" in fault for fault in logit_gap(series(i, 0.1), count=300).faults) for i in range(40)]
    assert sum(faults) <= 8


def test_runs_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="'gap' is needed in 8 cycles or more, got 3"):
        Series.of([{"cycle": i, "gap": 0.0} for i in range(3)], "gap")
    short = Series(np.arange(1.0, 9), np.zeros(8))
    with pytest.raises(ValueError, match="8 cycles of the run's end"):
        logit_gap(short)
