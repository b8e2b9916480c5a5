"""What raters are shown: clips of several models in pairs of the same prompt, under names that say nothing."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from fewstep.evaluation.clip_folder import ClipError, ClipFolder
from fewstep.manifest import Entry

KEY = "key.json"
"""Who made which clip: for the analysis, never for raters."""
FORMAT = 1
NAME_LENGTH = 12

Design = Literal["all", "first"]
"""Every model against every other, or the first against each."""
Source = tuple[str, str | None]
"""What two clips of a pair have in common: the prompt, and the picture that they begin with."""


@dataclass(frozen=True)
class Side:
    """One clip of a pair."""

    model: str
    clip: str
    """Blinded name, the same wherever the clip is shown."""


@dataclass(frozen=True)
class Pair:
    """Two clips of one prompt; `first` is of the model that was named earlier."""

    name: str
    prompt: str
    first: Side
    second: Side


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study, with the key to its blinding."""

    title: str
    question: str
    per_rater: int
    """Pairs that each rater is asked about."""
    models: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @cached_property
    def identity(self) -> str:
        """Names the study: the same clips, pairs and words give the same one."""
        return _digest(json.dumps(asdict(self), sort_keys=True))

    @cached_property
    def by_name(self) -> dict[str, Pair]:
        """The pairs by their names."""
        return {pair.name: pair for pair in self.pairs}

    def to_json(self) -> str:
        """The key as a readable text."""
        plain = {"format": FORMAT, "study": self.identity, **asdict(self)}
        return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Study:
        """Inverse of `to_json`. Raises ValueError, KeyError or TypeError for a text that is none."""
        plain: dict[str, Any] = json.loads(text)
        if plain.pop("format") != FORMAT:
            raise ValueError(f"format {FORMAT} is required")
        plain.pop("study")
        pairs = [{**pair, "first": Side(**pair["first"]), "second": Side(**pair["second"])} for pair in plain["pairs"]]
        return cls(**{**plain, "models": tuple(plain["models"]), "pairs": tuple(Pair(**pair) for pair in pairs)})


@dataclass(frozen=True)
class Contestant:
    """A model's clips: those of each prompt in the order of their seeds."""

    name: str
    folder: ClipFolder
    takes: Mapping[Source, tuple[Entry, ...]]


@dataclass(frozen=True)
class Drawn:
    """A study, where its clips are, and what was left out."""

    study: Study
    files: Mapping[str, Path]
    """By blinded name."""
    dropped: tuple[str, ...]
    """One reason for each clip that cannot be shown."""
    notes: tuple[str, ...]
    """What may give the models away."""


def load_study(folder: Path | str) -> Study:
    """The study of a folder. Raises ValueError where there is none."""
    path = Path(folder) / KEY
    try:
        return Study.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"a study's folder is required, '{path}' cannot be read ({error.strerror}): "
            "make one with `fewstep study FOLDER FOLDER -o DIR`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise ValueError(f"'{path}' is no key of a study ({fault}): make the study anew") from error


def read_contestant(words: str) -> Contestant:
    """A model's clips from `FOLDER` or `NAME=FOLDER`, where the folder or its manifest is named.

    Raises FolderError or ManifestError, which are ValueErrors, where there is no clip.
    """
    name, sign, place = words.partition("=")
    folder = ClipFolder.open(place if sign else words)
    takes: dict[Source, tuple[Entry, ...]] = {}
    for entry in folder.entries:
        source = entry.settings.prompt, entry.settings.begins_with
        takes[source] = (*takes.get(source, ()), entry)
    return Contestant(name if sign else folder.name, folder, takes)


def draw_study(
    contestants: Sequence[Contestant],
    *,
    title: str,
    question: str,
    prompts: int | None,
    per_rater: int,
    design: Design = "all",
    seed: int = 0,
) -> Drawn:
    """Pairs over prompts drawn at random, each clip under a name that does not tell its model.

    Clips that are missing, or are not those that the manifest speaks of, are left out with their pairs. Raises
    ValueError for fewer than two models, models of one name, manifests of different prompts, or when no pair is left.
    """
    sources = _check(contestants)
    random.Random(f"prompts {seed}").shuffle(sources)
    sources = sorted(sources[: prompts or len(sources)], key=str)
    matches = list(combinations(contestants, 2)) if design == "all" else [(contestants[0], x) for x in contestants[1:]]
    blinding = _Blinding(seed)
    found: list[tuple[str, Side, Side]] = []
    for source in sources:
        for first, second in matches:
            for one, other in zip(first.takes[source], second.takes[source], strict=False):
                sides = blinding.side(first, one), blinding.side(second, other)
                if sides[0] and sides[1]:
                    found.append((source[0], sides[0], sides[1]))
    if not found:
        raise ValueError(f"two clips of one prompt are required, none is left: {'; '.join(blinding.faults.values())}")
    random.Random(f"names {seed}").shuffle(found)
    study = Study(
        title=title,
        question=question,
        per_rater=min(per_rater, len(found)),
        models=tuple(contestant.name for contestant in contestants),
        pairs=tuple(Pair(f"p{number:04d}", *parts) for number, parts in enumerate(found, start=1)),
    )
    shown = {side.clip for pair in study.pairs for side in (pair.first, pair.second)}
    files = {clip: path for clip, path in blinding.files.items() if clip in shown}
    return Drawn(study, files, tuple(blinding.faults.values()), tuple(_giveaways(contestants)))


class _Blinding:
    """Clips under names that do not tell their models, and why some cannot be shown."""

    def __init__(self, seed: int):
        self.seed = seed
        self.files: dict[str, Path] = {}
        self.faults: dict[Path, str] = {}

    def side(self, contestant: Contestant, entry: Entry) -> Side | None:
        """The clip, or None where it cannot be shown."""
        path = contestant.folder.path / entry.file
        clip = _digest(f"{self.seed} {contestant.name} {entry.sha256}")
        if clip not in self.files and path not in self.faults:
            try:
                contestant.folder.check(entry)
                self.files[clip] = path
            except ClipError as error:
                self.faults[path] = f"{contestant.name}: {error}"
        return None if path in self.faults else Side(contestant.name, clip)


def _check(contestants: Sequence[Contestant]) -> list[Source]:
    """The prompts that all have, or ValueError."""
    names = [contestant.name for contestant in contestants]
    if len(names) < 2:
        raise ValueError(f"a study compares two models or more, got {len(names)}: name another folder of clips")
    if len(set(names)) < len(names):
        raise ValueError(f"models need different names, got {', '.join(names)}: call one NAME=FOLDER")
    reference = contestants[0]
    for other in contestants[1:]:
        if strange := sorted(reference.takes.keys() ^ other.takes.keys(), key=str):
            prompt, picture = strange[0]
            owner, lacking = (reference, other) if strange[0] in reference.takes else (other, reference)
            clip = f"'{prompt}'" + (f" from {picture}" if picture else "")
            raise ValueError(
                f"manifests of the same prompts are required: '{owner.folder.path}' has {clip}, "
                f"'{lacking.folder.path}' does not ({len(strange)} differ): make both from one file of prompts"
            )
    return list(reference.takes)


def _giveaways(contestants: Sequence[Contestant]) -> list[str]:
    """Ways in which whole sets differ to the eye."""
    notes = []
    for what, unit in (("frames", "frames"), ("fps", "frames per second"), ("height", "rows"), ("width", "columns")):
        values = {
            contestant.name: {getattr(entry.settings, what) for takes in contestant.takes.values() for entry in takes}
            for contestant in contestants
        }
        if len(set.union(*values.values())) > 1:
            listing = ", ".join(f"{name} {'/'.join(f'{x:g}' for x in sorted(found))}" for name, found in values.items())
            notes.append(f"clips differ in {unit} ({listing}): raters may tell the models apart by it")
    return notes


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]
