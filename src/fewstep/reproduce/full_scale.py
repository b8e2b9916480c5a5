"""What runs take at Wan's size: each as a command, with GPU-hours and disk, rehearsed and not run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewstep.diffusion.steps import read_plan_name
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.planning.generate import Making, plan_clip
from fewstep.planning.plan import SHARE, Plan
from fewstep.planning.sizes import model_of
from fewstep.planning.train import plan_recipe
from fewstep.reproduce.paper import Arm, Paper, Training
from fewstep.training.recipe import resolve

CLIP_DISK = 6e6
"""Bytes of 81 frames at 832 x 480 in H.264 that a metric can read: an estimate."""
JUDGING, EXTRACTING = 25.0, 0.2
"""GPU-seconds that VBench's dimensions take of such a clip, and I3D: estimates, for their models are not run here."""
FRAMES, LONG = 81, 321
"""Pictures of a clip of 5 s, and of one of 20 s: 1 + 4 (3 n - 1) with the latter's 27 chunks of three latent frames."""
SIZE, LARGE = (480, 832), (720, 1280)
"""Height and width in pixels, and those of larger clips."""
CHECKOUT, EXTRACTOR = "VBench", "i3d:i3d_torchscript.pt"
"""The user's checkout of VBench, and what FVD is measured on."""
ENHANCED = 4


@dataclass(frozen=True)
class Suite:
    """What of VBench is run of each model and plan."""

    name: str
    """Of the folder of its prompts, and behind the names of its clips."""
    files: dict[str, tuple[int, range]]
    """Prompts, and the seeds of each, by file of prompts."""
    options: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    """Those that the paper prints, where it prints not all."""
    pictures: bool = False
    """Whether clips begin with one."""

    @property
    def clips(self) -> int:
        """In all."""
        return sum(prompts * len(seeds) for prompts, seeds in self.files.values())

    def folder(self, large: bool) -> Path:
        """Where `fewstep vbench prompts` leaves what to sample; pictures are of the clips' size."""
        return Path(f"vbench-prompts-{self.name}" + ("-720p" if large and self.pictures else ""))


EXTENDED = "all_dimension_extended.txt"
T2V = Suite("t2v", {"prompts.txt": (944, range(5)), "flickering.txt": (75, range(5, 25))}, ("--extended", EXTENDED))
I2V = Suite(
    "i2v",
    {"prompts.txt": (355, range(5))},
    ("--i2v",),
    ("i2v_subject", "i2v_background", "subject_consistency", "background_consistency", "motion_smoothness",
     "dynamic_degree", "aesthetic_quality", "imaging_quality"),
    pictures=True,
)  # fmt: skip
"""The eight columns that AAD-1 prints."""


@dataclass(frozen=True)
class Few:
    """Clips that VBench does not see: of the first prompts, for measures of our own."""

    count: int
    seeds: tuple[int, ...] = (0,)
    metrics: tuple[str, ...] = ()
    """Of `fewstep eval`."""

    @property
    def clips(self) -> int:
        """In all."""
        return self.count * len(self.seeds)


@dataclass(frozen=True)
class Run:
    """One command."""

    title: str
    command: tuple[str, ...]
    gpu_hours: float = 0.0
    disk: float = 0.0
    """Bytes."""
    peak: float = 0.0
    """Bytes of each GPU at the worst moment; 0 where nothing is rehearsed."""

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join(self.command)

    @property
    def told(self) -> str:
        """What it takes."""
        memory = f", {self.peak / 1e9:.0f} GB of each GPU" if self.peak else ""
        return f"{self.gpu_hours:,.1f} GPU-hours, {self.disk / 1e9:,.0f} GB of disk{memory}"


@dataclass(frozen=True, kw_only=True)
class FullPaper:
    """A paper at Wan's size: the items of the embedded report, and what stands there for its runs and arms."""

    paper: Paper
    suite: Suite
    trainings: dict[str, Training]
    """By the key of the embedded run."""
    hub: dict[str, str] = field(default_factory=dict)
    """Models of the hub, by the key of the arm."""
    once: frozenset[str] = frozenset()
    """Keys of the runs that serve all training seeds."""
    shares: dict[str, float] = field(default_factory=dict)
    """Of the recipe's work, by the key of the run at Wan's size, where options leave less of it."""
    few: dict[str, Few] = field(default_factory=dict)
    """Arms that VBench does not see, by key."""
    own: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Measures of `fewstep eval` beside VBench's, by arm."""
    distances: tuple[tuple[str, str], ...] = ()
    """Arms whose sets are compared."""
    extra: dict[str, tuple[Run, ...]] = field(default_factory=dict)
    """Other commands, by item."""
    layout: ChunkLayout = field(default_factory=lambda: ChunkLayout(chunk=3))
    context: Context = field(default_factory=Context)
    """The students'."""
    window: tuple[str, ...] = ()
    """Options of `fewstep sample` for clips longer than students were trained for."""


@dataclass
class Costs:
    """What work takes on a cluster; it remembers what was rehearsed."""

    gpus: int
    rate: float
    """FLOP/s of large matrix products on one GPU."""
    _recipes: dict[str, list[Plan]] = field(default_factory=dict)
    _clips: dict[tuple[object, ...], float] = field(default_factory=dict)

    def hours(self, flops: float) -> float:
        """GPU-hours of some work."""
        return flops / (self.rate * SHARE) / 3600

    def training(self, recipe: str, share: float) -> tuple[float, float, float]:
        """GPU-hours of a share of a recipe's work, bytes of disk, and of each GPU at the worst moment."""
        if recipe not in self._recipes:
            self._recipes[recipe] = plan_recipe(resolve(recipe)(), gpus=self.gpus)
        plans = self._recipes[recipe]
        work = share * sum(plan.once + plan.units * plan.flops for plan in plans)
        return self.hours(work), sum(sum(plan.disk.values()) for plan in plans), max(plan.peak for plan in plans)

    def clip(self, full: FullPaper, arm: Arm, size: str) -> float:
        """GPU-hours of one clip of a model of a size."""
        found = read_plan_name(arm.plan)
        steps, mark = found if found is not None else (int(arm.plan), "")
        key = (size, steps, mark, arm.length, arm.enlarge)
        if key not in self._clips:
            model = model_of(size)
            if arm.key not in full.hub:
                context = full.context if full.context.window else Context(0, 21, "relative")
                model = replace(model, passport=replace(model.passport, layout=full.layout, context=context))
            height, width = LARGE if arm.enlarge > 1 else SIZE
            making = Making(
                steps=steps, first=ENHANCED if mark else None, frames=1 + (frames_of(arm) - 1) // 4,
                height=height, width=width, store=True,
            )  # fmt: skip
            self._clips[key] = plan_clip(model, making).flops
        return self.hours(self._clips[key])


def frames_of(arm: Arm) -> int:
    """Pictures of an arm's clip."""
    return LONG if arm.length > 1 else FRAMES
