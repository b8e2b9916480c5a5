from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from fewstep.metrics.significance import wilson
from fewstep.study.analysis import analyse, crossed_weights, unblind
from fewstep.study.answers import Answer
from fewstep.study.pairs import Pair, Side, Study

MODELS = ("ours", "base", "other")


def study(matches: Sequence[tuple[str, str]] = (("ours", "base"),), prompts: int = 4) -> Study:
    pairs = [
        Pair(f"p{m}{n}", f"prompt {n}", Side(first, f"{first}{n}"), Side(second, f"{second}{n}"))
        for m, (first, second) in enumerate(matches)
        for n in range(prompts)
    ]
    return Study(title="T", question="Q", per_rater=4, models=MODELS, pairs=tuple(pairs))


def answers(of: Study, rater: str, outcomes: str, *, swapped: bool = False, match: int = 0) -> list[Answer]:
    """One answer per prompt: `+` the first model is better, `-` the second, `0` similar, `x` could not be played."""
    found = []
    for number, outcome in enumerate(outcomes):
        if outcome == ".":
            continue
        pair = of.by_name[f"p{match}{number}"]
        left, right = (pair.second, pair.first) if swapped else (pair.first, pair.second)
        better = {"+": pair.first.clip, "-": pair.second.clip}.get(outcome)
        side = "left" if better == left.clip else "right"
        choice = side if better else "similar" if outcome == "0" else "skipped"
        found.append(
            Answer(
                study=of.identity,
                rater=rater,
                pair=pair.name,
                left=left.clip,
                right=right.clip,
                choice=choice,
                seconds=2.0 + number,
                at="2026-11-20T10:00:00.000Z",
            )
        )
    return found


def test_a_small_study_by_hand():
    of = study()
    given = [*answers(of, "ann", "++0-"), *answers(of, "bob", "+0+x", swapped=True), *answers(of, "cyd", "+++.")]
    found = analyse(given, of, resamples=200)
    (match,) = found.comparisons
    assert (match.first, match.second) == ("ours", "base")
    assert (match.wins, match.ties, match.losses) == (7, 2, 1)
    assert match.share == pytest.approx(0.8)
    assert match.wilson == wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert match.p == match.p_holm == pytest.approx(2 * (1 + 8) / 256)  # 7 to 1
    assert (found.answers, found.skipped, found.prompts) == (10, 1, 4)
    # with half an answer of each kind more: 7.5, 2.5, 1.5
    assert found.strengths["ours"].value == pytest.approx(math.log(7.5 / 1.5) / 2)
    assert found.strengths["base"].value == pytest.approx(-math.log(7.5 / 1.5) / 2)
    assert "other" not in found.strengths
    assert found.tie_weight.value == pytest.approx(2.5 / math.sqrt(7.5 * 1.5))
    # pairs {+++}, {+0+}, {0++} of three raters, {-} of one, which says nothing: n = 9, n+ = 7, n0 = 2
    # pairs of unlike answers: 2 units x 4 ordered / 2 = 4 of 9; expected 2 * 7 * 2 / 8 = 3.5 of 9
    assert found.agreement_nominal.value == pytest.approx(1 - 4 / 3.5)
    assert found.agreement.value == pytest.approx(1 - 4 / 3.5)  # one kind of difference only: the scale does not matter
    assert found.agreement.samples == 3
    # ann: left left . right; bob, swapped: right . right; cyd: left left left
    assert (found.left.value, found.left.samples) == (5 / 8, 8)
    assert (found.left.low, found.left.high) == wilson(5, 8)
    ann, bob, _ = found.raters
    assert (ann.name, ann.answers, ann.similar, ann.skipped, ann.left, ann.seconds) == ("ann", 4, 1, 0, 2, 3.5)
    assert (bob.answers, bob.similar, bob.skipped, bob.left) == (4, 1, 1, 0)


def test_sides_do_not_matter_to_the_models():
    of = study()
    plain, swapped = (unblind(answers(of, "ann", "+0-+", swapped=side), of) for side in (False, True))
    assert plain == swapped
    assert [vote.outcome for vote in plain] == [1, 0, -1, 1]


def test_answers_of_one_rater_are_no_independent_evidence():
    of = study(prompts=10)
    # each of ten raters always says the same: Wilson's interval takes a hundred answers for a hundred opinions
    given = [each for r in range(10) for each in answers(of, f"r{r}", ("+" if r < 6 else "-") * 10)]
    (match,) = analyse(given, of, resamples=1000).comparisons
    narrow, wide = match.wilson[1] - match.wilson[0], match.clustered.high - match.clustered.low
    assert match.clustered.low < match.share < match.clustered.high
    assert wide > 2.5 * narrow
    alone = study(prompts=100)
    several = [each for r in range(100) for each in answers(alone, f"r{r}", "." * r + "+-"[r % 2])]
    (match,) = analyse(several, alone, resamples=1000).comparisons
    assert match.clustered.high - match.clustered.low < 1.8 * (match.wilson[1] - match.wilson[0])


def test_the_weights_of_an_answer_are_its_raters_times_its_prompts():
    raters, prompts = ["a", "a", "b", "b"], ["x", "y", "x", "y"]
    weights = crossed_weights(raters, prompts, 4000, 0)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] * weights[:, 3] == weights[:, 1] * weights[:, 2]).all()  # products of two factors
    assert (weights.sum(1) == 4).all()  # a complete table has as many answers in every resample
    assert weights[1:].mean(0) == pytest.approx(np.ones(4), abs=0.1)


def test_three_models_are_compared_in_the_order_of_the_study_and_corrected_for_their_number():
    of = study([("base", "other"), ("ours", "base"), ("ours", "other")], prompts=10)
    given = [
        *answers(of, "a", "+" * 8 + "--"),
        *answers(of, "a", "+" * 10, match=1),
        *answers(of, "a", "+-0" * 3, match=2),
    ]
    found = analyse(given, of, resamples=300)
    assert [(c.first, c.second) for c in found.comparisons] == [("ours", "base"), ("ours", "other"), ("base", "other")]
    assert [c.p for c in found.comparisons] == pytest.approx([2 / 1024, 1, 112 / 1024])
    assert [c.p_holm for c in found.comparisons] == pytest.approx([6 / 1024, 1, 224 / 1024])
    values = [found.strengths[model].value for model in MODELS]
    assert sum(values) == pytest.approx(0, abs=1e-9)
    assert values[0] == max(values)
    for strength in found.strengths.values():
        assert strength.low < strength.value < strength.high
    assert math.isnan(found.agreement.value)  # of one rater


def test_without_an_answer_there_is_nothing_to_analyse():
    of = study()
    with pytest.raises(ValueError, match="got 4, of which none"):
        analyse(answers(of, "ann", "xxxx"), of)


def test_the_json_is_standard_and_says_null_where_nothing_can_be_told():
    of = study()
    text = analyse(answers(of, "ann", "++0-"), of, resamples=50).to_json()
    plain = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert plain["comparisons"][0]["wins"] == 2
    assert plain["agreement"]["value"] is None
