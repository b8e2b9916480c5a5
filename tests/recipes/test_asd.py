"""ASD's recipes, and One-Forcing's, which are the same cycle."""

from __future__ import annotations

from fewstep.models.layout import ChunkLayout
from fewstep.recipes import asd


def test_one_forcings_run_has_its_published_numbers() -> None:
    (stage,) = asd.wan_1_3b_one_forcing().stages
    method, judge = stage.method, stage.method.discriminator
    assert (method.levels, method.layout, method.real, method.loss) == ((1.0,), ChunkLayout(1), "videos", "logistic")
    assert (method.alpha, method.penalty_weight, method.guidance) == (0.03, 0, 6)
    assert (judge.layers, judge.num_logits, judge.ffn_dim, judge.backbone) == ((21, 29), 1, 2048, "shared")
    assert {o.lr for o in (method.generator_optim, method.fake_score_optim, method.discriminator_optim)} == {1e-5}
    assert stage.steps * 5 == 200
    assert method.generator_optim.ema_start * 5 == 50
