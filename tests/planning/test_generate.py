"""Plans of clips against the published costs of Wan, and the ways to need less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import ModelError
from fewstep.planning.generate import Making, plan_clip, switches
from fewstep.planning.sizes import Model, model_of

GB = 1e9


@pytest.fixture(scope="module")
def small() -> Model:
    return model_of("wan_1_3b")


@pytest.fixture(scope="module")
def large() -> Model:
    """14B as AAD-1 samples it: a window, which needs little to rehearse."""
    model = model_of("wan_14b")
    return replace(model, passport=replace(model.passport, context=Context(sink=0, window=9)))


def test_a_clip_of_wan_costs_what_is_published(small: Model):
    plan = plan_clip(small, Making(steps=1))
    text, denoise, decode = plan.phases
    assert decode.flops / 1e12 == pytest.approx(275, rel=0.01)
    assert text.flops / 1e12 == pytest.approx(4.8, rel=0.02)
    # 198 for the passes; of the 198 of the commits, the last chunk's 40 and the last block of each are not made
    assert denoise.flops / 1e12 == pytest.approx(198 + 198 - 40.4, rel=0.02)
    assert denoise.memory["keys and values"] / GB == pytest.approx(6.0, abs=0.1)
    assert denoise.memory["transformer"] / GB == pytest.approx(2.84, abs=0.01)
    assert text.memory["text encoder"] / GB == pytest.approx(11.4, abs=0.1)


def test_offload_lets_1_3b_into_8_gb_and_14b_into_24(small: Model, large: Model):
    for model, memory in ((small, 8 * GB), (large, 24 * GB)):
        assert not plan_clip(model, Making(steps=1)).fits(memory)
        plan = plan_clip(model, Making(steps=1, offload=True))
        assert plan.fits(memory)
        assert plan.host["transformer blocks"] / GB == pytest.approx(2 * model.weights / GB, rel=0.03)


def test_switches_shrink_step_by_step_and_stop_where_it_fits(small: Model):
    ways = switches(small, Making(steps=1), 8 * GB)
    peaks = [plan_clip(small, Making(steps=1)).peak, *(way.plan.peak for way in ways)]
    assert peaks == sorted(peaks, reverse=True)
    assert [way.plan.fits(8 * GB) for way in ways] == [False] * (len(ways) - 1) + [True]
    assert "--offload" in ways[-1].say
    assert switches(small, Making(steps=1), 80 * GB) == []


def test_a_window_bounds_the_past(large: Model):
    denoise = plan_clip(large, Making(steps=1, store=True)).phases[0]
    assert denoise.memory["keys and values"] / GB == pytest.approx(11.5, abs=0.1)


def test_float8_halves_the_blocks_and_nothing_else(small: Model):
    whole, half = (
        plan_clip(small, Making(steps=1, store=True, block_itemsize=size)).phases[0].memory for size in (2, 1)
    )
    assert whole["transformer"] - half["transformer"] == pytest.approx(1.39 * GB, rel=0.01)
    assert half["keys and values"] == whole["keys and values"]


def test_a_published_teacher_is_planned_by_its_name_alone():
    model = model_of("Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
    assert model.passport.kind == "teacher"
    plan = plan_clip(model, Making(steps=50, store=True))
    assert plan.phases[0].flops / 1e12 == pytest.approx(50 * 566, rel=0.01)


def test_a_bundled_model_is_planned_at_its_own_size():
    plan = plan_clip(model_of("shapes-asd"), Making())
    assert plan.peak < 1.1 * GB


def test_an_unknown_model_is_refused_with_the_presets():
    with pytest.raises(ModelError, match=r"name a preset .*wan_1_3b"):
        model_of("wan_2b")
