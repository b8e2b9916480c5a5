"""The evaluation in another process: a stand-in checkout whose scripts write what VBench writes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from fewstep.vbench.card import card_of_folder, card_of_results
from fewstep.vbench.dimensions import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
from fewstep.vbench.environment import EnvironmentFault, call, installed
from fewstep.vbench.export import export_clips
from fewstep.vbench.image_to_video import PictureError
from fewstep.vbench.prompts import read_prompts
from fewstep.vbench.results import ResultError
from fewstep.vbench.run import Evaluator, evaluate_all, read_run

STILL = "In a still frame, a stop sign"


@pytest.fixture
def prompts(toy):
    return read_prompts(toy.checkout, TEXT_TO_VIDEO, any_list=True)


@pytest.fixture
def evaluator(toy, prompts, tmp_path: Path) -> Evaluator:
    """A complete set of the toy list."""
    export_clips(prompts, [toy.sample("clips", toy.texts, range(5))], tmp_path / "out")
    return Evaluator(checkout=toy.checkout, python=toy.python, folder=tmp_path / "out")


def run(evaluator: Evaluator, *names: str) -> tuple[list[tuple[str, str]], dict[str, Exception]]:
    """What is told of each dimension, and the failures."""
    told = []
    dimensions = [TEXT_TO_VIDEO[name] for name in names]
    failures = evaluate_all(evaluator, dimensions, lambda each, found, why: told.append((each.name, why)))
    return told, failures


def test_a_result_is_kept_as_vbench_wrote_it_with_how_it_came_to_be(evaluator: Evaluator) -> None:
    told, failures = run(evaluator, "scene", "imaging_quality")
    assert (told, failures) == ([("scene", ""), ("imaging_quality", "")], {})
    kept = json.loads((evaluator.folder / "results" / "scene_eval_results.json").read_text())
    # one clip of five is 0.6, the others 0.5
    assert kept["scene"][0] == pytest.approx(0.52)
    made = read_run(evaluator.folder, "scene")
    assert made.versions["python"].startswith("3.")
    assert (made.command[0], made.command[-2:], made.filtered) == (
        "evaluate.py",
        ("--full_json_dir", str(evaluator.checkout / TEXT_TO_VIDEO.info)),
        False,
    )
    assert "evaluating scene" in evaluator.log(TEXT_TO_VIDEO["scene"]).read_text()
    assert {path.name for path in (evaluator.folder / "results").iterdir()} == {
        "scene_eval_results.json",
        "imaging_quality_eval_results.json",
    }


def test_what_is_measured_is_not_measured_again_until_the_clips_change(evaluator: Evaluator, toy, prompts) -> None:
    run(evaluator, "scene")
    assert run(evaluator, "scene") == ([("scene", "measured before")], {})
    for path in (evaluator.folder / "videos").iterdir():
        path.unlink()
    (evaluator.folder / "export.json").unlink()
    export_clips(prompts, [toy.sample("other", toy.texts, range(1, 6))], evaluator.folder)
    with pytest.raises(ResultError, match="scene was measured on other clips"):
        card_of_folder(evaluator.folder, ["semantic"])
    again = Evaluator(checkout=evaluator.checkout, python=evaluator.python, folder=evaluator.folder)
    assert run(again, "scene") == ([("scene", "")], {})


def test_a_failure_shows_the_end_of_the_log_and_stops_no_other(evaluator: Evaluator) -> None:
    run(evaluator, "scene")
    (evaluator.checkout / "broken").touch()
    told, failures = run(evaluator, "scene", "color", "human_action")
    assert [name for name, _ in told] == ["scene", "color", "human_action"]
    assert failures.keys() == {"color", "human_action"}
    assert "ended with status 3" in told[1][1]
    assert "CUDA out of memory" in told[1][1]
    (evaluator.checkout / "broken").unlink()
    assert not run(evaluator, "scene", "color", "human_action")[1]


def test_results_that_lack_clips_are_failures(evaluator: Evaluator) -> None:
    (evaluator.folder / "videos" / "alley-3.mp4").unlink()
    told, failures = run(evaluator, "scene")
    assert "scene needs 5 clips, 5 of each of 1 prompts, got 4; missing: 'alley-3.mp4'" in told[0][1]
    assert isinstance(failures["scene"], ResultError)
    assert not (evaluator.folder / "results").exists()


def test_flickering_is_measured_on_static_clips_and_last(evaluator: Evaluator) -> None:
    told, failures = run(evaluator, "temporal_flickering", "dynamic_degree")
    assert ([name for name, _ in told], failures) == (["dynamic_degree", "temporal_flickering"], {})
    card = card_of_results(
        evaluator.folder / "results" / "temporal_flickering_eval_results.json",
        read_prompts(evaluator.checkout, TEXT_TO_VIDEO, any_list=True),
        [],
    )
    assert card.dimensions["temporal_flickering"].remarks == ("3 of 5 clips are static",)
    assert read_run(evaluator.folder, "temporal_flickering").filtered


def test_or_on_all_where_that_is_asked_for(toy, evaluator: Evaluator) -> None:
    every = Evaluator(
        checkout=toy.checkout, python=toy.python, folder=evaluator.folder, static_filter=False, local=True
    )
    run(evaluator, "temporal_flickering")
    assert run(every, "temporal_flickering") == ([("temporal_flickering", "")], {})
    made = read_run(every.folder, "temporal_flickering")
    assert (made.filtered, made.command[-2:]) == (False, ("--load_ckpt_from_local", "True"))
    card = card_of_folder(every.folder, [])
    assert len(card.dimensions["temporal_flickering"].clips) == 5
    assert "temporal_flickering was measured on clips that may move: its authors filter them" in card.remarks


def test_what_cannot_end_well_does_not_begin(toy, evaluator: Evaluator, tmp_path: Path, prompts) -> None:
    export_clips(prompts, [toy.sample("few", ["alley"], range(3))], tmp_path / "few")
    few = Evaluator(checkout=toy.checkout, python=toy.python, folder=tmp_path / "few")
    with pytest.raises(EnvironmentFault, match=r"scene needs 5 clips, 2 are missing, such as 'alley-3\.mp4'"):
        run(few, "scene")
    lost = Evaluator(checkout=toy.checkout, python=tmp_path / "nowhere", folder=evaluator.folder)
    with pytest.raises(EnvironmentFault, match="VBENCH_PYTHON"):
        run(lost, "scene")
    (toy.checkout / "static_filter.py").unlink()
    with pytest.raises(EnvironmentFault, match=r"there is no .*static_filter"):
        run(evaluator, "temporal_flickering")
    assert not list((evaluator.folder).glob("runs"))


def test_pictures_are_given_by_the_shape_of_the_clips(toy, tmp_path: Path) -> None:
    pairs = read_prompts(toy.checkout, IMAGE_TO_VIDEO, any_list=True)
    images = ["a bird flies.jpg", "a field.jpg", "a field.jpg"]
    texts = [item.prompt for item in pairs.items]
    folder = toy.sample("clips", texts, range(5), pictures=toy.begin("clips", images))
    export_clips(pairs, [folder], tmp_path / "out")
    evaluator = Evaluator(checkout=toy.checkout, python=toy.python, folder=tmp_path / "out")
    dimensions = [IMAGE_TO_VIDEO[name] for name in ("i2v_subject", "i2v_background", "camera_motion")]
    assert evaluate_all(evaluator, dimensions, lambda *told: None) == {}
    assert read_run(evaluator.folder, "camera_motion").command[-2:] == ("--ratio", "3-2")
    card = card_of_folder(evaluator.folder, ["i2v"])
    # each raw value is 0.52; (0.3738 / 0.8538 + 0.2585 / 0.7385 + 0.1 * 0.52) / 2.1
    assert card.scores["i2v"].value == pytest.approx(100 * (0.3738 / 0.8538 + 0.2585 / 0.7385 + 0.052) / 2.1)
    for path in (toy.checkout / "vbench2_beta_i2v" / "data" / "crop" / "3-2").iterdir():
        path.unlink()
    (toy.checkout / "vbench2_beta_i2v" / "data" / "crop" / "3-2").rmdir()
    with pytest.raises(PictureError, match="pictures of the shape 3-2 were required"):
        evaluator.check(dimensions)


def test_a_dimension_may_take_only_so_long(toy, evaluator: Evaluator) -> None:
    (toy.checkout / "slow").touch()
    impatient = Evaluator(checkout=toy.checkout, python=toy.python, folder=evaluator.folder, timeout=0.5)
    start = time.monotonic()
    _, failures = run(impatient, "scene")
    assert "took more than 0 s" in str(failures["scene"]) or "took more than 1 s" in str(failures["scene"])
    assert time.monotonic() - start < 20


def test_an_interruption_ends_what_was_started(toy, tmp_path: Path) -> None:
    script = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    pid = tmp_path / "pid"

    def interrupt() -> None:
        while not (pid.is_file() and pid.read_text()):
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before, start = signal.signal(signal.SIGINT, signal.default_int_handler), time.monotonic()
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            call(toy.python, ["-c", script], tmp_path, tmp_path / "log")
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_versions_are_those_of_the_other_environment(toy, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = installed(toy.python)
    assert {"python", "torch", "numpy"} <= found.keys()
    assert "detectron2" not in found
