from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from fewstep.study.answers import LOG, Answer, AnswerLog, check_answer, newest, read_answers
from fewstep.study.pairs import Study


@pytest.fixture(scope="module")
def study(sets, draw) -> Study:
    return draw(*sets).study


def answer(study: Study, number: int = 0, **changes: object) -> Answer:
    pair = study.pairs[number]
    plain = {
        "study": study.identity,
        "rater": "Zoë",
        "pair": pair.name,
        "left": pair.second.clip,
        "right": pair.first.clip,
        "choice": "left",
        "seconds": 4.5,
        "at": "2026-11-20T10:00:00.000Z",
    }
    return Answer(**{**plain, **changes})


def test_of_two_answers_to_one_pair_the_later_counts_in_whatever_order_they_come(study: Study):
    early, late = answer(study), answer(study, choice="right", at="2026-11-20T10:00:00.001Z")
    other = answer(study, rater="Ann")
    assert newest([early, late, other]) == newest([late, other, early]) == [other, late]


def test_what_the_log_took_is_there_for_the_next_server(study: Study, tmp_path: Path):
    log = AnswerLog(tmp_path, study)
    log.add([answer(study, 0), answer(study, 1)])
    log.add([answer(study, 0, choice="similar", at="2026-11-20T11:00:00.000Z")])
    again = AnswerLog(tmp_path, study)
    assert again.of("Zoë") == log.of("Zoë")
    assert [each.choice for each in again.of("Zoë")] == ["left", "similar"]
    assert again.of("Ann") == []
    assert len((tmp_path / LOG).read_text(encoding="utf-8").splitlines()) == 3  # nothing was overwritten


def test_a_line_that_a_crash_cut_off_is_gone_and_the_next_one_is_whole(study: Study, tmp_path: Path):
    log = AnswerLog(tmp_path, study)
    log.add([answer(study, 0)])
    with log.path.open("ab") as file:
        file.write(answer(study, 1).to_json().encode())  # without its end, so never confirmed
    log = AnswerLog(tmp_path, study)
    assert len(log.of("Zoë")) == 1
    log.add([answer(study, 1)])
    assert len(read_answers([tmp_path], study)) == 2


def test_a_log_and_files_of_pages_are_read_together(study: Study, tmp_path: Path):
    AnswerLog(tmp_path, study).add([answer(study, 0)])
    later = answer(study, 0, choice="similar", at="2026-11-20T11:00:00.000Z")
    saved = tmp_path / "saved"
    saved.mkdir()
    document = {"study": study.identity, "rater": "Zoë", "answers": [asdict(later), asdict(answer(study, 1))]}
    (saved / "answers-x.json").write_text(json.dumps(document), encoding="utf-8")
    assert read_answers([tmp_path, saved], study) == newest([later, answer(study, 1)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "other"}, "got one of 'other'"),
        ({"pair": "p9999"}, "a pair of the study"),
        ({"left": "x"}, "the clips of p0001"),
        ({"choice": "both"}, "left, right, similar, skipped"),
        ({"rater": "  "}, "rater's name"),
        ({"rater": "a\nb"}, "rater's name"),
        ({"rater": "x" * 61}, "rater's name"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"at": "yesterday"}, "a time such as"),
    ],
)
def test_an_answer_that_is_not_one_of_this_study_is_refused(study: Study, changes: dict, message: str):
    good = asdict(answer(study))
    assert check_answer(good, study) == answer(study)
    with pytest.raises(ValueError, match=message):
        check_answer({**good, **changes}, study)


@pytest.mark.parametrize("plain", [None, [], {}, {"study": "x"}])
def test_what_is_no_answer_is_refused(study: Study, plain: object):
    with pytest.raises(ValueError, match="an answer has"):
        check_answer(plain, study)


@pytest.mark.parametrize("text", ["nonsense\n", "[1]", '{"answers": 3}', '{"answers": [{}]}', "\n"])
def test_a_file_without_answers_is_refused_by_name(study: Study, tmp_path: Path, text: str):
    (tmp_path / "answers.json").write_text(text)
    with pytest.raises(ValueError, match=r"answers\.json"):
        read_answers([tmp_path], study)


def test_answers_of_another_study_are_refused(study: Study, sets, draw, tmp_path: Path):
    AnswerLog(tmp_path, study).add([answer(study)])
    other = draw(*sets, seed=1).study
    with pytest.raises(ValueError, match=f"of study {other.identity} is required"):
        read_answers([tmp_path], other)


def test_absent_answers_are_refused(study: Study, tmp_path: Path):
    for path in (tmp_path, tmp_path / "x.json"):
        with pytest.raises(ValueError, match="required"):
            read_answers([path], study)
