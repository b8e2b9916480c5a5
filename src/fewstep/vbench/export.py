"""Clips of `fewstep sample` into the one flat folder that VBench reads, under its names; and what is missing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fewstep.files import OutputError, advice, require_writable, write_text
from fewstep.manifest import Entry, Manifest, Settings, file_hash
from fewstep.vbench.dimensions import SAMPLES, SUITES, Suite
from fewstep.vbench.image_to_video import Beginnings, crop_of
from fewstep.vbench.prompts import Item, PromptList, colliding
from fewstep.vbench.results import clip_name

EXPORT, VIDEOS = "export.json", "videos"
"""The label, and the flat folder, in which nothing else may lie: VBench takes the ending of its first file for all."""
OF_ONE_CLIP = ("prompt", "seed", "index", "batch", "begins_with", "scene")
"""Settings in which clips of one set may differ."""
LONG = 5.0
"""Seconds from which VBench's authors ask for VBench-Long."""

OnProgress = Callable[[int, int], None]
"""Is told how many clips are placed, and of how many."""


class ExportError(ValueError):
    """Clips that cannot be one set for VBench, or a folder that holds another set."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One clip under VBench's name."""

    file: str
    source: str
    """Name in the folder that it was sampled into."""
    seed: int
    text: str
    """What the model was given."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Export:
    """What lies in an exported folder: the label beside the videos."""

    suite: str
    list_sha256: str
    official: bool
    """Whether the prompt list is the one that published scores are of."""
    extended: str | None
    extended_sha256: str | None
    settings: Mapping[str, Any]
    """What all clips have in common."""
    prompts: Mapping[str, tuple[str, ...]]
    """Of each dimension."""
    clips: tuple[Placed, ...]

    @property
    def of_suite(self) -> Suite:
        """The benchmark."""
        return SUITES[self.suite]

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return self.settings["frames"] / self.settings["fps"]

    def expected(self, dimension: str) -> set[str]:
        """Names of the clips that a dimension cannot do without."""
        return {clip_name(prompt, index) for prompt in self.prompts[dimension] for index in range(SAMPLES)}

    def candidates(self, dimension: str) -> list[Placed]:
        """All clips of a dimension's prompts that it may look at."""
        count = self.of_suite[dimension].candidates
        names = {clip_name(prompt, index) for prompt in self.prompts[dimension] for index in range(count)}
        return [clip for clip in self.clips if clip.file in names]

    def fingerprint(self, dimension: str) -> str:
        """Of names and contents of the clips that a dimension may look at."""
        clips = sorted((clip.file, clip.sha256) for clip in self.candidates(dimension))
        return hashlib.sha256(json.dumps(clips).encode()).hexdigest()

    def missing(self, dimension: str) -> list[str]:
        """Clips without which a dimension cannot be measured, by name."""
        return sorted(self.expected(dimension) - {clip.file for clip in self.clips})

    def is_complete(self, dimension: str) -> bool:
        """Whether a dimension has prompts, and all of its clips."""
        return bool(self.prompts[dimension]) and not self.missing(dimension)


def read_export(folder: Path) -> Export:
    """The label of an exported folder. Raises ExportError."""
    path = folder / EXPORT
    if not path.is_file():
        raise ExportError(
            f"a folder of `fewstep vbench export` was required, there is no {path}: export the clips first"
        )
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        clips = tuple(Placed(**clip) for clip in plain.pop("clips"))
        prompts = {name: tuple(of) for name, of in plain.pop("prompts").items()}
        return Export(clips=clips, prompts=prompts, **plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{path} is damaged ({type(error).__name__}: {error}): export the clips again") from error


def export_clips(
    prompts: PromptList, folders: Sequence[Path], out: Path, on_progress: OnProgress = lambda done, total: None
) -> Export:
    """Place the clips of sampled folders as `out/videos/{prompt}-{i}.mp4`, i in the order of their seeds.

    Files are linked, or copied where the file system cannot. What is there already is kept. Raises ExportError,
    PictureError, ManifestError, OutputError.
    """
    require_writable(out / VIDEOS / ".mp4")
    entries = _read_entries(folders)
    settings = _common(entries)
    chosen = _choose(prompts, entries)
    if not chosen:
        text = next(iter(entries))[1].settings.prompt
        raise ExportError(
            f"none of {len(entries)} clips has a prompt of {prompts.suite.title}; the first is of '{text[:60]}': name "
            "the extended prompts that the clips were made from, or sample the prompts of `fewstep vbench prompts`"
        )
    _check_collisions(out / VIDEOS, [item for item in prompts.items if clip_name(item.prompt, 0) in chosen])
    placed = tuple(
        Placed(file=name, source=entry.file, seed=entry.settings.seed, text=entry.settings.prompt, sha256=entry.sha256)
        for name, (_, entry) in chosen.items()
    )
    export = Export(
        suite=prompts.suite.name,
        list_sha256=prompts.sha256,
        official=prompts.official,
        extended=prompts.extended,
        extended_sha256=prompts.extended_sha256,
        settings=settings,
        prompts={each.name: tuple(item.prompt for item in prompts.of(each.name)) for each in prompts.suite},
        clips=placed,
    )
    _require_same(out, export)
    for done, (name, (folder, entry)) in enumerate(chosen.items(), start=1):
        _place(folder / entry.file, out / VIDEOS / name, entry.sha256)
        on_progress(done, len(chosen))
    write_text(out / EXPORT, json.dumps(asdict(export), indent=1, ensure_ascii=False) + "\n")
    return export


def _read_entries(folders: Sequence[Path]) -> list[tuple[Path, Entry]]:
    """All clips of all folders with the folder of each."""
    entries = []
    for folder in folders:
        found = list(Manifest(folder).entries.values())
        if not found:
            raise ExportError(f"a folder of `fewstep sample` was required, {folder} has no manifest: sample into it")
        entries += [(folder, entry) for entry in found]
    return entries


def _common(entries: Sequence[tuple[Path, Entry]]) -> dict[str, Any]:
    """The settings that all clips share. Raises ExportError where they are of two models, plans, lengths or sizes."""
    first_folder, first = entries[0]
    for folder, entry in entries:
        differing = {
            name: values
            for name, values in first.settings.difference(entry.settings).items()
            if name.split(".")[0] not in OF_ONE_CLIP
        }
        if differing:
            name, (mine, theirs) = next(iter(differing.items()))
            raise ExportError(
                f"clips of one set are made alike, {first_folder / first.file} and {folder / entry.file} differ in "
                f"{name}: {mine!r} and {theirs!r}; export each model and plan into a folder of its own"
            )
        if Path(entry.file).suffix != ".mp4":
            raise ExportError(f"VBench reads .mp4, got {folder / entry.file}: sample the clips as .mp4")
    names = [each.name for each in fields(Settings) if each.name not in OF_ONE_CLIP]
    return {name: getattr(first.settings, name) for name in names}


def _choose(prompts: PromptList, entries: Sequence[tuple[Path, Entry]]) -> dict[str, tuple[Path, Entry]]:
    """Clip by VBench's name: of each prompt those of the lowest seeds, one a seed."""
    by_text: dict[str, dict[int, tuple[Path, Entry]]] = {}
    for folder, entry in entries:
        by_text.setdefault(entry.settings.prompt, {}).setdefault(entry.settings.seed, (folder, entry))
    beginnings = _beginnings(prompts, entries[0][1].settings)
    chosen = {}
    for item in prompts.items:
        found = sorted(by_text.get(item.text, {}).items())[: prompts.candidates(item)]
        for index, (_, (folder, entry)) in enumerate(found):
            if beginnings is not None:
                beginnings.require(item, folder, entry)
            chosen[clip_name(item.prompt, index)] = (folder, entry)
    return chosen


def _beginnings(prompts: PromptList, settings: Settings) -> Beginnings | None:
    """What the clips must begin with; None where it is free."""
    if prompts.suite.begins_with == "text":
        return None
    crop = crop_of(settings.width, settings.height)
    return Beginnings(prompts.checkout, crop, (settings.height, settings.width))


def _check_collisions(videos: Path, items: Sequence[Item]) -> None:
    """Raise ExportError where two prompts would overwrite each other's files on this file system."""
    groups = colliding(items)
    if not groups:
        return
    with TemporaryDirectory(dir=videos.parent, prefix=".case-") as scratch:
        (Path(scratch) / "a").touch()
        blind = (Path(scratch) / "A").exists()
    if blind:
        raise ExportError(
            f"'{groups[0][0]}' and '{groups[0][1]}' name the same files in {videos}, whose file system takes upper for "
            "lower case: export to one that does not, such as a Linux disk"
        )


def _require_same(out: Path, export: Export) -> None:
    """Raise ExportError for a folder that holds another set, or files that would confuse VBench."""
    if (out / EXPORT).is_file():
        there = read_export(out)
        mine, theirs = json.loads(json.dumps([asdict(export), asdict(there)]))
        if differing := [name for name in mine if name != "clips" and mine[name] != theirs[name]]:
            raise ExportError(f"{out} holds another set of clips, of other {differing[0]}: choose another folder")
    known = {clip.file for clip in export.clips}
    if strangers := sorted(path.name for path in (out / VIDEOS).iterdir() if path.name not in known):
        raise ExportError(f"{out / VIDEOS} holds '{strangers[0]}', which is no clip of this set: move it away")


def _place(source: Path, target: Path, sha256: str) -> None:
    """Link or copy one clip, whole, and only if it is the clip that its manifest says."""
    if not source.is_file() or file_hash(source) != sha256:
        raise ExportError(f"{source} is not the clip that its manifest speaks of: sample it again")
    if target.exists():
        if os.path.samefile(source, target) or file_hash(target) == sha256:
            return
        raise ExportError(f"{target} is another clip than {source}: export into an empty folder")
    try:
        os.link(source, target)
    except OSError:
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    scratch = target.parent.parent / f".{VIDEOS}-scratch"
    try:
        shutil.copyfile(source, scratch)
        os.replace(scratch, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {advice(error) or error}") from error
    finally:
        scratch.unlink(missing_ok=True)
