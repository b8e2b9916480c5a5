"""AAD-1: an image-to-video student of one step per chunk, in three stages; its tables' rows; and ASD's, refined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from fewstep.diffusion.steps import shifted_levels
from fewstep.methods.aad import AADConfig
from fewstep.methods.base import OptimConfig
from fewstep.methods.dmd import DMDConfig
from fewstep.methods.ode_init import ODEInitConfig
from fewstep.models.cache import Context
from fewstep.models.discriminator import DiscriminatorConfig, Granularity, Visibility
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.recipes import asd, teacher
from fewstep.recipes.worlds import (
    SHAPES,
    SHAPES_CYCLES,
    SHAPES_GUIDANCE,
    SHAPES_MATCHING,
    SHAPES_SHIFT,
    TINY,
    WAN,
    WAN_RUNTIME,
    WAN_SHIFT,
    Size,
)
from fewstep.training.data import LatentData, TrajectoryData
from fewstep.training.recipe import Recipe, Runtime, Stage
from fewstep.training.shards import ShardData

ONE_STEP = (1.0,)
LAYOUT, CONTEXT = ChunkLayout(chunk=4, first=1), Context(sink=1, window=9, rope="relative")
"""The image, then chunks of 4; a chunk sees the image, the chunk before it, and itself (§4). Embedded clips are just
as long, so their last chunk has the view, positions included, that all later ones of a longer clip have."""

SHAPES_CLIPS = LatentData(world=SHAPES.world, count=teacher.SHAPES_CLIPS)
"""The real clips, with captions: those that the embedded teacher learned from."""
SHAPES_JUDGE = replace(asd.heads_for(PRESETS[SHAPES.preset]), num_logits=1, backbone="own")
SHAPES_HEAD_START, SHAPES_REFINING = 40, 40
"""Cycles in which the discriminator learns alone, for its heads start untrained and until they tell real clips from
made ones the student's updates are noise; then cycles of both."""
SHAPES_GAME: dict[str, Any] = {
    "shift": 1.0,
    "penalty_sigma": 0.2,
    "discriminator": SHAPES_JUDGE,
    "discriminator_head_start": SHAPES_HEAD_START,
    "backbone_rate": 0.2,
    "generator_optim": OptimConfig(lr=2e-5, betas=(0.9, 0.99), warmup=5, ema=0.95),
    "discriminator_optim": OptimConfig(lr=3e-3, betas=(0.9, 0.99), warmup=5),
}
"""Found for this size, on seed 0 (docs/methods/aad.md). At a tenth of its rates, without momentum and at Wan's shift
the discriminator stayed at chance; at the paper's sigma of 0.05 the penalty was too small (4e-4) for any lambda to
matter; a student that learns faster or longer than this moves and draws worse."""
SHAPES_WARM, SHAPES_COLD = "runs/aad1.shapes/warmup/model", "runs/aad1.shapes/ode/model"
"""Where `aad1.shapes` leaves the students of its first two stages; the ablations start there."""


def tiny() -> Recipe:
    """Seconds on one core, for tests."""
    student = _student(TINY, layout=ChunkLayout(chunk=1, first=1), context=Context(1, 2, "relative"))
    fast, data = OptimConfig(lr=1e-3), LatentData(world=TINY.world, count=4, paraphrases=2)
    path = TrajectoryData(
        levels=ONE_STEP, latent_shape=TINY.latent_shape, world=TINY.world, count=4, steps=4, shift=3.0, guidance=2.0
    )
    judge = DiscriminatorConfig(layers=(0, 1), num_logits=1, num_heads=2, ffn_dim=32, backbone="own")
    kept = replace(fast, ema=0.5)
    warmup = DMDConfig(**student, ratio=2, guidance=2.0, fake_score_optim=fast, generator_optim=kept)
    game = AADConfig(**student, penalty_weight=1.0, discriminator=judge, discriminator_optim=fast, generator_optim=kept)
    stages = (
        Stage(name="ode", method=ODEInitConfig(**student, optim=fast), data=path, steps=2, batch=2, init="teacher"),
        Stage(name="warmup", method=warmup, data=data, steps=2, batch=2, init="ode", keep_motion=0.5, look_every=2),
        Stage(name="aad", method=game, data=data, steps=2, batch=2, init="warmup"),
    )
    return TINY.recipe("aad1.tiny", *teacher.tiny().stages, *stages, teacher="teacher")


def shapes() -> Recipe:
    """The embedded image-to-video student of one step."""
    return _shapes("aad1.shapes", ONE_STEP)


def table4_2step() -> Recipe:
    """The 2-NFE variant: all three stages with two levels, judged in the interval of the step (App. B)."""
    return _shapes("aad1.table4_2step", shifted_levels((1000, 500), SHAPES_SHIFT))


def table2_no_warmup() -> Recipe:
    """Stage III straight from stage I. The other cells of Table 2 are the three stages of aad1.shapes."""
    return _refined("aad1.table2_no_warmup", start=SHAPES_COLD)


def table3_causal_frame() -> Recipe:
    """A discriminator masked as the student, a logit per frame: static clips, says the paper."""
    return _refined("aad1.table3_causal_frame", visibility="causal", granularity="frame")


def table3_causal_clip() -> Recipe:
    """A discriminator masked as the student, one logit: motion, and the worst drift."""
    return _refined("aad1.table3_causal_clip", visibility="causal")


def table3_bidirectional_frame() -> Recipe:
    """A discriminator that sees the whole clip, a logit per frame: about as good as one. The fourth is aad1.shapes'."""
    return _refined("aad1.table3_bidirectional_frame", granularity="frame")


def figure9_lambda_0() -> Recipe:
    """No R1 and R2: collapse, says the paper."""
    return _refined("aad1.figure9_lambda_0", penalty_weight=0.0)


def figure9_lambda_50() -> Recipe:
    """Too much of them: grids, says the paper."""
    return _refined("aad1.figure9_lambda_50", penalty_weight=50.0)


def shapes_asd() -> Recipe:
    """Both papers in one student: the embedded ASD student, of four steps and fewer, refined on real clips.

    ASD's logit for every step count, AAD-1's discriminator, and clips that begin from an image or from text.
    """
    return _both("aad1.shapes_asd", real="videos")


def shapes_asd_ahead() -> Recipe:
    """The same with ASD's targets: n steps are to pass for n + 1, and only four steps for real clips."""
    return _both("aad1.shapes_asd_ahead", real="ahead")


def wan_1_3b() -> Recipe:
    """The paper's run on the small student, with the paper's teacher; Self Forcing's taps."""
    heads = DiscriminatorConfig(layers=(13, 21, 29), num_logits=1, num_heads=12, ffn_dim=8192, backbone="own")
    return _wan("aad1.wan_1_3b", WAN, heads)


def wan_14b() -> Recipe:
    """The paper's run: 2000, 100 and 200 updates, the last of 256 clips (§4)."""
    base = "Wan2.1-T2V-14B-Diffusers"
    size = replace(WAN, preset="wan_14b", components=base, teacher=base, fake_score=base)
    return _wan("aad1.wan_14b", size, AADConfig().discriminator)


def wan_14b_refined() -> Recipe:
    """Stage III alone, from wan_14b's stage II: what Table 3 and Figure 9 change."""
    whole = wan_14b()
    stage = replace(whole.stages[-1], init="runs/aad1.wan_14b/warmup/model")
    return replace(whole, name="aad1.wan_14b_refined", stages=(stage,))


def _student(size: Size, **geometry: Any) -> dict[str, Any]:
    """What the configs of the three stages have in common."""
    fixed = {"levels": ONE_STEP, "latent_shape": size.latent_shape, "first_frame": "given"}
    return {**fixed, "layout": LAYOUT, "context": CONTEXT, **geometry}


def _shapes(name: str, levels: tuple[float, ...]) -> Recipe:
    student = _student(SHAPES, levels=levels)
    optim = OptimConfig(lr=3e-4, betas=(0.9, 0.99), clip=1.0, warmup=50, decay=True, ema=0.99)
    path = TrajectoryData(
        levels=levels,
        latent_shape=SHAPES.latent_shape,
        world=SHAPES.world,
        count=1024,
        steps=16,
        shift=SHAPES_SHIFT,
        guidance=SHAPES_GUIDANCE,
    )
    start = ODEInitConfig(**student, optim=optim)
    warmup = DMDConfig(**student, **SHAPES_MATCHING)
    stages = (
        Stage(name="ode", method=start, data=path, steps=600, batch=16, init=SHAPES.teacher),
        Stage(
            name="warmup",
            method=warmup,
            data=SHAPES_CLIPS,
            steps=SHAPES_CYCLES,
            batch=16,
            init="ode",
            keep_motion=0.8,
        ),
        _game(AADConfig(**student, **SHAPES_GAME), init="warmup"),
    )
    return SHAPES.recipe(name, *stages, teacher=SHAPES.teacher, runtime=Runtime(checkpoint_every=20, sample_every=40))


def _refined(
    name: str,
    *,
    start: str = SHAPES_WARM,
    penalty_weight: float = 20.0,
    visibility: Visibility = "bidirectional",
    granularity: Granularity = "clip",
) -> Recipe:
    """Stage III of the embedded student alone, with one design choice changed."""
    judge = replace(SHAPES_JUDGE, visibility=visibility, granularity=granularity)
    game = {**SHAPES_GAME, "discriminator": judge, "penalty_weight": penalty_weight}
    stage = _game(AADConfig(**_student(SHAPES), **game), init=start)
    return SHAPES.distillation(name, stage, runtime=Runtime(checkpoint_every=20, sample_every=40))


def _both(name: str, real: Literal["videos", "ahead"]) -> Recipe:
    geometry = {"levels": SHAPES.levels, "layout": ChunkLayout(chunk=SHAPES.chunk), "context": Context()}
    student = _student(SHAPES, **geometry, first_frame="either")
    judge = replace(SHAPES_JUDGE, num_logits=len(SHAPES.levels))
    game = AADConfig(**student, **{**SHAPES_GAME, "discriminator": judge}, real=real, t_law="whole")
    stage = _game(game, init="shapes-asd")
    return SHAPES.distillation(name, stage, runtime=Runtime(checkpoint_every=20, sample_every=40))


def _game(method: AADConfig, init: str) -> Stage:
    """Stage III at embedded size."""
    steps = SHAPES_HEAD_START + SHAPES_REFINING
    return Stage(name="aad", method=method, data=SHAPES_CLIPS, steps=steps, batch=16, init=init)


def _wan(name: str, size: Size, judge: DiscriminatorConfig) -> Recipe:
    student, negative = _student(size), size.clip.negative_prompt
    path = TrajectoryData(
        levels=ONE_STEP,
        latent_shape=size.latent_shape,
        count=1500,
        steps=48,
        shift=WAN_SHIFT,
        guidance=6.0,
        prompts="prompts.txt",
        negative_prompt=negative,
    )
    clips = ShardData(paths=("shards",), negative_prompt=negative)
    warmup, game = (
        DMDConfig(**student, batch_guidance=False),
        AADConfig(**student, discriminator=judge, batch_judgement=False),
    )
    stages = (
        Stage(
            name="ode",
            method=ODEInitConfig(**student),
            data=path,
            steps=2000,
            batch=2,
            accumulate=64,
            init=size.components,
        ),
        Stage(
            name="warmup",
            method=warmup,
            data=clips,
            steps=100,
            batch=1,
            accumulate=64,
            init="ode",
            keep_motion=0.8,
        ),
        Stage(name="aad", method=game, data=clips, steps=200, batch=1, accumulate=256, init="warmup"),
    )
    return size.recipe(name, *stages, teacher=size.teacher, fake_score=size.fake_score, runtime=WAN_RUNTIME)
