"""What the clips of a folder are: a line of JSON for each, written when the clip itself is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fewstep.files import append_line, whole_lines

PREFIX = "manifest"
MANIFEST = f"{PREFIX}.jsonl"


class ManifestError(ValueError):
    """A manifest that is damaged, or speaks of other clips than those asked for."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a clip depends on: the same settings make the same clip."""

    prompt: str
    seed: int
    index: int
    """Number of the prompt, from 0; it names the noise together with the seed."""
    batch: tuple[int, int]
    """First prompt and count of the clips that were made at once: the noise between steps is drawn for all of them."""
    model: str
    fingerprint: Mapping[str, str]
    """Of the weights of each part."""
    sampling: Mapping[str, Any]
    """How the latents were sampled: noise levels, chunks and context, or steps, shift and guidance."""
    negative_prompt: str | None
    """What guidance led away from, where there was any."""
    begins_with: str | None
    """File name and hash of the picture or clip that it begins with."""
    frames: int
    """Pictures."""
    height: int
    """Pixels, before they were enlarged."""
    width: int
    """Pixels, before they were enlarged."""
    enlarge: int
    """Each pixel was repeated this many times in both directions."""
    fps: float
    dtype: str
    tile: int | None = None
    """Side of the tiles that the autoencoder worked in, in pixels."""
    scene: Mapping[str, Any] | None = None
    """What the prompt stands for, exactly, where it comes from ShapeWorld: `scene` and the `world` of its clips."""

    def difference(self, other: Settings) -> dict[str, tuple[Any, Any]]:
        """Both values of each field, or field of a field, in which the two differ."""
        mine, theirs = _flat(asdict(self)), _flat(asdict(other))
        pairs = {name: (mine.get(name), theirs.get(name)) for name in mine | theirs}
        return {name: (a, b) for name, (a, b) in pairs.items() if a != b}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One clip."""

    file: str
    """Name in the folder."""
    sha256: str
    """Of the file."""
    settings: Settings
    network_evaluations: int
    """Passes that predict a velocity."""
    commits: int
    """Passes that write finished chunks to the cache."""
    seconds: Mapping[str, float]
    """Wall clock by part, and `total`."""

    def to_json(self) -> str:
        """One line, the settings' fields among the others."""
        plain = asdict(self)
        return json.dumps({"file": plain.pop("file"), **plain.pop("settings"), **plain}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Entry:
        """Inverse of `to_json`. Raises ValueError, KeyError or TypeError for a line that is none."""
        plain = dict(json.loads(line))
        optional = {each.name for each in fields(Settings) if each.default is not MISSING} - plain.keys()
        told = (each.name for each in fields(Settings) if each.name not in optional)
        settings = Settings(**{name: plain.pop(name) for name in told})
        return cls(settings=settings, **plain)


class Manifest:
    """The manifest of a folder, which need not exist yet; entries of the same file replace each other.

    Each of several processes that fill one folder appends to a file of its own (`manifest.2of4.jsonl`), so that no line
    is torn, and reads those of all: together they are the manifest.
    """

    def __init__(self, folder: Path | str, shard: tuple[int, int] = (0, 1)):
        """`shard` is (number from 0, count) of the process that will add to it."""
        self.folder = Path(folder)
        number, count = shard
        self.path = self.folder / (MANIFEST if count == 1 else f"{PREFIX}.{number + 1}of{count}.jsonl")
        files = sorted(self.folder.glob(f"{PREFIX}*.jsonl"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        self.entries = {entry.file: entry for file in files for entry in _read(file)}

    def has(self, file: str, settings: Settings) -> bool:
        """Whether the clip is there, whole, as these settings make it.

        Raises ManifestError when other settings made it.
        """
        entry = self.entries.get(file)
        if entry is None:
            return False
        if differences := entry.settings.difference(settings):
            changes = ", ".join(f"{name} {there!r}, not {asked!r}" for name, (there, asked) in differences.items())
            raise ManifestError(
                f"the manifest in {self.folder} says that {file} was made with {changes}: "
                "write into another folder, or delete the older clips with their manifest"
            )
        path = self.folder / file
        return path.is_file() and file_hash(path) == entry.sha256

    def add(self, entry: Entry) -> None:
        """Append a line, and see it on the disk. Raises OutputError."""
        append_line(self.path, entry.to_json())
        self.entries[entry.file] = entry


def _read(path: Path) -> list[Entry]:
    """All whole lines. A last one that is not is made again, or is being written."""
    entries = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            entries.append(Entry.from_json(line))
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(
                f"{path} has a line {number} that describes no clip ({type(error).__name__}: {error}): "
                "write into another folder, or delete the line"
            ) from error
    return entries


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_file(path: Path) -> str:
    """`picture.png 2cf24dba…`: name and hash of a file (`Settings.begins_with`)."""
    return f"{path.name} {file_hash(path)}"


def _flat(fields: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested fields under dotted names; tuples are lists, as they are after a round trip through JSON."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = list(value) if isinstance(value, tuple) else value
    return flat
