"""What the recipes of one size share: the clips, the student's chunks and levels, where networks come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fewstep.diffusion.steps import shifted_levels
from fewstep.methods.base import MethodConfig, OptimConfig
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import NEGATIVE_PROMPT
from fewstep.shapes.grammar import World
from fewstep.training.data import PromptData, PromptFileData
from fewstep.training.recipe import ClipConfig, Recipe, Runtime, Stage

SHAPES_SHIFT = 3.0
"""Warp of noise levels for 8 x 8 latents; Wan's 5 is for 60 x 104, which have more redundancy to drown."""
WAN_SHIFT = 5.0
SHAPES_GUIDANCE = 3.0
"""Of the embedded teacher, usual convention; Wan takes 5."""
SHAPES_SCORE_GUIDANCE = 2.5
"""Of the teacher's score in distillation, of 1.5 and 2.5 the better (the model card has the trials); Wan takes 4."""
SHAPES_CYCLES = 80
"""Cycles, so generator updates, of every embedded student: the comparison is at equal generator updates."""
SHAPES_MATCHING: dict[str, Any] = {
    "shift": SHAPES_SHIFT,
    "guidance": SHAPES_SCORE_GUIDANCE,
    "generator_optim": OptimConfig(lr=3e-4, clip=10.0, warmup=5, ema=0.95, ema_start=20),
    "fake_score_optim": OptimConfig(lr=6e-4, clip=10.0, warmup=5),
}
"""What the configs of the embedded students have in common beside `SHAPES.student`."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of everything."""

    preset: str
    components: str | None
    clip: ClipConfig
    latent_shape: tuple[int, int, int, int]
    levels: tuple[float, ...]
    chunk: int
    world: World = field(default_factory=World)
    teacher: str | None = None
    """What distillation matches."""
    fake_score: str | None = None
    storage: str = "float32"
    """Of the weights in result folders."""

    @property
    def student(self) -> dict[str, Any]:
        """What the configs of all causal methods have in common."""
        return {**self.trajectories, "layout": ChunkLayout(chunk=self.chunk)}

    @property
    def trajectories(self) -> dict[str, Any]:
        """What the teacher's trajectories must agree on with them."""
        return {"levels": self.levels, "latent_shape": self.latent_shape}

    def recipe(self, name: str, *stages: Stage, **changed: Any) -> Recipe:
        """A recipe at this size."""
        fixed = {"preset": self.preset, "components": self.components, "clip": self.clip, "storage": self.storage}
        return Recipe(name=name, stages=stages, **{**fixed, **changed})

    def distillation(self, name: str, stage: Stage, runtime: Runtime) -> Recipe:
        """A recipe of one stage that needs a teacher and a fake score."""
        return self.recipe(name, stage, teacher=self.teacher, fake_score=self.fake_score, runtime=runtime)

    def compared(self, name: str, stage: str, method: MethodConfig) -> Recipe:
        """An embedded student, trained for as many cycles as every other one, from the same start and prompts."""
        prompts = PromptData(world=self.world)
        trained = Stage(name=stage, method=method, data=prompts, steps=SHAPES_CYCLES, batch=16, init="shapes-init")
        return self.distillation(name, trained, runtime=Runtime(checkpoint_every=20, sample_every=40))


TINY = Size(
    preset="tiny",
    components=None,
    clip=ClipConfig(latent_frames=3, shift=3.0, guidance=2.0),
    latent_shape=(3, 16, 8, 8),
    levels=(1.0, 0.75),
    chunk=1,
    world=World(frames=9),
)
SHAPES = Size(
    preset="shapes",
    components="shapes-base",
    clip=ClipConfig(shift=SHAPES_SHIFT, guidance=SHAPES_GUIDANCE),
    latent_shape=(9, 16, 8, 8),
    levels=shifted_levels(shift=SHAPES_SHIFT),
    chunk=3,
    teacher="shapes-teacher",
    storage="bfloat16",
)
WAN = Size(
    preset="wan_1_3b",
    components="Wan2.1-T2V-1.3B-Diffusers",
    clip=ClipConfig(height=480, width=832, latent_frames=21, guidance=5.0, negative_prompt=NEGATIVE_PROMPT),
    latent_shape=(21, 16, 60, 104),
    levels=shifted_levels(shift=WAN_SHIFT),
    chunk=3,
    teacher="Wan2.1-T2V-14B-Diffusers",
    fake_score="Wan2.1-T2V-1.3B-Diffusers",
)
WAN_PROMPTS = PromptFileData(path="prompts.txt", negative_prompt=NEGATIVE_PROMPT)

WAN_RUNTIME = Runtime(compile=True, gradient_checkpointing=True, checkpoint_every=10, sample_every=50)
"""One large GPU."""
