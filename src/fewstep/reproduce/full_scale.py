"""What runs take at Wan's size: each as a command, with GPU-hours and disk, rehearsed and not run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from fewstep.planning.generate import Making, plan_clip
from fewstep.planning.plan import SHARE, Plan
from fewstep.planning.sizes import model_of
from fewstep.planning.train import plan_recipe
from fewstep.training.recipe import resolve

CLIP_DISK = 6e6
"""Bytes of 81 frames at 832 x 480 in H.264 that a metric can read: an estimate."""
JUDGING, EXTRACTING = 25.0, 0.2
"""GPU-seconds that VBench's dimensions take of such a clip, and I3D: estimates, for their models are not run here."""
FRAMES, LONG = 81, 321
"""Pictures of a clip of 5 s, and of one of 20 s: 1 + 4 (3 n - 1) with the latter's 27 chunks of three latent frames."""
ANALYSED = 2048
"""Clips of each side of a Fréchet distance."""
PROMPTS, CHECKOUT = Path("vbench-prompts"), "VBench"
"""Where `fewstep vbench prompts` leaves what to sample, and the user's checkout of VBench."""


@dataclass(frozen=True)
class Suite:
    """What of VBench is run of each model and plan."""

    files: dict[str, tuple[int, range]]
    """Prompts, and the seeds of each, by file of prompts."""
    options: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    @property
    def clips(self) -> int:
        """In all."""
        return sum(prompts * len(seeds) for prompts, seeds in self.files.values())


EXTENDED = "all_dimension_extended.txt"
T2V = Suite({"prompts.txt": (944, range(5)), "flickering.txt": (75, range(5, 25))}, ("--extended", EXTENDED))
I2V = Suite(
    {"prompts.txt": (355, range(5))},
    ("--i2v",),
    ("i2v_subject", "i2v_background", "subject_consistency", "background_consistency", "motion_smoothness",
     "dynamic_degree", "aesthetic_quality", "imaging_quality"),
    ("--images", str(PROMPTS / "pictures")),
)  # fmt: skip
"""The eight columns that AAD-1 prints."""


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


@dataclass
class Cluster:
    """Where it would run; it remembers what was rehearsed."""

    gpus: int
    rate: float
    """FLOP/s of large matrix products on one GPU."""
    runs: Path = Path("runs/wan")
    _recipes: dict[str, list[Plan]] = field(default_factory=dict)
    _clips: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def hours(self, flops: float) -> float:
        """GPU-hours of some work."""
        return flops / (self.rate * SHARE) / 3600

    def folder(self, key: str, seed: int) -> Path:
        """Where the run of a seed lies."""
        return self.runs / (f"{key}.seed{seed}" if seed else key)

    def train(
        self,
        recipe: str,
        seed: int,
        variant: str = "",
        options: tuple[str, ...] = (),
        *,
        share: float = 1.0,
    ) -> tuple[Run, Path]:
        """A run of a recipe and its folder; `share` is of its work."""
        if recipe not in self._recipes:
            self._recipes[recipe] = plan_recipe(resolve(recipe)(), gpus=self.gpus)
        plans = self._recipes[recipe]
        work = share * sum(plan.once + plan.units * plan.flops for plan in plans)
        disk, peak = sum(sum(plan.disk.values()) for plan in plans), max(plan.peak for plan in plans)
        key = f"{recipe}.{variant}" if variant else recipe
        folder = self.folder(key, seed)
        command = ("fewstep", "train", recipe, "--out", str(folder), "--seed", str(seed), *options)
        return Run(f"train {key}, seed {seed}", command, self.hours(work), disk, peak), folder

    def sample(
        self,
        title: str,
        model: str,
        plan: str,
        count: int,
        out: Path,
        options: tuple[str, ...],
        *,
        size: str = "wan_1_3b",
        frames: int = FRAMES,
    ) -> Run:
        """Clips of one model at one plan."""
        key = (size, plan, frames)
        if key not in self._clips:
            steps, first = int(plan.rstrip("*")), 4 if plan.endswith("*") else None
            making = Making(steps=steps, first=first, frames=1 + (frames - 1) // 4, store=True)
            self._clips[key] = plan_clip(model_of(size), making).flops
        length = () if frames == FRAMES else ("--frames", str(frames))
        how = ("--plans", plan) if plan != "50" else ("--teacher-steps", plan)
        command = ("fewstep", "sample", model, *how, *options, *length, "-o", str(out))
        disk = count * CLIP_DISK * frames / FRAMES
        return Run(f"{title}: {count:,} clips", command, self.hours(count * self._clips[key]), disk)

    def vbench(
        self, title: str, row: str, model: Path, seed: int, plan: str, suite: Suite, *, size: str, frames: int = FRAMES
    ) -> list[Run]:
        """Clips of every prompt, their export under VBench's names, its evaluation, and the totals."""
        plan_word = plan.replace("*", "star")
        name = f"{row}-seed{seed}-{plan_word}" + ("-20s" if frames == LONG else "")
        runs, folders = [], []
        for file, (prompts, samples) in suite.files.items():
            out = self.runs / "clips" / (name + "-" + Path(file).stem)
            seeds = ",".join(map(str, samples))
            options = ("--prompts", str(PROMPTS / file), "--seeds", seeds, *suite.images)
            count = prompts * len(samples)
            runs.append(self.sample(title, f"{row}={model}", plan, count, out, options, size=size, frames=frames))
            folders.append(str(out / f"{row}-seed{seed}-{plan_word}"))
        scored = str(self.runs / "vbench" / name)
        export = ("fewstep", "vbench", "export", *folders, "--checkout", CHECKOUT, *suite.options, "-o", scored)
        dimensions = ("--dimensions", ",".join(suite.dimensions)) if suite.dimensions else ()
        judged = ("fewstep", "vbench", "run", scored, "--checkout", CHECKOUT, *dimensions)
        parts = ("--parts", "quality") if suite.dimensions else ()
        hours = suite.clips * JUDGING * frames / FRAMES / 3600
        return [
            *runs,
            Run(f"{title}: names", export),
            Run(f"{title}: VBench", judged, hours),
            Run(f"{title}: totals", ("fewstep", "vbench", "score", scored, *parts)),
        ]

    def distance(self, title: str, one: Path, other: Path) -> Run:
        """A Fréchet distance of two folders of clips."""
        features = ("--metrics", "fvd", "--extractor", "i3d:i3d_torchscript.pt")
        command = ("fewstep", "eval", str(one), "--reference", str(other), *features)
        return Run(title, command, ANALYSED * EXTRACTING / 3600)


def prompts_run(suite: Suite) -> Run:
    """What comes before any clip of VBench."""
    size = ("--size", "832x480") if suite.images else ()
    chosen = ("--dimensions", ",".join(suite.dimensions)) if suite.dimensions else ()
    command = ("fewstep", "vbench", "prompts", "--checkout", CHECKOUT, *suite.options, *size, *chosen)
    return Run("what VBench asks for", (*command, "-o", str(PROMPTS)))
