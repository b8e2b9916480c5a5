"""VBench's result files: read, and refused where a clip is there twice, missing, unknown, or has no number."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewstep.vbench.dimensions import SAMPLES, Dimension

PATTERN = "*eval_results.json"
PERCENT_FROM = 1.5
"""A score above this can only be in percent: imaging quality is, clip by clip, and in some versions its mean too."""
ROUNDING = 0.005
"""By which VBench's mean may leave that of its clips before it is worth a remark."""
NAMED = 3
"""Clips that a message names."""


class ResultError(ValueError):
    """A result that is damaged, or not of the clips that it should be of."""


@dataclass(frozen=True)
class Measured:
    """One dimension of one set of clips."""

    dimension: Dimension
    raw: float
    """VBench's own mean, in 0 … 1."""
    clips: Mapping[str, float]
    """File name to value, in 0 … 1."""
    expected: int
    """Clips that were there to be measured."""
    remarks: tuple[str, ...] = ()

    @property
    def by_prompt(self) -> list[float]:
        """Mean of each prompt's clips: what a bootstrap over prompts draws from."""
        found: dict[str, list[float]] = {}
        for name, value in self.clips.items():
            found.setdefault(prompt_of(name), []).append(value)
        return [sum(values) / len(values) for _, values in sorted(found.items())]


def clip_name(prompt: str, index: int) -> str:
    """`{prompt}-{index}.mp4`, how VBench finds the clips of a prompt."""
    return f"{prompt}-{index}.mp4"


def prompt_of(name: str) -> str:
    """Inverse of `clip_name`."""
    return re.sub(r"-\d+\.\w+$", "", name)


def read_results(source: Path) -> dict[str, Any]:
    """What VBench wrote of each dimension, from one result file or from all in a folder and its subfolders.

    Raises ResultError for damaged files, no file, and a dimension in two files.
    """
    files = sorted(source.rglob(PATTERN)) if source.is_dir() else [source]
    if not files or not all(file.is_file() for file in files):
        raise ResultError(f"result files of VBench ({PATTERN}) were required, there is none in {source}: run it first")
    found: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    for file in files:
        for name, result in _read_file(file).items():
            if name in found:
                raise ResultError(f"{name} is in {origin[name]} and in {file}: keep one of them")
            found[name], origin[name] = result, file
    return found


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{file} is no JSON ({error}): run the dimension again") from error
    if not isinstance(content, dict):
        raise ResultError(f"{file} must hold an object of dimensions, got {type(content).__name__}: run it again")
    return content


def measured(dimension: Dimension, result: Any, prompts: Sequence[str], *, filtered: bool = True) -> Measured:
    """One dimension's result, which must be of exactly the clips `{prompt}-0.mp4` … `{prompt}-4.mp4` of the prompts.

    Two dimensions may lack some: color leaves out clips in which it does not find the object, and temporal flickering
    those that its filter found to move, if it was `filtered`. Raises ResultError.
    """
    name = dimension.name
    mean, items = _halves(name, result)
    clips, repeated = _clips(name, items)
    expected = {clip_name(prompt, index) for prompt in prompts for index in range(SAMPLES)}
    if repeated:
        raise ResultError(f"{name} counts clips twice: {_some(repeated)}; remove the copies and run it again")
    if unknown := clips.keys() - expected:
        raise ResultError(f"{name} has clips that are not of its prompts: {_some(unknown)}; run it on its own clips")
    lacking = expected - clips.keys()
    partial = dimension.counted == "found" or (dimension.counted == "static" and filtered)
    if lacking and not partial:
        raise ResultError(
            f"{name} needs {len(expected)} clips, {SAMPLES} of each of {len(prompts)} prompts, got {len(clips)}; "
            f"missing: {_some(lacking)}; sample them and run it again"
        )
    if not clips:
        raise ResultError(f"{name} has no clip: of {len(expected)}, none {_KEPT[dimension.counted]}")
    remarks = [f"{len(clips)} of {len(expected)} clips {_KEPT[dimension.counted]}"] if lacking else []
    mean, clips = _as_fraction(name, mean, remarks), _clips_as_fractions(name, clips)
    average = sum(clips.values()) / len(clips)
    if abs(average - mean) > ROUNDING:
        remarks.append(f"VBench says {mean:.4f}, its clips average {average:.4f}")
    return Measured(dimension, mean, clips, len(expected), tuple(remarks))


_KEPT = {"all": "were read", "found": "show the object", "static": "are static"}


def _halves(name: str, result: Any) -> tuple[float, list[Any]]:
    """`[mean, clips]`; camera motion has a table of its seven kinds between the two."""
    if not isinstance(result, list) or len(result) not in (2, 3) or not isinstance(result[-1], list):
        raise ResultError(f"{name} must be [mean, clips] as VBench writes it, got {_short(result)}: run it again")
    return _number(name, result[0]), result[-1]


def _clips(name: str, items: Iterable[Any]) -> tuple[dict[str, float], list[str]]:
    """Values by file name, and the names that came more than once."""
    values, count = {}, Counter[str]()
    for item in items:
        if not isinstance(item, dict) or not {"video_path", "video_results"} <= item.keys():
            raise ResultError(f"{name} has a clip without a path and a result, {_short(item)}: run it again")
        file = re.split(r"[/\\]", str(item["video_path"]))[-1]
        values[file] = _number(f"{name} of {file}", item["video_results"])
        count[file] += 1
    return values, [file for file, times in count.items() if times > 1]


def _number(what: str, value: Any) -> float:
    """A finite number; yes and no count as 1 and 0."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ResultError(f"{what} must be a number, got {_short(value)}: run it again")
    return float(value)


def _as_fraction(name: str, mean: float, remarks: list[str]) -> float:
    if name == "imaging_quality" and PERCENT_FROM < mean <= 100:
        remarks.append(f"{mean:.2f} was in percent")
        return mean / 100
    if not -1 <= mean <= PERCENT_FROM:
        raise ResultError(f"{name} must be in 0 … 1, got {mean}: run it again")
    return mean


def _clips_as_fractions(name: str, clips: Mapping[str, float]) -> dict[str, float]:
    """Imaging quality is in percent clip by clip, whatever its mean is in."""
    scale = 100 if name == "imaging_quality" and max(clips.values()) > PERCENT_FROM else 1
    return {file: value / scale for file, value in clips.items()}


def _some(names: Iterable[str]) -> str:
    """The first few names and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    return ", ".join(f"'{name}'" for name in ordered[:NAMED]) + more


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
