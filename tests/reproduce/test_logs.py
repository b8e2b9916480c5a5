from __future__ import annotations

import math

import numpy as np
import pytest

from fewstep.reproduce.evidence import Evidence, Missing
from fewstep.reproduce.logs import balance, extra_time, loss_summary, lower_loss, steadier
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
            "seconds": seconds,
        }
        for cycle, (value, gap) in enumerate(noise)
    ]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    calm = [{"asd": lines(seed, 0.01, 0.18, 6.0)} for seed in range(3)]
    wild = [{"dmd": lines(seed + 9, 0.03, 0.2, 5.0)} for seed in range(3)]
    return Evidence({}, {}, {CALM: calm, WILD: wild}, {})


def test_a_third_of_the_deviation_is_a_ninth_of_the_variance(evidence):
    found = steadier(CALM, WILD)(evidence)
    assert found.value == pytest.approx(math.log(9), abs=0.35)
    assert 0 < found.low < found.value < found.high


def test_the_lower_loss_is_lower_by_its_share(evidence):
    assert lower_loss(CALM, WILD)(evidence)[0] == pytest.approx(10, abs=2)
    mean, variance = loss_summary(evidence, CALM)
    assert mean.value == pytest.approx(0.18, abs=0.002)
    assert variance == pytest.approx(1e-4, rel=0.3)


def test_a_gap_about_0_is_in_balance_and_one_far_from_it_is_not(evidence):
    assert balance(CALM, 1)(evidence)[0] > 0.7
    assert balance(CALM, 2)(evidence)[0] == pytest.approx(1 - 5, abs=0.8)


def test_time_is_told_in_percent_of_the_baselines(evidence):
    np.testing.assert_allclose(extra_time(CALM, WILD)(evidence), 20.0)


def test_a_signal_that_was_not_logged_is_missing(evidence):
    with pytest.raises(Missing, match="gap_n3"):
        balance(CALM, 3)(evidence)
    with pytest.raises(Missing, match="no log"):
        steadier(CALM, Training(recipe="never"))(evidence)
