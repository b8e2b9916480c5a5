from __future__ import annotations

import pytest

from fewstep.diffusion.steps import StepPlan, named_plan, shifted_levels

LEVELS = (1.0, 0.9375, 0.8333, 0.625)


def test_shifted_levels_are_the_warped_lists_of_the_papers():
    assert shifted_levels() == pytest.approx((1.0, 0.9375, 0.83333, 0.625), abs=1e-5)
    assert shifted_levels((1000, 500)) == pytest.approx((1.0, 0.83333), abs=1e-5)
    assert shifted_levels((1000,)) == (1.0,)
    assert shifted_levels((1000, 667, 333)) == pytest.approx((1.0, 0.9092, 0.7140), abs=1e-4)


def test_a_trailing_zero_is_the_clean_end_and_is_dropped():
    assert shifted_levels((1000, 500, 0)) == shifted_levels((1000, 500))
    with pytest.raises(ValueError, match="trailing 0"):
        shifted_levels((1000, 0, 500))


@pytest.mark.parametrize("bad", [(), (0.9, 0.5), (1.0, 1.0), (1.0, 0.5, 0.6), (1.0, 0.0)])
def test_levels_must_descend_from_one_to_above_zero(bad):
    with pytest.raises(ValueError, match=r"noise levels must descend strictly from 1.0 to above 0"):
        StepPlan(bad, LEVELS)


def test_the_first_chunk_may_have_its_own_levels():
    plan = StepPlan.uniform((1.0,)).enhance_first(LEVELS)
    assert plan.sigmas(0) == LEVELS
    assert plan.sigmas(1) == plan.sigmas(6) == (1.0,)
    assert plan.steps == 1


def test_one_star_costs_ten_evaluations_for_seven_chunks_where_four_steps_cost_28():
    assert named_plan(LEVELS, "1*").num_evaluations(7) == 10
    assert named_plan(LEVELS, "4").num_evaluations(7) == 28


def test_truncation_keeps_the_prefix_and_respacing_spans_the_list():
    plan = StepPlan.uniform(LEVELS)
    assert plan.truncate(2).rest == (1.0, 0.9375)
    assert plan.respace(2).rest == (1.0, 0.8333)
    assert plan.truncate(3).rest == (1.0, 0.9375, 0.8333)
    assert plan.respace(3).rest == (1.0, 0.9375, 0.625)
    for n in (1, 4):
        assert plan.truncate(n) == plan.respace(n)


@pytest.mark.parametrize("n", [0, 5])
def test_a_plan_cannot_be_cut_to_fewer_than_one_or_more_than_its_steps(n):
    plan = StepPlan.uniform(LEVELS)
    for cut in (plan.truncate, plan.respace):
        with pytest.raises(ValueError, match=r"4 steps can be cut to 1\.\.4"):
            cut(n)


def test_names_mean_what_the_tables_mean():
    assert named_plan(LEVELS, "2") == StepPlan.uniform((1.0, 0.9375))
    assert named_plan(LEVELS, "2", "respaced") == StepPlan.uniform((1.0, 0.8333))
    assert named_plan(LEVELS, "2*") == StepPlan(LEVELS, (1.0, 0.9375))
    assert named_plan(LEVELS, "4") == StepPlan.uniform(LEVELS)


@pytest.mark.parametrize("name", ["", "0", "5", "two", "1**", "*"])
def test_an_unknown_name_is_refused_with_the_names_that_work(name):
    with pytest.raises(ValueError, match=r'a count from 1 to 4.*, such as "4", "1\*" or "1\+"'):
        named_plan(LEVELS, name)


def test_a_plus_spends_a_stars_evaluations_on_the_second_chunk():
    star, plus = named_plan(LEVELS, "1*"), named_plan(LEVELS, "1+")
    assert plus.num_evaluations(7) == star.num_evaluations(7) == 10
    assert [len(plus.sigmas(chunk)) for chunk in range(4)] == [1, 4, 1, 1]
    assert plus.truncate(1).enhanced == 1
