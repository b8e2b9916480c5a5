"""The score card: values by hand, intervals, remarks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fewstep.vbench.aggregate import MissingDimensionError
from fewstep.vbench.card import card_of_folder, card_of_results, dimensions_of
from fewstep.vbench.dimensions import TEXT_TO_VIDEO
from fewstep.vbench.export import export_clips
from fewstep.vbench.prompts import read_prompts
from fewstep.vbench.results import clip_name

PROMPTS = [f"prompt {number}" for number in range(40)]


@pytest.fixture
def prompts(toy):
    """Forty prompts, which carry all dimensions."""
    names = [dimension.name for dimension in TEXT_TO_VIDEO]
    entries = [{"prompt_en": prompt, "dimension": names} for prompt in PROMPTS]
    (toy.checkout / TEXT_TO_VIDEO.info).write_text(json.dumps(entries))
    return read_prompts(toy.checkout, TEXT_TO_VIDEO, any_list=True)


def write(folder: Path, name: str, values: np.ndarray, mean: float | None = None) -> None:
    """A result with one value for all clips of a prompt."""
    clips = [
        {"video_path": clip_name(prompt, index), "video_results": float(value)}
        for prompt, value in zip(PROMPTS, values, strict=True)
        for index in range(5)
    ]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_eval_results.json").write_text(
        json.dumps({name: [float(values.mean()) if mean is None else mean, clips]})
    )


def fill(folder: Path, spread: float = 0.0, **means: float) -> None:
    """All dimensions at the middle of their scale, or as told."""
    noise = np.random.default_rng(0).normal(0, spread, len(PROMPTS)) if spread else np.zeros(len(PROMPTS))
    for each in TEXT_TO_VIDEO:
        write(folder, each.name, means.get(each.name, (each.low + each.high) / 2) + noise)


def test_scores_are_worked_out_from_the_files(prompts, tmp_path: Path) -> None:
    fill(tmp_path / "r", dynamic_degree=1.0, scene=0.8222)
    card = card_of_results(tmp_path / "r", prompts)
    # (6 * 0.5 + 0.5 * 1) / 6.5; (8 * 0.5 + 1) / 9; (4 Q + S) / 5
    quality, semantic = 3.5 / 6.5, 5 / 9
    values = {name: estimate.value for name, estimate in card.scores.items()}
    expected = {"quality": quality, "semantic": semantic, "total": (4 * quality + semantic) / 5}
    assert values == pytest.approx({name: 100 * value for name, value in expected.items()})
    assert all(estimate.low == pytest.approx(estimate.high) for estimate in card.scores.values())
    assert card.remarks == (
        "the prompts are not the official ones: no published score of VBench may stand beside these",
    )


def test_intervals_are_as_wide_as_prompts_differ(prompts, tmp_path: Path) -> None:
    """The mean of 40 prompts of spread 0.05 has a standard error of 0.0079: 1.55 percent either way."""
    fill(tmp_path / "r", spread=0.05)
    found = card_of_results(tmp_path / "r", prompts).raw["aesthetic_quality"]
    assert found.low < found.value < found.high
    assert found.half_width == pytest.approx(1.55, rel=0.35)
    assert found.samples == 40


def test_dimensions_of_the_same_prompts_draw_the_same_ones(prompts, tmp_path: Path) -> None:
    """Two dimensions that go up and down against each other cancel in their sum, but only when they are drawn alike."""
    fill(tmp_path / "r")
    tilt = np.linspace(-0.2, 0.2, len(PROMPTS))
    write(tmp_path / "r", "aesthetic_quality", 0.5 + tilt)
    write(tmp_path / "r", "imaging_quality", 0.5 - tilt)
    card = card_of_results(tmp_path / "r", prompts, ["quality"])
    assert card.raw["imaging_quality"].half_width > 1
    assert card.scores["quality"].half_width < 1e-9


def test_the_value_is_vbenchs_own_mean(prompts, tmp_path: Path) -> None:
    fill(tmp_path / "r", spread=0.01)
    write(tmp_path / "r", "aesthetic_quality", np.full(len(PROMPTS), 0.5), mean=0.52)
    card = card_of_results(tmp_path / "r", prompts)
    assert card.raw["aesthetic_quality"].value == pytest.approx(52.0)
    assert "aesthetic_quality: VBench says 0.5200, its clips average 0.5000" in card.remarks


def test_a_missing_dimension_stops_the_card_but_not_the_parts_without_it(prompts, tmp_path: Path) -> None:
    fill(tmp_path / "r")
    (tmp_path / "r" / "scene_eval_results.json").unlink()
    with pytest.raises(MissingDimensionError, match="scene was not measured"):
        card_of_results(tmp_path / "r", prompts)
    assert card_of_results(tmp_path / "r", prompts, ["quality"]).scores.keys() == {"quality"}


def test_dimensions_of_another_benchmark_are_refused(prompts, tmp_path: Path) -> None:
    fill(tmp_path / "r")
    write(tmp_path / "r", "i2v_subject", np.ones(len(PROMPTS)))
    with pytest.raises(ValueError, match="a dimension of VBench is required, got 'i2v_subject'"):
        card_of_results(tmp_path / "r", prompts)


def test_long_clips_and_extended_prompts_are_said(toy, prompts, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("\n".join(f"{prompt} in detail" for prompt in PROMPTS))
    extended = read_prompts(toy.checkout, TEXT_TO_VIDEO, long, any_list=True)
    folder = toy.sample("clips", [extended.items[0].text], range(1), frames=81, fps=16.0)
    export_clips(extended, [folder], tmp_path / "out")
    fill(tmp_path / "out" / "results")
    remarks = card_of_folder(tmp_path / "out").remarks
    assert any("clips last 5.06 s: from 5 s on VBench's authors ask for VBench-Long" in remark for remark in remarks)
    assert any("made from extended prompts (unknown list)" in remark for remark in remarks)


def test_a_card_is_plain_json(prompts, tmp_path: Path) -> None:
    fill(tmp_path / "r")
    plain = json.loads(json.dumps(card_of_results(tmp_path / "r", prompts).to_json()))
    assert plain["scores"]["total"]["value"] == pytest.approx(50.0)
    assert plain["dimensions"]["color"]["clips"] == 200


def test_dimensions_are_chosen_by_name_in_the_suites_order() -> None:
    assert [each.name for each in dimensions_of(TEXT_TO_VIDEO, ["scene", "color"])] == ["color", "scene"]
    assert len(dimensions_of(TEXT_TO_VIDEO, [])) == 16
