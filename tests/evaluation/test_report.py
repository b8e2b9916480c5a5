from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewstep.evaluation import report
from fewstep.evaluation.results import Cell, Protocol, ResultsError, Timing
from fewstep.evaluation.scores import MEASURES, summarise

CLIPS = 40


def cell(row: str, plan: str, level: float, seed: int = 0, **changed) -> Cell:
    """Clips whose measures lie about `level`; hard prompts are hard for everybody."""
    hard = np.random.default_rng(0).uniform(-0.2, 0.2, size=(CLIPS, len(MEASURES)))
    clips = [
        {
            "index": index,
            "caption": "x",
            **dict(zip(MEASURES, map(float, level + 0.0 + rest), strict=True)),
            "missed": [],
        }
        for index, rest in enumerate(hard)
    ]
    timing = Timing(seconds=0.05, denoise=0.03, decode=0.02, clips=5, threads=2, device="cpu", dtype="float32")
    kind = {"truth": "control", "vae": "control", "teacher": "teacher"}.get(row, "student")
    fields = {
        "row": row,
        "kind": kind,
        "model": row,
        "plan": plan,
        "training_seed": seed,
        "fingerprint": "f",
        "commit": "c0ffee",
        "trained_by": "",
        "protocol": Protocol(split="test", clips=CLIPS, seed=0, prompts="abc", batch=32, scorer=1),
        "evaluations": None if kind == "control" else 6,
        "commits": None if kind == "control" else 2,
        "timing": None if kind == "control" else timing,
        "summary": summarise(clips),
        "clips": clips,
    }
    return Cell(**{**fields, **changed})


@pytest.fixture(scope="module")
def found() -> list[report.Field]:
    cells = [cell("asd", plan, 0.6) for plan in ("1", "4", "1*", "2*", "2")]
    cells += [cell("dmd2", plan, 0.5, seed) for plan in ("1", "2") for seed in (0, 1, 2)]
    return report.fields([*cells, cell("mine", "1", 0.4), cell("teacher", "50", 0.7), cell("truth", "-", 0.75)])


def test_rows_and_columns_come_in_the_papers_order_and_strangers_last(found):
    grid = report.headline(found)
    assert grid.header == ("", "own sampler", "4 steps", "2* steps", "2 steps", "1* steps", "1 step")
    rows = [row[0] for row in grid.rows]
    assert rows == [
        "ground truth",
        "teacher (50 steps)",
        "DMD retrained for 2 steps (3 seeds)",
        "ASD, one student",
        "mine",
    ]


def test_plans_that_a_model_cannot_serve_are_dashes(found):
    rows = {row[0]: row[1:] for row in report.headline(found).rows}
    dashes = [text == "–" for text in rows["DMD retrained for 2 steps (3 seeds)"]]
    assert dashes == [True, True, True, False, True, False]
    assert "–" not in rows["ASD, one student"][1:]


def test_a_field_tells_scores_with_intervals_evaluations_and_time(found):
    lines = report.headline(found).rows[3][-1].split("\n")
    assert [line.split()[0] for line in lines[:3]] == ["S", "Q", "D"]
    assert "[" in lines[0]
    assert lines[3:] == ["6 evaluations", "50 ms"]
    assert len(report.headline(found).rows[0][1].split("\n")) == 3


def test_the_printed_mean_is_that_of_the_clips(found):
    field = next(field for field in found if field.row == "asd" and field.plan == "1")
    expected = 100 * np.mean([clip["color"] for clip in field.cells[0].clips])
    assert field.quantity("color").value == pytest.approx(expected)


def test_markdown_is_one_line_for_each_row(found):
    lines = report.headline(found).markdown().split("\n")
    assert len(lines) == 2 + 5
    assert {line.count("|") for line in lines} == {8}


def test_ratios_are_paired_over_prompts(found):
    grid = report.relative(found, "teacher")
    assert [row[0] for row in grid.rows][-1] == "mine"
    student = next(field for field in found if field.row == "asd")
    teacher = next(field for field in found if field.row == "teacher")
    (ours,), (theirs,) = (each.quantity("semantic").drawn for each in (student, teacher))
    assert np.std(ours[1:] / theirs[1:]) < np.std(ours[1:] / theirs[0])
    expected = 100 * ours[0] / theirs[0]
    assert next(row for row in grid.rows if row[0] == "ASD, one student")[2].startswith(f"{expected:.1f} [")
    with pytest.raises(ResultsError, match="choose from truth"):
        report.relative(found, "nobody")


def test_a_row_of_three_seeds_has_the_interval_of_seeds_and_prompts():
    levels = (0.5, 0.55, 0.66)
    (alike,) = report.fields([cell("asd", "1", 0.57, seed) for seed in range(3)])
    (apart,) = report.fields([cell("asd", "1", level, seed) for seed, level in enumerate(levels)])
    assert apart.estimate("color").value == pytest.approx(alike.estimate("color").value)
    reach = 4.30265 * 100 * np.std(levels, ddof=1) / np.sqrt(3)
    assert apart.estimate("color").half_width == pytest.approx(np.hypot(reach, alike.estimate("color").half_width))


def test_ratios_are_taken_seed_by_seed_and_not_at_all_where_no_seed_is_shared():
    ours = [cell("asd", "1", level, seed) for seed, level in enumerate((0.5, 0.55, 0.66))]
    alike = [cell("dmd4", "1", level, seed) for seed, level in enumerate((0.5, 0.55, 0.66))]
    other = [replace(each, training_seed=each.training_seed + 3) for each in alike]
    assert report.relative(report.fields([*ours, *alike]), "dmd4").rows == (
        ("ASD, one student (3 seeds)", "100.0 [100.0, 100.0]"),
    )
    assert report.relative(report.fields([*ours, *other]), "dmd4").rows == ()


def test_students_are_compared_at_the_same_plan(found):
    rows = {row[0]: row for row in report.relative(found, "asd").rows}
    assert [text == "–" for text in rows["DMD retrained for 2 steps (3 seeds)"][1:]] == [
        True,
        True,
        True,
        False,
        True,
        False,
    ]


def test_dimensions_list_every_measure_once(found):
    first, second = report.dimensions(found)
    names = [name.replace("_", " ") for name in ("semantic", "quality", "total", *MEASURES)]
    assert sorted(first.header[2:] + second.header[2:]) == sorted(names)
    assert len(first.rows) == len(found)


def test_a_measure_nobody_asked_for_is_a_dash():
    blank = cell("asd", "1", 0.5)
    clips = [{**clip, "spatial_relationship": None} for clip in blank.clips]
    grid = report.headline(report.fields([replace(blank, clips=clips, summary=summarise(clips))]))
    assert "S –" in grid.rows[0][1]
    assert "Q –" not in grid.rows[0][1]


def test_notes_name_prompts_machine_and_commit(found):
    text = "\n".join(report.notes(found))
    assert "40 test prompts (abc)" in text
    assert "cpu, 2 threads, float32" in text
    assert "c0ffee" in text
