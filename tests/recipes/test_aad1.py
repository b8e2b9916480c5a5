"""AAD-1 from its teacher to a picture that moves; its ablations change what they say and nothing else."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.pipeline import Pipeline
from fewstep.recipes import aad1
from fewstep.training.log import LineDisplay, read_log
from fewstep.training.recipe import Recipe, changes, describe
from fewstep.training.run import run_recipe


def test_all_three_stages_give_a_student_that_animates_a_picture_in_one_step_per_chunk(tmp_path: Path) -> None:
    recipe = aad1.tiny()
    recipe = replace(recipe, runtime=replace(recipe.runtime, precision="float32"))
    model = run_recipe(recipe, tmp_path, display=LineDisplay(1000, io.StringIO()))
    logs = {stage.name: read_log(tmp_path / stage.name / "log.jsonl")[-1] for stage in recipe.stages}
    assert logs["ode"]["generator/ode"] > 0
    assert logs["warmup"]["monitor/motion_1step"] > 0
    assert logs["aad"]["discriminator/r1"] > 0
    assert logs["aad"]["discriminator_updates"] == logs["aad"]["generator_updates"] == 2

    passport = json.loads((model / "fewstep.json").read_text())
    assert passport["layout"] == {"chunk": 1, "first": 1}
    assert passport["context"] == {"sink": 1, "window": 2, "rope": "relative"}
    assert passport["levels"] == [1.0]
    picture = np.full((64, 64, 3), 200, dtype=np.uint8)
    made = Pipeline.load(str(model), device="cpu").generate("a red circle", image=picture, frames=13)
    assert np.asarray(made).shape == (1, 13, 64, 64, 3)
    assert made.network_evaluations == 3, "one for each of the chunks behind the picture"


def differences(recipe: Recipe) -> set[str]:
    """What a row of an ablation changes of stage III of aad1.shapes."""
    ours, theirs = (describe(r.stages[-1]) for r in (aad1.shapes(), recipe))
    return {line.split(": ")[0] for line in changes(ours, theirs)}


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        (aad1.table2_no_warmup, set()),
        (aad1.table3_bidirectional_clip, set()),
        (aad1.table3_bidirectional_frame, {"method.discriminator.granularity"}),
        (aad1.table3_causal_clip, {"method.discriminator.visibility"}),
        (aad1.table3_causal_frame, {"method.discriminator.visibility", "method.discriminator.granularity"}),
        (aad1.figure9_lambda_0, {"method.penalty_weight"}),
        (aad1.figure9_lambda_50, {"method.penalty_weight"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_row_of_a_table_changes_one_choice_of_the_third_stage_and_where_it_starts(row, changed) -> None:
    assert differences(row()) == {*changed, "init"}
    warm = aad1.SHAPES_COLD if row is aad1.table2_no_warmup else aad1.SHAPES_WARM
    assert row().stages[-1].init == warm


def test_the_papers_run_has_the_papers_numbers() -> None:
    ode, warmup, aad = aad1.wan_14b().stages
    assert (ode.steps, warmup.steps, aad.steps, aad.batch * aad.accumulate) == (2000, 100, 200, 256)
    assert warmup.method.ratio == 5
    game = aad.method
    heads = game.discriminator_optim.lr
    assert (game.generator_optim.lr, game.generator_optim.ema) == (4e-7, 0.98)
    assert (heads, heads * game.backbone_rate) == (2e-6, pytest.approx(1e-6))
    assert (game.penalty_weight, game.penalty_sigma) == (20, 0.05)
    assert game.discriminator.layers == (19, 29, 39)
    for stage in (ode, warmup, aad):
        assert stage.method.layout.sizes(21) == (1, 4, 4, 4, 4, 4)
        assert stage.method.context.window == 9
        assert stage.method.first_frame == "given"


def test_the_student_of_both_papers_keeps_asds_steps_and_logits() -> None:
    for recipe in (aad1.shapes_asd(), aad1.shapes_asd_ahead()):
        (stage,) = recipe.stages
        assert stage.init == "shapes-asd"
        assert len(stage.method.levels) == stage.method.discriminator.num_logits == 4
        assert stage.method.first_frame == "either"
        assert torch.tensor(stage.method.levels)[0] == 1
