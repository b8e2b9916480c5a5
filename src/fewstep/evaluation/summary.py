"""A folder's scores in one file, and in one table beside those of other folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any

from fewstep.evaluation.clip_folder import ClipFolder
from fewstep.evaluation.judges import Judge
from fewstep.evaluation.report import Grid
from fewstep.evaluation.scoring import FolderScores, PairError, compare, score_folder
from fewstep.evaluation.set_scoring import Reference, SetScore, features_of, score_sets
from fewstep.files import write_text
from fewstep.metrics.base import ABSENT, Estimate
from fewstep.metrics.drift import LEAST_DYNAMIC
from fewstep.metrics.features import FeatureError, FeatureSet

SUMMARY = "scores.json"
VERSION = 1
"""Of the layout of the file."""
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass
class Summary:
    """All that is known of one folder."""

    scores: FolderScores
    sets: Sequence[SetScore] = ()
    set_reasons: Mapping[str, str] = field(default_factory=dict)
    """Why distances from the reference cannot be told, by metric."""

    def __post_init__(self) -> None:
        self.estimates = self.scores.estimates()
        moves = self.estimates.get("dynamic_degree")
        self.still = moves is not None and moves.value < LEAST_DYNAMIC
        if self.still:
            self.estimates.pop("drift", None)

    def reasons(self) -> dict[str, str]:
        """Why something was not measured, or not of all clips, by metric."""
        silent = {name: "says nothing of these clips" for name, each in self.estimates.items() if isnan(each.value)}
        found = {**silent, **self.scores.reasons(), **self.set_reasons}
        return {**found, "drift": "says nothing of clips that hardly move (dynamic degree)"} if self.still else found

    def to_json(self) -> dict[str, Any]:
        """Every number with what it rests on; values of single clips are in `scores.jsonl`."""
        folder = self.scores.folder
        measures = [
            {
                "name": name,
                "title": title,
                "better": better,
                "metric": judge.name,
                "version": judge.version,
                "extractor": judge.extractor,
                **_numbers(self.estimates[name]),
            }
            for judge in self.scores.judges
            for name, (title, better) in judge.measures.items()
            if name in self.estimates
        ]
        return {
            "version": VERSION,
            "folder": folder.name,
            "models": sorted({entry.settings.model for entry in folder.entries}),
            "prompts": folder.prompts_hash,
            "prompt_count": len(folder.prompts),
            "clips": len(folder.entries),
            "refused": [{"file": file, "reason": reason} for file, reason in self.scores.refused.items()],
            "measures": measures,
            "distances": [
                {
                    "name": score.metric.name,
                    "title": score.metric.title,
                    "better": "lower",
                    "version": score.metric.version,
                    "extractor": score.extractor,
                    "reference": score.reference,
                    "clips": list(score.clips),
                    "p_value": score.p_value,
                    "remarks": list(score.remarks),
                    **_numbers(score.estimate),
                }
                for score in self.sets
            ],
            "not_measured": [{"metric": name, "reason": reason} for name, reason in self.reasons().items()],
        }


def score_all(
    folders: Sequence[ClipFolder],
    judges: Sequence[Judge],
    reference: Reference | None = None,
    watch: Callable[[str, int], Callable[[int], None]] = lambda what, clips: lambda count: None,
) -> list[Summary]:
    """What judges say of every folder, and its distances from a reference. What was found before is kept.

    `watch(what, clips)` gives who hears of clips done.
    """
    found = []
    for folder in folders:
        found.append(Summary(score_folder(folder, judges, watch(folder.name, len(folder.entries)))))
    if reference is None:
        return found

    def features(folder: ClipFolder) -> FeatureSet:
        return features_of(folder, reference.extractor, watch(f"{folder.name}, features", len(folder.entries)))

    target: FeatureSet | None = None
    for summary in found:
        try:
            target = target or features(reference.folder)
            own = features(summary.scores.folder)
        except FeatureError as error:
            summary.set_reasons = {metric.name: str(error) for metric in reference.metrics}
            continue
        summary.sets, summary.set_reasons = score_sets(own, target, reference.folder.name, reference.metrics)
    return found


def save_all(summaries: Sequence[Summary]) -> str:
    """Write each summary beside its clips, and return all of them and their differences as JSON. Raises OutputError."""
    plain = [summary.to_json() for summary in summaries]
    for summary, found in zip(summaries, plain, strict=True):
        write_text(summary.scores.folder.path / SUMMARY, _json(found))
    differences, problems = _differences(summaries)
    pairs = {name: {key: _numbers(value) for key, value in found.items()} for name, found in differences.items()}
    return _json({"folders": plain, "minus": plain[0]["folder"], "differences": pairs, "not_paired": problems})


def notes(summaries: Sequence[Summary]) -> list[str]:
    """What the tables rest on, what was refused, and what could not be measured."""
    lines = [
        "In brackets: 95 % bootstrap intervals over prompts. Scores of single clips are in each folder's scores.jsonl, "
        "versions and extractors in its scores.json."
    ]
    for summary in summaries:
        folder, refused = summary.scores.folder, summary.scores.refused
        lines.append(
            f"{folder.name}: {len(folder.entries) - len(refused)} of {len(folder.entries)} clips of "
            f"{len(folder.prompts)} prompts ({folder.prompts_hash})"
        )
        lines += [f"{folder.name}: refused: {reason}" for reason in refused.values()]
        lines += [f"{folder.name}: {name}: {reason}" for name, reason in summary.reasons().items()]
        lines += [f"{folder.name}: {score.metric.name}: {said}" for score in summary.sets for said in score.remarks]
    return lines


def score_table(summaries: Sequence[Summary]) -> Grid:
    """A row for every measure that some folder has, a column for every folder."""
    rows = []
    for name, title in _titles(summaries).items():
        texts = [_text(summary.estimates.get(name)) for summary in summaries]
        rows.append((title, *texts))
    metrics = {score.metric.name: score.metric for summary in summaries for score in summary.sets}
    for name, metric in metrics.items():
        found = [{score.metric.name: score for score in summary.sets}.get(name) for summary in summaries]
        rows.append((f"{metric.title} {ARROWS['lower']}", *map(_distance, found)))
    return Grid("Scores", ("", *(summary.scores.folder.name for summary in summaries)), tuple(rows))


def difference_table(summaries: Sequence[Summary]) -> tuple[Grid, list[str]]:
    """Each folder minus the first, paired by prompt and seed; and why some folders cannot be paired with it."""
    found, problems = _differences(summaries)
    rows = [
        (title, *(_text(estimates.get(name), signed=True) for estimates in found.values()))
        for name, title in _titles(summaries).items()
        if any(name in estimates for estimates in found.values())
    ]
    title = f"Minus {summaries[0].scores.folder.name}, the same prompts and seeds"
    return Grid(title, ("", *found), tuple(rows)), problems


def _differences(summaries: Sequence[Summary]) -> tuple[dict[str, dict[str, Estimate]], list[str]]:
    """Each folder minus the first by name, and why some cannot be paired."""
    found, problems = {}, []
    for summary in summaries[1:]:
        try:
            estimates = compare(summary.scores, summaries[0].scores)
            if summary.still or summaries[0].still:
                estimates.pop("drift", None)  # of clips that hardly move it says nothing, and a difference as little
            found[summary.scores.folder.name] = estimates
        except PairError as error:
            problems.append(str(error))
    return found, problems


def _titles(summaries: Sequence[Summary]) -> dict[str, str]:
    """Titles of all measures that some folder has, by name."""
    return {
        name: f"{title} {ARROWS[better]}".strip()
        for judge in summaries[0].scores.judges
        for name, (title, better) in judge.measures.items()
        if any(isfinite(summary.estimates[name].value) for summary in summaries if name in summary.estimates)
    }


def _text(estimate: Estimate | None, signed: bool = False) -> str:
    if estimate is None or not isfinite(estimate.value):
        return ABSENT
    sign = "+" if signed else ""
    span = f" [{estimate.low:{sign}.3g}, {estimate.high:{sign}.3g}]" if isfinite(estimate.low) else ""
    return f"{estimate.value:{sign}.4g}{span}"


def _distance(score: SetScore | None) -> str:
    if score is None:
        return ABSENT
    return _text(score.estimate) + ("" if score.p_value is None else f", p = {score.p_value:.2g}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _numbers(estimate: Estimate) -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return float(f"{value:.7g}") if isfinite(value) else None

    return {
        "value": plain(estimate.value),
        "low": plain(estimate.low),
        "high": plain(estimate.high),
        "samples": estimate.samples,
    }
