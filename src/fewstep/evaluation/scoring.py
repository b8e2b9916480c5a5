"""Scores of folders of clips: each clip is read once for all that it lacks, and what was found stays beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.evaluation.clip_folder import ClipError, ClipFolder
from fewstep.evaluation.judges import Judge, Row, mean_row
from fewstep.files import append_line, whole_lines
from fewstep.manifest import Entry, ManifestError
from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import interval

SCORES = "scores.jsonl"
LEAST_PROMPTS = 2
"""Below this an interval over prompts says nothing."""
Key = tuple[int, int]
"""Prompt and seed of a clip."""


class PairError(ValueError):
    """Two folders whose clips cannot be paired."""


class ScoreFile:
    """Every score of a folder's clips, a line for each time that a clip was read; later lines add to earlier ones."""

    def __init__(self, folder: Path):
        self.path = folder / SCORES
        self.known: dict[tuple[str, str, str], Row] = {}
        """By the hash of a clip, and a judge with its version and extractor."""
        for number, line in enumerate(whole_lines(self.path) if self.path.is_file() else (), start=1):
            try:
                self._learn(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ManifestError(
                    f"{self.path} has a line {number} that holds no scores ({type(error).__name__}: {error}): "
                    "delete the line, or the file to score all clips again"
                ) from error

    def has(self, entry: Entry, judge: Judge) -> bool:
        """Whether a judge has spoken of a clip."""
        return _key(entry, judge) in self.known

    def get(self, entry: Entry, judge: Judge) -> Row:
        """What a judge said of a clip."""
        return self.known[_key(entry, judge)]

    def add(self, entry: Entry, said: Sequence[tuple[Judge, Row]]) -> None:
        """Keep what judges said of a clip. Raises OutputError."""
        line = {
            "file": entry.file,
            "sha256": entry.sha256,
            "prompt": entry.settings.prompt,
            "index": entry.settings.index,
            "seed": entry.settings.seed,
            "scores": {
                judge.name: {
                    "version": judge.version,
                    "extractor": judge.extractor,
                    "values": {name: _plain(value) for name, value in row.items()},
                }
                for judge, row in said
            },
        }
        append_line(self.path, json.dumps(line, ensure_ascii=False, allow_nan=False))
        self._learn(line)

    def _learn(self, line: Mapping[str, Any]) -> None:
        for name, found in line["scores"].items():
            values = {key: math.nan if value is None else float(value) for key, value in found["values"].items()}
            self.known[line["sha256"], name, _identity(found["version"], found["extractor"])] = values


@dataclass
class FolderScores:
    """What was found of the clips of one folder."""

    folder: ClipFolder
    judges: tuple[Judge, ...]
    rows: dict[str, dict[Key, Row]] = field(default_factory=dict)
    """By judge, then by prompt and seed."""
    refused: dict[str, str] = field(default_factory=dict)
    """Files that are not what the manifest says, and why."""
    unfit: dict[str, dict[str, int]] = field(default_factory=dict)
    """By judge: reasons why it says nothing, and of how many clips."""

    def estimates(self) -> dict[str, Estimate]:
        """Every measure with its interval over prompts; measures of which no clip tells are left out."""
        found: dict[str, Estimate] = {}
        for judge in self.judges:
            rows = self.rows.get(judge.name, {})
            if rows:
                resampled = judge.resample(_by_prompt(rows, rows.keys()))
                found |= {name: _estimate(values, rows, name) for name, values in resampled.items()}
        return found

    def notes(self, judge: Judge, entry: Entry) -> bool:
        """Whether a judge can say nothing of a clip; if so the reason is noted."""
        reason = judge.refuses(self.folder, entry)
        if reason is not None:
            counts = self.unfit.setdefault(judge.name, {})
            counts[reason] = counts.get(reason, 0) + 1
        return reason is not None

    def reasons(self) -> dict[str, str]:
        """Why judges say nothing, or not of all clips."""
        return {
            name: "; ".join(f"{count} clip{'s' * (count != 1)}: {reason}" for reason, count in found.items())
            for name, found in self.unfit.items()
        }


def score_folder(
    folder: ClipFolder, judges: Sequence[Judge], advance: Callable[[int], None] = lambda clips: None
) -> FolderScores:
    """What the judges say of every clip; what they said before, of the same clips, is kept.

    A clip that is not what the manifest says is refused, and the rest scored. `advance` hears of clips done.
    Raises ManifestError for damaged files of scores, OutputError where they cannot be written.
    """
    kept, found = ScoreFile(folder.path), FolderScores(folder, tuple(judges))
    for entry in folder.entries:
        fit = [judge for judge in judges if not found.notes(judge, entry)]
        lacking = [judge for judge in fit if not kept.has(entry, judge)]
        try:
            if lacking:
                clip = folder.read(entry)
                kept.add(entry, [(judge, judge.measure(clip, entry)) for judge in lacking])
            else:
                folder.check(entry)
        except ClipError as error:
            found.refused[entry.file] = str(error)
            fit = []
        for judge in fit:
            found.rows.setdefault(judge.name, {})[entry.settings.index, entry.settings.seed] = kept.get(entry, judge)
        advance(1)
    return found


def compare(one: FolderScores, other: FolderScores) -> dict[str, Estimate]:
    """Every measure of one folder minus that of the other, on the clips of the same prompt and seed.

    Intervals are over prompts, which are drawn alike for both. Raises PairError for folders of different prompts.
    """
    mine, theirs = one.folder.prompts, other.folder.prompts
    shared = mine.keys() & theirs.keys()
    if different := [index for index in sorted(shared) if mine[index] != theirs[index]]:
        index = different[0]
        raise PairError(
            f"'{one.folder.name}' and '{other.folder.name}' have different prompts and cannot be paired: number "
            f"{index} is '{mine[index]}' and '{theirs[index]}'"
        )
    found: dict[str, Estimate] = {}
    for judge in one.judges:
        a, b = one.rows.get(judge.name, {}), other.rows.get(judge.name, {})
        if keys := a.keys() & b.keys():
            known = {key: _both_known(a[key], b[key]) for key in keys}
            ours = judge.resample(_by_prompt({key: pair[0] for key, pair in known.items()}, keys))
            others = judge.resample(_by_prompt({key: pair[1] for key, pair in known.items()}, keys))
            rows = {key: pair[0] for key, pair in known.items()}
            found |= {name: _estimate(ours[name] - others[name], rows, name) for name in ours}
    if not found:
        raise PairError(
            f"'{one.folder.name}' and '{other.folder.name}' have no clips of the same prompt and seed: sample both "
            "with the same prompts and seeds"
        )
    return found


def _by_prompt(rows: Mapping[Key, Row], keys: Any) -> list[Row]:
    """A row for each prompt, in their order: the mean over its seeds."""
    groups: dict[int, list[Row]] = {}
    for key in sorted(keys):
        groups.setdefault(key[0], []).append(rows[key])
    return [mean_row(group) for group in groups.values()]


def _both_known(one: Row, other: Row) -> tuple[Row, Row]:
    """Two rows of a pair with NaN where either has it."""
    gaps = {name: math.nan for name in one if not (math.isfinite(one[name]) and math.isfinite(other[name]))}
    return {**one, **gaps}, {**other, **gaps}


def _estimate(resampled: np.ndarray, rows: Mapping[Key, Row], name: str) -> Estimate:
    """With the number of clips that told of it, and no interval where there are too few prompts for one."""
    told = name.rpartition(".")[2]
    known = [key for key, row in rows.items() if math.isfinite(row.get(told, 0.0))]
    found = interval(resampled, len(known))
    if len({index for index, _ in known}) < LEAST_PROMPTS:
        return Estimate(found.value, math.nan, math.nan, found.samples)
    return found


def _key(entry: Entry, judge: Judge) -> tuple[str, str, str]:
    return entry.sha256, judge.name, _identity(judge.version, judge.extractor)


def _identity(version: int, extractor: str | None) -> str:
    return f"{version} {extractor or ''}"


def _plain(value: float) -> float | None:
    """Seven significant digits, and null for NaN, which JSON does not know."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
