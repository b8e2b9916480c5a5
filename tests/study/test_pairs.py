from __future__ import annotations

from pathlib import Path

import pytest

from fewstep.study.pairs import Study, load_study


def test_each_prompt_is_a_pair_of_one_clip_of_each_model(sets, draw):
    drawn = draw(*sets)
    study = drawn.study
    assert study.models == ("ours", "theirs")
    assert sorted(pair.prompt for pair in study.pairs) == sorted(f"a red ball, number {n}" for n in range(20))
    assert all((pair.first.model, pair.second.model) == study.models for pair in study.pairs)
    for pair in study.pairs:
        number = int(pair.prompt.rsplit(" ", 1)[1])
        for side, folder in ((pair.first, sets[0]), (pair.second, sets[1])):
            assert drawn.files[side.clip] == folder / f"clip-{number:03d}-seed0.mp4"


def test_names_of_clips_are_forty_different_ones_and_tell_no_model(sets, draw):
    drawn = draw(*sets)
    assert len(drawn.files) == 40
    order = [pair.first.clip < pair.second.clip for pair in drawn.study.pairs]
    assert 4 <= sum(order) <= 16
    assert [pair.prompt for pair in drawn.study.pairs] != sorted(pair.prompt for pair in drawn.study.pairs)


def test_the_same_clips_and_words_are_the_same_study_and_others_are_not(sets, draw):
    assert draw(*sets).study == draw(*sets).study
    others = [draw(*sets, seed=1), draw(*sets, question="Which?"), draw(*sets, prompts=19), draw(*reversed(sets))]
    assert len({draw(*sets).study.identity, *(other.study.identity for other in others)}) == 5


def test_the_key_says_all_of_the_study_again(sets, draw, tmp_path: Path):
    study = draw(*sets).study
    (tmp_path / "key.json").write_text(study.to_json(), encoding="utf-8")
    again = load_study(tmp_path)
    assert (again, again.identity) == (study, study.identity)
    assert Study.from_json(again.to_json()) == study


def test_three_models_meet_each_other_or_the_first_alone(sets, draw, write_set, tmp_path: Path):
    third = write_set(tmp_path / "third", value=62)
    prompts = draw(*sets, third, prompts=5)
    assert len(prompts.study.pairs) == 15
    first = draw(*sets, f"last={third}", prompts=5, design="first", per_rater=99).study
    assert {(p.first.model, p.second.model) for p in first.pairs} == {("ours", "theirs"), ("ours", "last")}
    assert (len(first.pairs), first.per_rater) == (10, 10)


def test_several_seeds_of_a_prompt_are_several_pairs(draw, write_set, tmp_path: Path):
    prompts = ["a", "b"]
    one, two = write_set(tmp_path / "x", prompts, seeds=(0, 1)), write_set(tmp_path / "y", prompts, seeds=(5, 6))
    study = draw(one, two).study
    assert len(study.pairs) == 4
    assert len({pair.first.clip for pair in study.pairs}) == 4


def test_a_manifest_may_be_named_instead_of_its_folder(sets, draw):
    assert draw(sets[0] / "manifest.jsonl", sets[1]).study == draw(*sets).study


def test_manifests_of_different_prompts_are_refused(draw, write_set, tmp_path: Path):
    one, two = write_set(tmp_path / "x", ["a cat", "a dog"]), write_set(tmp_path / "y", ["a cat", "a hen"])
    with pytest.raises(ValueError, match=r"same prompts are required: '.*x' has 'a dog', '.*y' does not \(2 differ\)"):
        draw(one, two)


def test_lost_and_changed_clips_are_left_out_with_their_reason_and_the_rest_is_shown(draw, write_set, tmp_path: Path):
    prompts = ["a", "b", "c"]
    one, two = write_set(tmp_path / "x", prompts), write_set(tmp_path / "y", prompts)
    (one / "clip-000-seed0.mp4").unlink()
    with (two / "clip-001-seed0.mp4").open("ab") as file:
        file.write(b"more")
    drawn = draw(one, two)
    assert [pair.prompt for pair in drawn.study.pairs] == ["c"]
    assert len(drawn.files) == 2
    assert "x: clip-000-seed0.mp4 is missing" in drawn.dropped[0]
    assert "y: clip-001-seed0.mp4 was changed" in drawn.dropped[1]
    (one / "clip-002-seed0.mp4").unlink()
    with pytest.raises(ValueError, match="none is left"):
        draw(one, two)


def test_sets_that_the_eye_can_tell_apart_are_noted(sets, draw, write_set, tmp_path: Path):
    assert draw(*sets).notes == ()
    path = write_set(tmp_path / "x", ["a"]) / "manifest.jsonl"
    other = write_set(tmp_path / "y", ["a"])
    path.write_text(path.read_text().replace('"fps": 8.0', '"fps": 12.0'))
    (note,) = draw(path, other).notes
    assert "frames per second (x 12, y 8)" in note


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ours"], "two models or more"),
        (["ours", "ours"], "different names"),
        (["ours", "nothing"], "is none"),
    ],
)
def test_what_is_no_comparison_is_refused(sets, draw, names: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        draw(*(sets[0].parent / name for name in names))


@pytest.mark.parametrize("text", ["", "{}", '{"format": 9}', '{"format": 1, "study": "x", "pairs": []}'])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str):
    with pytest.raises(ValueError, match="a study's folder is required"):
        load_study(tmp_path)
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(ValueError, match="no key of a study"):
        load_study(tmp_path)
