"""The score card of one set of clips: every dimension with its interval, Quality, Semantic or I2V, and Total."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import interval, resampled_means
from fewstep.vbench.aggregate import scores
from fewstep.vbench.dimensions import Dimension, Suite
from fewstep.vbench.export import LONG, Export, read_export
from fewstep.vbench.prompts import PromptList
from fewstep.vbench.results import Measured, ResultError, measured, prompt_of, read_results
from fewstep.vbench.run import RESULTS, read_run

PERCENT = 100


@dataclass(frozen=True)
class Card:
    """What was measured of one set of clips. All scores in percent, intervals by bootstrap over prompts."""

    suite: Suite
    dimensions: Mapping[str, Measured]
    raw: Mapping[str, Estimate]
    """By dimension."""
    scores: Mapping[str, Estimate]
    """By part, and `total` where all parts were asked for."""
    remarks: tuple[str, ...]
    """What a reader must know before the scores stand beside others."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "suite": self.suite.name,
            "scores": {name: vars(value) for name, value in self.scores.items()},
            "dimensions": {
                name: {**vars(value), "clips": len(self.dimensions[name].clips)} for name, value in self.raw.items()
            },
            "remarks": list(self.remarks),
        }


def card_of_folder(folder: Path, parts: Sequence[str] | None = None) -> Card:
    """The card of an exported folder that was evaluated, of all parts or some.

    Raises MissingDimensionError, ResultError and ExportError.
    """
    export = read_export(folder)
    suite, found, remarks = export.of_suite, {}, _remarks(export)
    for name, result in read_results(folder / RESULTS).items():
        dimension, run = suite[name], read_run(folder, name)
        if run is not None and run.clips != export.fingerprint(name):
            raise ResultError(f"{name} was measured on other clips than {folder} holds now: run it again")
        filtered = run is None or run.filtered
        found[name] = measured(dimension, result, export.prompts[name], filtered=filtered)
        if dimension.counted == "static" and not filtered:
            remarks.append(f"{name} was measured on clips that may move: its authors filter them")
    return _card(suite, found, parts, remarks)


def card_of_results(source: Path, prompts: PromptList, parts: Sequence[str] | None = None) -> Card:
    """The card of result files that VBench wrote elsewhere. Raises MissingDimensionError and ResultError."""
    suite = prompts.suite
    found = {
        name: measured(suite[name], result, [item.prompt for item in prompts.of(name)])
        for name, result in read_results(source).items()
    }
    return _card(suite, found, parts, [] if prompts.official else [_unofficial(suite)])


def _card(suite: Suite, found: Mapping[str, Measured], parts: Sequence[str] | None, remarks: Sequence[str]) -> Card:
    resamples = {name: PERCENT * _resamples(found[name]) for name in (each.name for each in suite) if name in found}
    raw = {name: interval(values, len(found[name].by_prompt)) for name, values in resamples.items()}
    totals = scores(suite, {name: values / PERCENT for name, values in resamples.items()}, parts)
    prompts = len({prompt_of(clip) for each in found.values() for clip in each.clips})
    own = [f"{name}: {remark}" for name, each in found.items() for remark in each.remarks]
    estimates = {name: interval(PERCENT * values, prompts) for name, values in totals.items()}
    return Card(suite, dict(found), raw, estimates, (*remarks, *own))


def _resamples(each: Measured) -> np.ndarray:
    """VBench's mean, and what it becomes when other prompts are drawn `[1 + count]`.

    Dimensions of the same prompts draw the same ones. VBench's mean need not be that of the prompts' means, for it may
    count frames or drop clips: the draws are moved to it.
    """
    prompts = sorted({prompt_of(clip) for clip in each.clips})
    means = resampled_means(np.array(each.by_prompt)[:, None], seed=zlib.crc32("\n".join(prompts).encode()))[:, 0]
    return means - means[0] + each.raw


def _remarks(export: Export) -> list[str]:
    suite = export.of_suite
    remarks = [] if export.official else [_unofficial(suite)]
    if export.extended is not None:
        remarks.append(f"clips were made from extended prompts ({export.extended}): compare with clips that were, too")
    if export.seconds >= LONG:
        remarks.append(
            f"clips last {export.seconds:.2f} s: from {LONG:.0f} s on VBench's authors ask for VBench-Long, "
            "and papers seldom say which of the two they took"
        )
    return remarks


def _unofficial(suite: Suite) -> str:
    return f"the prompts are not the official ones: no published score of {suite.title} may stand beside these"


def dimensions_of(suite: Suite, names: Sequence[str]) -> list[Dimension]:
    """The named dimensions, or all; in the suite's order. Raises ValueError for a name that there is not."""
    asked = {suite[name].name for name in names}
    return [dimension for dimension in suite if not asked or dimension.name in asked]
