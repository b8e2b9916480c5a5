from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fewstep.evaluation.clip_folder import ClipFolder
from fewstep.evaluation.judges import FrameJudge
from fewstep.evaluation.scoring import SCORES, FolderScores, PairError, compare, score_folder
from fewstep.manifest import ManifestError
from fewstep.video import write_video


def score(path: Path, *metrics: object) -> FolderScores:
    return score_folder(ClipFolder.open(path), [FrameJudge(each.metric) for each in metrics])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / SCORES).read_text().splitlines()]


def test_a_score_is_the_mean_over_prompts_with_an_interval(greys: Path, brightness: Callable):
    found = score(greys, brightness()).estimates()["brightness"]
    assert found.value == pytest.approx(25, abs=1)
    # four prompts of 10, 20, 30, 40: a mean of four draws has a standard deviation of 5.59
    assert found.value - found.low == pytest.approx(1.96 * 5.59, abs=1.5)
    assert (found.samples, found.high < 40) == (4, True)


def test_every_clip_has_a_line_that_says_what_its_score_rests_on(greys: Path, brightness: Callable):
    score(greys, brightness(3, extractor="eye-abc"))
    first = lines(greys)[0]
    assert (first["file"], first["prompt"], first["seed"]) == ("clip-000-seed0.mp4", "a red ball", 0)
    told = first["scores"]["brightness"]
    assert (told["version"], told["extractor"]) == (3, "eye-abc")
    assert told["values"]["brightness"] == pytest.approx(10, abs=1)


def test_the_seeds_of_a_prompt_count_as_one_sample_of_the_prompts(
    tmp_path: Path, grey: Callable, add_clip: Callable, brightness: Callable
):
    for index, levels in enumerate(((10, 30), (40, 60))):
        for seed, level in enumerate(levels):
            add_clip(tmp_path, grey(level), index, seed)
    found = score(tmp_path, brightness()).estimates()["brightness"]
    assert found.value == pytest.approx(35, abs=1)
    # two prompts whose means are 20 and 50: no resample lies outside
    assert (found.low, found.high) == (pytest.approx(20, abs=1), pytest.approx(50, abs=1))
    assert found.samples == 4


def test_what_was_measured_is_not_measured_again(greys: Path, brightness: Callable):
    first, second = brightness(), brightness()
    one, two = score(greys, first), score(greys, second)
    assert (first.asked, second.asked, len(lines(greys))) == (4, 0, 4)
    assert one.rows == two.rows


@pytest.mark.parametrize("change", [{"version": 2}, {"extractor": "eye-xyz"}])
def test_another_version_or_extractor_measures_anew(greys: Path, brightness: Callable, change: dict):
    score(greys, brightness(extractor="eye-abc"))
    other = brightness(**{"extractor": "eye-abc", **change})
    score(greys, other)
    assert other.asked == 4


def test_an_interrupted_run_goes_on(greys: Path, brightness: Callable):
    class Stops(brightness):
        def measure(self, clip):
            if self.asked == 2:
                raise KeyboardInterrupt
            return super().measure(clip)

    with pytest.raises(KeyboardInterrupt):
        score(greys, Stops())
    content = (greys / SCORES).read_bytes()
    (greys / SCORES).write_bytes(content[:-20])  # and the second line is cut off
    rest = brightness()
    assert score(greys, rest).estimates()["brightness"].samples == 4
    assert (rest.asked, len(lines(greys))) == (3, 4)


def test_a_bad_clip_is_refused_with_the_reason_and_the_rest_scored(greys: Path, grey: Callable, brightness: Callable):
    score(greys, brightness())
    write_video(greys / "clip-003-seed0.mp4", grey(40, 5), 16)
    (greys / "clip-000-seed0.mp4").unlink()
    for metric in (brightness(), brightness(2)):
        found = score(greys, metric)
        assert "has 5" in found.refused["clip-003-seed0.mp4"]
        assert "is missing" in found.refused["clip-000-seed0.mp4"]
        assert found.estimates()["brightness"].value == pytest.approx(25, abs=1)
        assert found.estimates()["brightness"].samples == 2


def test_a_metric_that_needs_more_says_so_and_nothing_is_decoded_for_it(greys: Path, brightness: Callable):
    long, given = brightness(minimum_frames=16), brightness(needs_picture=True)
    found = score(greys, long)
    assert found.reasons() == {"brightness": "4 clips: needs clips of 16 frames or more, got 9"}
    assert "needs the picture" in score(greys, given).reasons()["brightness"]
    assert (long.asked, given.asked, found.estimates()) == (0, 0, {})


def test_what_a_metric_does_not_know_is_left_out_and_kept_as_unknown(greys: Path, brightness: Callable):
    for _ in range(2):
        found = score(greys, brightness(dark_is_unknown=True))
        assert math.isnan(found.rows["brightness"][0, 0]["brightness"])
        assert found.estimates()["brightness"].value == pytest.approx(30, abs=1)
        assert found.estimates()["brightness"].samples == 3
    assert lines(greys)[0]["scores"]["brightness"]["values"] == {"brightness": None}


def test_one_prompt_alone_has_no_interval(tmp_path: Path, grey: Callable, add_clip: Callable, brightness: Callable):
    for seed in (0, 1, 2):
        add_clip(tmp_path, grey(40 + seed), seed=seed)
    found = score(tmp_path, brightness()).estimates()["brightness"]
    assert found.value == pytest.approx(41, abs=1)
    assert math.isnan(found.low)


@pytest.mark.parametrize("line", ["no json", "[]", '{"file": "x"}', '{"sha256": "x", "scores": {"a": 3}}'])
def test_a_damaged_line_of_scores_is_one_error_with_its_number(greys: Path, brightness: Callable, line: str):
    score(greys, brightness())
    with (greys / SCORES).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ManifestError, match="line 5"):
        score(greys, brightness())


def test_a_difference_is_paired(greys: Path, tmp_path: Path, grey: Callable, add_clip: Callable, brightness: Callable):
    for index, level in enumerate((15, 25, 35, 45)):
        add_clip(tmp_path / "b", grey(level), index)
    found = compare(score(tmp_path / "b", brightness()), score(greys, brightness()))["brightness"]
    assert found.value == pytest.approx(5, abs=1)
    # every pair differs by 5, so no draw of prompts changes that, though each folder's own interval is 20 wide
    assert found.high - found.low < 3
    assert found.samples == 4


def test_pairs_are_the_clips_of_the_same_prompt_and_seed_that_both_know(
    greys: Path, tmp_path: Path, grey: Callable, add_clip: Callable, brightness: Callable
):
    for index, level in enumerate((100, 22)):
        add_clip(tmp_path / "b", grey(level), index)
    add_clip(tmp_path / "b", grey(200), 1, seed=1)
    metric = {"dark_is_unknown": True}
    found = compare(score(tmp_path / "b", brightness(**metric)), score(greys, brightness(**metric)))["brightness"]
    assert found.value == pytest.approx(2, abs=1)
    assert found.samples == 1


def test_folders_of_different_prompts_or_seeds_are_not_paired(
    greys: Path, tmp_path: Path, grey: Callable, add_clip: Callable, brightness: Callable
):
    add_clip(tmp_path / "b", grey(50), 0, prompt="a red box")
    add_clip(tmp_path / "c", grey(50), 0, seed=7)
    one, two, three = (score(path, brightness()) for path in (greys, tmp_path / "b", tmp_path / "c"))
    with pytest.raises(PairError, match="number 0 is 'a red box' and 'a red ball'"):
        compare(two, one)
    with pytest.raises(PairError, match="no clips of the same prompt and seed"):
        compare(three, one)
