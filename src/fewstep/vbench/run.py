"""VBench in its own environment: a process for each dimension, which goes on where it stopped and keeps its log.

The package never imports VBench: its dependencies (an older numpy and transformers, decord, detectron2) cannot live
with ours. The scripts of the user's checkout are called as its README calls them.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fewstep.files import write_text
from fewstep.vbench.dimensions import Dimension
from fewstep.vbench.environment import EnvironmentFault, call, commit_of, installed
from fewstep.vbench.export import VIDEOS, Export, read_export
from fewstep.vbench.image_to_video import crop_of, picture_folder
from fewstep.vbench.results import PATTERN, Measured, ResultError, measured, read_results

RESULTS, RUNS = "results", "runs"
"""VBench's own result files, which its leaderboard takes; and what this project knows of how each was made."""
FILTERED = "filtered_videos"
"""Where the filter of static clips puts those that it keeps."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """How one result was made."""

    dimension: str
    clips: str
    """Hash of names and contents of the clips that were looked at."""
    filtered: bool
    """Whether moving clips were left out (temporal flickering)."""
    commit: str | None
    """Of the checkout."""
    versions: Mapping[str, str]
    command: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A checkout of VBench, the python of its environment, and an exported folder."""

    checkout: Path
    python: Path
    folder: Path
    static_filter: bool = True
    """Measure temporal flickering on static clips only, as its authors do."""
    local: bool = False
    """Tell VBench to take its models from its cache without asking the net."""
    timeout: float | None = None
    """Seconds that a dimension may take."""

    @cached_property
    def export(self) -> Export:
        """What is to be measured."""
        return read_export(self.folder)

    def __post_init__(self) -> None:
        """Whole paths, for VBench runs in its own folder. A link to a python stays one: it knows its environment so."""
        for name in ("checkout", "python", "folder"):
            object.__setattr__(self, name, getattr(self, name).absolute())

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of the environment. Raises EnvironmentFault for a python that does not run."""
        return installed(self.python)

    def filters(self, dimension: Dimension) -> bool:
        """Whether a dimension is measured on static clips only."""
        return self.static_filter and dimension.counted == "static"

    def check(self, dimensions: Sequence[Dimension]) -> None:
        """Raise EnvironmentFault or PictureError before hours of work for what cannot end well."""
        suite = self.export.of_suite
        scripts = [suite.script, *(["static_filter.py"] if any(map(self.filters, dimensions)) else [])]
        for script in scripts:
            if not (self.checkout / script).is_file():
                raise EnvironmentFault(
                    f"a checkout of VBench was required, there is no {self.checkout / script}: git clone it"
                )
        if suite.begins_with == "image":
            picture_folder(self.checkout, self._crop)
        for dimension in dimensions:
            if not self.export.prompts[dimension.name]:
                raise EnvironmentFault(f"no prompt of the list carries {dimension.name}: choose other dimensions")
            if missing := self.export.missing(dimension.name):
                raise EnvironmentFault(
                    f"{dimension.name} needs {len(self.export.expected(dimension.name))} clips, {len(missing)} are "
                    f"missing, such as '{missing[0]}': sample and export them, or choose other dimensions"
                )
        _ = self.versions

    def is_done(self, dimension: Dimension) -> bool:
        """Whether the result is there, of just these clips."""
        run = read_run(self.folder, dimension.name)
        return (
            run is not None
            and self._result(dimension).is_file()
            and (run.clips, run.filtered) == (self.export.fingerprint(dimension.name), self.filters(dimension))
        )

    def evaluate(self, dimension: Dimension) -> Measured:
        """Measure one dimension and keep VBench's file. Raises EnvironmentFault, and ResultError for what it wrote."""
        scratch = self.folder / RUNS / dimension.name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        start = time.monotonic()
        videos = self.folder / VIDEOS
        if self.filters(dimension):
            words = ["static_filter.py", "--videos_path", str(videos), "--result_path", str(scratch)]
            self._call(dimension, words)
            videos = scratch / FILTERED
            if not videos.is_dir() or not any(videos.iterdir()):
                raise EnvironmentFault(
                    f"{dimension.name}: the filter found no static clip; --no-static-filter measures all"
                )
        command = self._command(dimension, videos, scratch)
        self._call(dimension, command)
        found = self._read(dimension, scratch)
        run = Run(
            dimension=dimension.name,
            clips=self.export.fingerprint(dimension.name),
            filtered=self.filters(dimension),
            commit=commit_of(self.checkout),
            versions=self.versions,
            command=tuple(command),
            seconds=round(time.monotonic() - start, 1),
        )
        file = next(scratch.rglob(PATTERN))
        write_text(self._result(dimension), file.read_text(encoding="utf-8"))
        write_text(_run_path(self.folder, dimension.name), json.dumps(asdict(run), indent=1) + "\n")
        shutil.rmtree(scratch)
        return found

    def _command(self, dimension: Dimension, videos: Path, scratch: Path) -> list[str]:
        suite = self.export.of_suite
        words = [suite.script, "--videos_path", str(videos), "--dimension", dimension.name]
        words += ["--output_path", str(scratch), "--full_json_dir", str(self.checkout / suite.info)]
        if suite.begins_with == "image":
            words += ["--ratio", self._crop]
        if self.local:
            words += ["--load_ckpt_from_local", "True"]
        return words

    def _read(self, dimension: Dimension, folder: Path) -> Measured:
        """What VBench has just written, checked."""
        results = read_results(folder)
        if dimension.name not in results:
            raise ResultError(f"{dimension.name} is not in what VBench wrote: see {self.log(dimension)}")
        prompts = self.export.prompts[dimension.name]
        return measured(dimension, results[dimension.name], prompts, filtered=self.filters(dimension))

    def log(self, dimension: Dimension) -> Path:
        """Where everything goes that VBench prints."""
        return self.folder / RUNS / f"{dimension.name}.log"

    def _call(self, dimension: Dimension, words: Sequence[str]) -> None:
        call(self.python, words, self.checkout, self.log(dimension), self.timeout)

    def _result(self, dimension: Dimension) -> Path:
        return self.folder / RESULTS / f"{dimension.name}_eval_results.json"

    @cached_property
    def _crop(self) -> str:
        return crop_of(int(self.export.settings["width"]), int(self.export.settings["height"]))


OnDimension = Callable[[Dimension, Measured | None, str], None]
"""Is told of each dimension that is measured or failed, and why."""


def evaluate_all(
    evaluator: Evaluator, dimensions: Sequence[Dimension], on_dimension: OnDimension
) -> dict[str, Exception]:
    """Measure what is not measured yet; a dimension that fails does not stop the others. Returns the failures."""
    evaluator.check(dimensions)
    failures: dict[str, Exception] = {}
    # the filter of static clips takes its weights from where dynamic degree has put them
    for dimension in sorted(dimensions, key=evaluator.filters):
        if evaluator.is_done(dimension):
            on_dimension(dimension, None, "measured before")
            continue
        try:
            on_dimension(dimension, evaluator.evaluate(dimension), "")
        except (EnvironmentFault, ResultError) as error:
            failures[dimension.name] = error
            on_dimension(dimension, None, str(error))
    return failures


def read_run(folder: Path, dimension: str) -> Run | None:
    """How a result of an exported folder was made; None where that is not known."""
    path = _run_path(folder, dimension)
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Run(**{**plain, "command": tuple(plain["command"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run_path(folder: Path, dimension: str) -> Path:
    return folder / RUNS / f"{dimension}.json"
