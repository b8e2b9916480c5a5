from __future__ import annotations

import math

import numpy as np
import pytest

from fewstep.metrics.seeds import Missing
from fewstep.reproduce.evidence import Evidence
from fewstep.reproduce.logs import balance, extra_time, imbalance, lower_loss, steadier
from fewstep.reproduce.paper import Training

CALM, WILD = Training(recipe="calm"), Training(recipe="wild")


def lines(seed: int, deviation: float, mean: float, seconds: float) -> list[dict[str, float]]:
    noise = np.random.default_rng(seed).normal(0, 1, size=(200, 2))
    return [
        {
            "cycle": cycle + 1,
            "generator/dmd": mean + deviation * value,
            "discriminator/gap_n1": gap,
            "discriminator/gap_n2": 5 + gap,
            "discriminator/gap_n4": gap + 0.05 * (cycle - 150),
            "discriminator/accuracy": 0.6,
            "seconds": seconds,
        }
        for cycle, (value, gap) in enumerate(noise)
    ]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    calm = {seed: {"asd": lines(seed, 0.01, 0.18, 6.0)} for seed in range(3)}
    wild = {seed: {"dmd": lines(seed + 9, 0.03, 0.2, 5.0)} for seed in range(4)}
    return Evidence({}, {}, {CALM: calm, WILD: wild}, {})


def test_a_third_of_the_deviation_is_a_ninth_of_the_variance(evidence):
    found = steadier(CALM, WILD)(evidence)
    assert found.value == pytest.approx(math.log(9), abs=0.35)
    assert found.estimate().low > 0
    assert found.seeds == (0, 1, 2)  # those that both have


def with_loss(loss: np.ndarray) -> Evidence:
    """One run with this DMD loss, beside one whose loss is white noise."""
    noise = np.random.default_rng(5).normal(size=len(loss))
    runs = {CALM: loss, WILD: noise}
    logs = {
        run: {0: {"asd": [{"cycle": cycle, "generator/dmd": value} for cycle, value in enumerate(values, 1)]}}
        for run, values in runs.items()
    }
    return Evidence({}, {}, logs, {})


def test_neither_trend_nor_warm_up_is_variance():
    noise, cycles = np.random.default_rng(3).normal(size=200), np.arange(1, 201)
    plain = steadier(CALM, WILD)(with_loss(noise)).value
    assert steadier(CALM, WILD)(with_loss(noise + 0.1 * cycles)).value == pytest.approx(plain)
    assert steadier(CALM, WILD)(with_loss(np.where(cycles <= 40, 50.0, noise))).value == pytest.approx(plain)


def test_dependence_of_neighbours_widens_the_interval():
    def error(seed: int, memory: float) -> float:
        loss = np.random.default_rng(seed).normal(size=500)
        for i in range(1, 500):
            loss[i] += memory * loss[i - 1]
        return steadier(CALM, WILD)(with_loss(loss)).clip_error

    fresh, chained = (np.mean([error(seed, memory) for seed in range(10, 16)]) for memory in (0.0, 0.8))
    assert chained > 1.2 * fresh


def test_the_lower_loss_is_lower_by_its_share(evidence):
    assert lower_loss(CALM, WILD)(evidence).value == pytest.approx(10, abs=2)


def test_a_gap_about_0_is_in_balance_and_one_far_from_it_is_not(evidence):
    assert balance(CALM, 1)(evidence).value > 0.7
    assert balance(CALM, 2)(evidence).value == pytest.approx(1 - 5, abs=0.8)
    assert imbalance(CALM, 1)(evidence) == {}
    assert all("not within one standard deviation" in lines[0] for lines in imbalance(CALM, 2)(evidence).values())


def test_a_gap_that_grows_is_out_of_balance_though_its_mean_is_about_0(evidence):
    assert balance(CALM, 4)(evidence).value > 0.5
    faults = imbalance(CALM, 4)(evidence)
    assert faults.keys() == {0, 1, 2}
    assert all("trend" in line for lines in faults.values() for line in lines)


def test_time_is_told_in_percent_of_the_baselines(evidence):
    np.testing.assert_allclose(extra_time(CALM, WILD)(evidence).drawn, 20.0)


def test_a_signal_that_was_not_logged_is_missing(evidence):
    with pytest.raises(Missing, match="gap_n3"):
        balance(CALM, 3)(evidence)
    with pytest.raises(Missing, match="no log"):
        steadier(CALM, Training(recipe="never"))(evidence)
