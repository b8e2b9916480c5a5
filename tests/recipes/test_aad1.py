"""AAD-1 from its teacher to a picture that moves; its ablations change what they say and nothing else."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.pipeline import Pipeline
from fewstep.recipes import aad1, teacher
from fewstep.recipes.worlds import TINY
from fewstep.training.data import LatentData
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
    judge = game.discriminator
    assert (judge.layers, judge.num_logits, judge.backbone) == ((19, 29, 39), 1, "own")
    assert (judge.visibility, judge.granularity, game.loss, game.real) == (
        "bidirectional",
        "clip",
        "logistic",
        "videos",
    )
    assert (game.generator_optim.betas, game.generator_optim.clip, game.generator_optim.ema_start) == (
        (0, 0.999),
        10,
        0,
    )
    assert game.discriminator_optim.ema is None
    assert (game.shift, game.t_min, game.t_max, game.discriminator_updates) == (5, 0.02, 0.98, 1)
    assert (ode.method.optim.lr, ode.method.optim.betas, ode.batch * ode.accumulate) == (2e-6, (0.9, 0.999), 128)
    assert (ode.data.count, ode.data.steps, ode.data.shift, ode.data.guidance) == (1500, 48, 5, 6)
    student, fake = warmup.method.generator_optim, warmup.method.fake_score_optim
    assert (student.lr, fake.lr, student.ema, student.ema_start) == (2e-6, 4e-7, 0.99, 40)
    assert (warmup.method.guidance, warmup.batch * warmup.accumulate) == (4, 64)
    for stage in (ode, warmup, aad):
        assert stage.method.layout.sizes(21) == (1, 4, 4, 4, 4, 4)
        assert stage.method.context == Context(sink=1, window=9, rope="relative")
        assert stage.method.first_frame == "given"


@pytest.mark.parametrize("recipe", [aad1.shapes_asd, aad1.shapes_asd_ahead], ids=lambda recipe: recipe.__name__)
def test_the_student_of_both_papers_is_trained_from_text_and_pictures_at_any_step_count(recipe, tmp_path: Path) -> None:
    (stage,) = recipe().stages
    heads = replace(stage.method.discriminator, layers=(0, 1), num_heads=2, ffn_dim=32)
    size = {"levels": (1.0, 0.9, 0.8, 0.6), "latent_shape": TINY.latent_shape, "layout": ChunkLayout(chunk=1)}
    method = replace(stage.method, **size, discriminator=heads, discriminator_head_start=1)
    data = LatentData(world=TINY.world, count=4)
    small = replace(stage, method=method, data=data, batch=2, steps=6, init="teacher")
    made = TINY.recipe("both", *teacher.tiny().stages, small, teacher="teacher")
    model = run_recipe(made, tmp_path, display=LineDisplay(1000, io.StringIO()))
    log = read_log(tmp_path / "aad/log.jsonl")
    judged = {name[-1] for line in log for name in line if "/gap_n" in name or "/adversarial_n" in name}
    assert judged == set("1234")
    assert log[-1]["generator_updates"] == 5
    pipeline = Pipeline.load(str(model), device="cpu")
    assert pipeline.passport.begins_with == "either"
    picture = np.full((64, 64, 3), 200, dtype=np.uint8)
    for steps in (4, 1):
        for image in (None, picture):
            assert np.asarray(pipeline.generate("a red circle", image=image, steps=steps, frames=9)).shape[1] == 9


def test_the_student_of_both_papers_keeps_asds_steps_and_logits() -> None:
    for recipe in (aad1.shapes_asd(), aad1.shapes_asd_ahead()):
        (stage,) = recipe.stages
        assert stage.init == "shapes-asd"
        assert len(stage.method.levels) == stage.method.discriminator.num_logits == 4
        assert stage.method.first_frame == "either"
        assert torch.tensor(stage.method.levels)[0] == 1
