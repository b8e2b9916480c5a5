"""The commands of a report at Wan's size, in order, and where each leaves what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewstep.evaluation.sampling import clip_folder
from fewstep.reproduce.full_scale import (
    CHECKOUT,
    CLIP_DISK,
    EXTRACTING,
    EXTRACTOR,
    FRAMES,
    JUDGING,
    LARGE,
    LONG,
    SIZE,
    Costs,
    FullPaper,
    Run,
    frames_of,
)
from fewstep.reproduce.jobs import training_command
from fewstep.reproduce.paper import Arm, Item, Model, Training
from fewstep.training.recipe import resolve


@dataclass(frozen=True)
class Cluster:
    """Where the runs of a paper lie, and what they cost."""

    full: FullPaper
    runs: Path = Path("runs/wan")
    costs: Costs | None = None
    """None: nothing is rehearsed, and every cost is 0."""

    def commands(self, seeds: Sequence[int]) -> list[Run]:
        """Everything that the paper's items need, each once: what is trained, then its clips, then their scores."""
        found: dict[str, Run] = {}
        for item in self.full.paper.items:
            for seed in seeds:
                for run in self.of_item(item, seed):
                    found.setdefault(run.line, run)
            for run in self.full.extra.get(item.key, ()):
                found.setdefault(run.line, run)
        return list(found.values())

    def of_item(self, item: Item, seed: int) -> list[Run]:
        """What one item needs of one training seed."""
        sources = [*item.trainings, *(model.source for model in item.models)]
        found = [run for each in sources if isinstance(each, Training) for run in self.training(each, seed)]
        found += [run for arm in item.arms for run in self.of_arm(arm, seed_of(arm, seed))]
        return [*found, *(run for arm in item.arms for run in self.distances(arm, seed))]

    def distances(self, arm: Arm, seed: int) -> list[Run]:
        """Fréchet distances from an arm's clips to others'."""
        known = {each.key: each for each in self.full.paper.arms()}
        pairs = [known[other] for one, other in self.full.distances if one == arm.key]
        return [self._distance(arm, other, seed) for other in pairs]

    def training(self, embedded: Training, seed: int) -> list[Run]:
        """The run that stands for an embedded one, behind those that it starts from."""
        return self._chain(self.full.trainings[embedded.key], seed)

    def _chain(self, training: Training, seed: int) -> list[Run]:
        seed, start = self._seed(training, seed), training.start
        before = [] if start is None or isinstance(start.source, str) else self._chain(start.source, seed)
        command = training_command(training, self.runs, seed)
        if start is not None and isinstance(start.source, Training):  # a start may serve all seeds
            command = (*command[:-1], start.where(self.runs, self._seed(start.source, seed)))
        share = self.full.shares.get(training.key, 1.0)
        cost = (0.0, 0.0, 0.0) if self.costs is None else self.costs.training(training.recipe, share)
        return [*before, Run(f"train {training.key}, seed {seed}", command, *cost)]

    def _seed(self, training: Training, seed: int) -> int:
        return 0 if training.key in self.full.once else seed

    def folder(self, embedded: Training, seed: int) -> Path:
        """Where the run that stands for an embedded one lies."""
        training = self.full.trainings[embedded.key]
        return training.folder(self.runs, self._seed(training, seed))

    def model(self, arm: Arm, seed: int) -> str:
        """Folder or hub id of what an arm's clips are made by."""
        if arm.key in self.full.hub:
            return self.full.hub[arm.key]
        assert isinstance(arm.model.source, Training)
        training = self.full.trainings[arm.model.source.key]
        return Model(training, arm.model.part).where(self.runs, self._seed(training, seed))

    def clips(self, arm: Arm, seed: int) -> list[Path]:
        """Folders of an arm's clips, one for each file of prompts."""
        files = ["few"] if arm.key in self.full.few else [Path(file).stem for file in self.full.suite.files]
        outs = (self.runs / "clips" / f"{self._name(arm)}-{file}" for file in files)
        return [clip_folder(out, arm.row, seed, arm.plan) for out in outs]

    def scored(self, arm: Arm, seed: int) -> Path:
        """Folder of an arm's clips under VBench's names, with its results."""
        return clip_folder(self.runs / "vbench" / self._name(arm), arm.row, seed, arm.plan)

    def _name(self, arm: Arm) -> str:
        special = [mark for mark, there in (("20s", arm.length > 1), ("720p", arm.enlarge > 1)) if there]
        special += [f"noise{arm.noise}"] if arm.noise else []
        return "-".join([self.full.suite.name, *special])

    def of_arm(self, arm: Arm, seed: int) -> list[Run]:
        """An arm's clips, their export under VBench's names, its evaluation and the totals, and measures of our own."""
        few = self.full.few.get(arm.key)
        folders = self.clips(arm, seed)
        if few is not None:
            first = ("--count", str(few.count), "--seeds", *map(str, few.seeds))
            lines = ("--prompts", self._prompts(arm, "prompts.txt"), *first)
            found = [self._prompts_run(arm), self._sample(arm, seed, few.clips, folders[0].parent, lines)]
            return [*found, *self._own(arm, folders, few.metrics)]
        found = [self._prompts_run(arm)]
        for (file, (count, seeds)), folder in zip(self.full.suite.files.items(), folders, strict=True):
            lines = ("--prompts", self._prompts(arm, file), "--seeds", *map(str, seeds))
            found.append(self._sample(arm, seed, count * len(seeds), folder.parent, lines))
        found += self._vbench(arm, seed, folders)
        return [*found, *self._own(arm, folders[:1], self.full.own.get(arm.key, ()))]

    def _prompts(self, arm: Arm, file: str) -> str:
        return str(self.full.suite.folder(arm.enlarge > 1) / file)

    def _prompts_run(self, arm: Arm) -> Run:
        """What comes before any clip of VBench."""
        suite, large = self.full.suite, arm.enlarge > 1
        height, width = LARGE if large and suite.pictures else SIZE
        size = ("--size", f"{width}x{height}") if suite.pictures else ()
        chosen = ("--dimensions", ",".join(suite.dimensions)) if suite.dimensions else ()
        command = ("fewstep", "vbench", "prompts", "--checkout", CHECKOUT, *suite.options, *size, *chosen)
        return Run("what VBench asks for", (*command, "-o", str(suite.folder(large))))

    def _sample(self, arm: Arm, seed: int, count: int, out: Path, lines: tuple[str, ...]) -> Run:
        model, source = self.model(arm, seed), arm.model.source
        how = ("--teacher-steps", arm.plan) if arm.key in self.full.hub else ("--plans", arm.plan)
        if self.full.suite.pictures:
            lines = (*lines, "--images", str(self.full.suite.folder(arm.enlarge > 1) / "pictures"))
            trained = None if isinstance(source, str) else resolve(self.full.trainings[source.key].recipe)()
            given = trained is None or getattr(trained.stages[-1].method, "first_frame", "generated") != "generated"
            lines += () if given else ("--zero-shot",)
        if arm.enlarge > 1:
            lines = (*lines, "--size", f"{LARGE[1]}x{LARGE[0]}")
        if arm.length > 1:
            lines = (*lines, "--frames", str(LONG), *self.full.window)
        command = ("fewstep", "sample", f"{arm.row}={model}", *how, *lines, "-o", str(out))
        hours = 0.0 if self.costs is None else count * self.costs.clip(self.full, arm, self._size(arm))
        disk = count * CLIP_DISK * frames_of(arm) / FRAMES * (2.25 if arm.enlarge > 1 else 1)
        return Run(f"{arm.title}, seed {seed}: {count:,} clips", command, hours, disk)

    def _size(self, arm: Arm) -> str:
        """Preset or hub id that the clips cost as much as."""
        if arm.key in self.full.hub or isinstance(arm.model.source, str):
            return self.full.hub[arm.key]
        return resolve(self.full.trainings[arm.model.source.key].recipe)().preset

    def _vbench(self, arm: Arm, seed: int, folders: Sequence[Path]) -> list[Run]:
        suite, scored, title = self.full.suite, str(self.scored(arm, seed)), f"{arm.title}, seed {seed}"
        export = ("fewstep", "vbench", "export", *map(str, folders), "--checkout", CHECKOUT, *suite.options)
        dimensions = ("--dimensions", ",".join(suite.dimensions)) if suite.dimensions else ()
        parts = ("--parts", "quality") if suite.dimensions else ()
        hours = suite.clips * JUDGING * frames_of(arm) / FRAMES / 3600
        return [
            Run(f"{title}: names", (*export, "-o", scored)),
            Run(f"{title}: VBench", ("fewstep", "vbench", "run", scored, "--checkout", CHECKOUT, *dimensions), hours),
            Run(f"{title}: totals", ("fewstep", "vbench", "score", scored, *parts)),
        ]

    def _own(self, arm: Arm, folders: Sequence[Path], metrics: tuple[str, ...]) -> list[Run]:
        command = ("fewstep", "eval", *map(str, folders), "--metrics", ",".join(metrics))
        return [Run(f"{arm.title}: {', '.join(metrics)}", command)] if metrics else []

    def _distance(self, one: Arm, other: Arm, seed: int) -> Run:
        """A Fréchet distance of two arms' clips."""
        pair = (str(self.clips(one, seed)[0]), "--reference", str(self.clips(other, seed_of(other, seed))[0]))
        command = ("fewstep", "eval", *pair, "--metrics", "fvd", "--extractor", EXTRACTOR)
        count = self.full.few[one.key].clips
        return Run(f"{one.title} to {other.title}", command, 2 * count * EXTRACTING / 3600)


def seed_of(arm: Arm, seed: int) -> int:
    """The training seed that an arm has for one of the report's: models of the hub have one."""
    return seed if isinstance(arm.model.source, Training) else 0
