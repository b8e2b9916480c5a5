"""Adversarial Self-Distillation: one student for four, two and one steps."""

from __future__ import annotations

from dataclasses import replace

from fewstep.methods.asd import ASDConfig
from fewstep.methods.base import OptimConfig
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.dit import DiTConfig
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.recipes import teacher
from fewstep.recipes.worlds import SHAPES, SHAPES_MATCHING, TINY, WAN, WAN_PROMPTS, WAN_RUNTIME
from fewstep.training.data import LatentData, PromptData
from fewstep.training.recipe import Recipe, Stage
from fewstep.training.shards import ShardData


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    method = ASDConfig(
        **TINY.student,
        alpha=0.1,
        penalty_weight=5.0,
        guidance=2.0,
        discriminator=DiscriminatorConfig(layers=(0, 1), num_logits=1, num_heads=2, ffn_dim=32),
        fake_score_updates=2,
        generator_optim=OptimConfig(lr=1e-3, ema=0.5, ema_start=1),
        fake_score_optim=OptimConfig(lr=1e-3),
        discriminator_optim=OptimConfig(lr=1e-3),
    )
    stage = Stage(name="asd", method=method, data=PromptData(world=TINY.world), steps=2, batch=2, init="teacher")
    return TINY.recipe("asd.tiny", *teacher.tiny().stages, stage, teacher="teacher")


def shapes() -> Recipe:
    """The embedded student. alpha, lambda and the heads' rate are found for this size, not copied from Wan's."""
    method = ASDConfig(
        **SHAPES.student,
        **SHAPES_MATCHING,
        alpha=0.1,
        penalty_weight=5.0,
        discriminator=heads_for(PRESETS[SHAPES.preset]),
        discriminator_optim=OptimConfig(lr=1e-3),
    )
    return SHAPES.compared("asd.shapes", "asd", method)


def shapes_one_forcing() -> Recipe:
    """One-Forcing at embedded size: the same cycle for one step, with real clips in place of longer rollouts."""
    method = ASDConfig(
        **{**SHAPES.student, "levels": SHAPES.levels[:1]},
        **SHAPES_MATCHING,
        real="videos",
        loss="logistic",
        alpha=0.03,
        penalty_weight=5.0,
        discriminator=replace(heads_for(PRESETS[SHAPES.preset]), num_logits=1),
        discriminator_optim=OptimConfig(lr=1e-3),
    )
    recipe = SHAPES.compared("asd.shapes_one_forcing", "one_forcing", method)
    clips = LatentData(world=SHAPES.world, count=teacher.SHAPES_CLIPS)
    return replace(recipe, stages=(replace(recipe.stages[0], data=clips),))


def heads_for(backbone: DiTConfig) -> DiscriminatorConfig:
    """Heads that tap a backbone near its middle, at two thirds, and at its end, as 12, 21 and 29 do of 30 blocks."""
    depth = backbone.num_layers
    layers = tuple(max(0, round(depth * share) - 1) for share in (13 / 30, 22 / 30, 1.0))
    return DiscriminatorConfig(
        layers=tuple(dict.fromkeys(layers)), num_logits=4, num_heads=backbone.num_heads, ffn_dim=backbone.ffn_dim
    )


def wan_1_3b() -> Recipe:
    """The paper's run: 3000 updates in 500 cycles of 1 : 1 : 4, eight clips each (ASD App. A)."""
    method = ASDConfig(**WAN.student, batch_guidance=False)
    stage = Stage(
        name="asd", method=method, data=WAN_PROMPTS, steps=500, batch=1, accumulate=8, init="runs/ode.wan_1_3b/model"
    )
    return WAN.distillation("asd.wan_1_3b", stage, runtime=WAN_RUNTIME)


def wan_1_3b_one_forcing() -> Recipe:
    """One-Forcing's frame-wise run by its published configuration, as far as its joint loss can be a cycle of turns.

    Its 200 iterations count fake-score updates, of which every fifth is followed by the student's, and its average
    begins at the 50th. It names neither its start nor the number of its GPUs, of one clip each: here the start of
    three frames a chunk, and eight clips.
    """
    fast = OptimConfig(lr=1e-5)
    method = ASDConfig(
        **{**WAN.student, "levels": WAN.levels[:1], "layout": ChunkLayout(chunk=1)},
        real="videos",
        loss="logistic",
        alpha=0.03,
        penalty_weight=0.0,
        discriminator=DiscriminatorConfig(layers=(21, 29), num_logits=1, num_heads=12, ffn_dim=2048),
        guidance=6.0,
        generator_optim=replace(fast, ema=0.99, ema_start=10),
        fake_score_optim=fast,
        discriminator_optim=fast,
        batch_guidance=False,
    )
    clips = ShardData(paths=("shards",), negative_prompt=WAN.clip.negative_prompt)
    stage = Stage(
        name="one_forcing", method=method, data=clips, steps=40, batch=1, accumulate=8, init="runs/ode.wan_1_3b/model"
    )
    return WAN.distillation("asd.wan_1_3b_one_forcing", stage, runtime=WAN_RUNTIME)
