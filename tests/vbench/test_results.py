"""Result files of VBench: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fewstep.vbench.dimensions import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
from fewstep.vbench.results import Measured, ResultError, clip_name, measured, prompt_of, read_results

PROMPTS = ["a bird", "a half-1 dog"]
NAMES = [clip_name(prompt, index) for prompt in PROMPTS for index in range(5)]


def result(names: list[str] = NAMES, value: Any = 0.5, mean: Any = 0.5) -> list[Any]:
    """As VBench writes it."""
    return [mean, [{"video_path": f"/data/videos/{name}", "video_results": value} for name in names]]


def measure(name: str, of: Any, **options: bool) -> Measured:
    return measured(TEXT_TO_VIDEO[name], of, PROMPTS, **options)


def test_a_whole_result_is_read() -> None:
    found = measure(
        "subject_consistency", [0.3, [{"video_path": n, "video_results": 0.1 * i} for i, n in enumerate(NAMES)]]
    )
    assert (found.raw, found.expected, len(found.clips), found.remarks) == (
        0.3,
        10,
        10,
        ("VBench says 0.3000, its clips average 0.4500",),
    )
    # (0 + 0.1 + 0.2 + 0.3 + 0.4) / 5, and the next five
    assert found.by_prompt == pytest.approx([0.2, 0.7])


def test_a_name_gives_back_its_prompt() -> None:
    assert [prompt_of(clip_name(prompt, 24)) for prompt in PROMPTS] == PROMPTS


def test_yes_and_no_are_one_and_zero() -> None:
    assert measure("dynamic_degree", result(value=True, mean=1.0)).by_prompt == [1.0, 1.0]


def test_camera_motion_has_a_table_of_its_kinds_between() -> None:
    mean, clips = result(value=1.0, mean=1.0)
    assert measured(IMAGE_TO_VIDEO["camera_motion"], [mean, {"pan_left": 1.0}, clips], PROMPTS).raw == 1.0


@pytest.mark.parametrize(("mean", "remarks"), [(0.62, 0), (62.0, 1)])
def test_imaging_quality_is_in_percent_clip_by_clip_whatever_its_mean_is_in(mean: float, remarks: int) -> None:
    found = measure("imaging_quality", result(value=62.0, mean=mean))
    assert found.raw == pytest.approx(0.62)
    assert list(found.clips.values()) == pytest.approx([0.62] * 10)
    assert len(found.remarks) == remarks


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (result(NAMES[:-1]), "needs 10 clips, 5 of each of 2 prompts, got 9; missing: 'a half-1 dog-4.mp4'"),
        (result([*NAMES, NAMES[0]]), "counts clips twice: 'a bird-0.mp4'"),
        (result([*NAMES, "a cat-0.mp4"]), "not of its prompts: 'a cat-0.mp4'"),
        (result([*NAMES, "a bird-5.mp4"]), "not of its prompts: 'a bird-5.mp4'"),
        (result(value=None), "of a bird-0.mp4 must be a number, got None"),
        (result(value=float("nan")), "must be a number, got nan"),
        (result(mean=float("nan")), "must be a number, got nan"),
        (result(mean="0.5"), "must be a number, got '0.5'"),
        (result(mean=50.0, value=50.0), "must be in 0 … 1, got 50.0"),
        ([0.5], r"must be \[mean, clips\]"),
        ([0.5, {}], r"must be \[mean, clips\]"),
        ({"mean": 0.5}, r"must be \[mean, clips\]"),
        ([0.5, [{"video_path": "a bird-0.mp4"}]], "a clip without a path and a result"),
        ([0.5, []], "got 0"),
    ],
)
def test_what_is_not_the_whole_set_is_refused(of: Any, message: str) -> None:
    with pytest.raises(ResultError, match=f"subject_consistency.*{message}"):
        measure("subject_consistency", of)


def test_only_two_dimensions_may_lack_clips_and_say_so() -> None:
    assert measure("color", result(NAMES[:7])).remarks == ("7 of 10 clips show the object",)
    assert measure("temporal_flickering", result(NAMES[:7])).remarks == ("7 of 10 clips are static",)
    with pytest.raises(ResultError, match="got 7"):
        measure("temporal_flickering", result(NAMES[:7]), filtered=False)
    with pytest.raises(ResultError, match="has no clip: of 10, none show the object"):
        measure("color", result([]))


def test_files_of_a_folder_are_one_result(tmp_path: Path) -> None:
    for name in ("scene", "color"):
        path = tmp_path / name / f"results_{name}_eval_results.json"
        path.parent.mkdir()
        path.write_text(json.dumps({name: result()}))
        (path.parent / f"results_{name}_full_info.json").write_text("[]")
    assert read_results(tmp_path).keys() == {"scene", "color"}
    assert read_results(tmp_path / "scene" / "results_scene_eval_results.json").keys() == {"scene"}


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"scene": [0.5', "is no JSON"), ("[]", "must hold an object"), ('{"scene": []}', "scene is in .*a_eval.* and")],
)
def test_damaged_files_and_dimensions_in_two_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a_eval_results.json").write_text('{"scene": []}')
    (tmp_path / "b_eval_results.json").write_text(content)
    with pytest.raises(ResultError, match=message):
        read_results(tmp_path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nowhere", tmp_path / "none_eval_results.json"):
        with pytest.raises(ResultError, match="there is none in"):
            read_results(source)
