"""A folder of clips as measures read it: what the manifest says is there, and whether the files agree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fewstep.manifest import MANIFEST, Entry, Manifest, file_hash, named_file
from fewstep.metrics.base import Clip
from fewstep.pictures import PICTURES, read_picture
from fewstep.video import read_video, shrink

RATE = 0.02
"""Share by which a file's rate may differ from the manifest's: GIF counts in hundredths of a second."""
NAME = 12
"""Hexadecimal digits of a set of prompts."""


class ClipError(ValueError):
    """A clip that is not what its manifest says."""


class FolderError(ValueError):
    """A folder that holds no clips with a manifest."""


@dataclass(frozen=True)
class ClipFolder:
    """Clips and their manifest. Nothing but the manifest says what they are."""

    path: Path
    entries: tuple[Entry, ...]
    """In the order of prompts, then seeds."""
    label: str = ""
    """What it is called where its own name is not enough."""

    @classmethod
    def open(cls, path: Path | str) -> ClipFolder:
        """The folder, or the folder of a manifest. Raises FolderError where there is none, ManifestError for damage."""
        path = Path(path)
        folder = path.parent if path.name == MANIFEST else path
        entries = Manifest(folder).entries.values() if folder.is_dir() else ()
        if not entries:
            raise FolderError(
                f"a folder of clips with a {MANIFEST} is required, '{path}' is none: `fewstep sample` makes them"
            )
        return cls(folder, tuple(sorted(entries, key=lambda each: (each.settings.index, each.settings.seed))))

    @property
    def name(self) -> str:
        """What the folder is called in tables."""
        return self.label or self.path.resolve().name

    @cached_property
    def prompts(self) -> dict[int, str]:
        """The prompts by number."""
        return {entry.settings.index: entry.settings.prompt for entry in self.entries}

    @property
    def prompts_hash(self) -> str:
        """Twelve hexadecimal digits that name the prompts and their order."""
        listed = "\n".join(f"{index} {text}" for index, text in sorted(self.prompts.items()))
        return hashlib.sha256(listed.encode()).hexdigest()[:NAME]

    def read(self, entry: Entry) -> Clip:
        """One clip at its own size, with the picture that it was given if the folder holds it.

        Raises ClipError for a file that is missing, unreadable, of other length, rate or size than the manifest says,
        or not the one that it was written for.
        """
        told, path = entry.settings, self.path / entry.file
        if not path.is_file():
            raise ClipError(f"{entry.file} is missing: sample the folder again")
        try:
            video = read_video(path)
        except ValueError as error:
            raise ClipError(f"{entry.file} cannot be decoded ({error.__cause__ or error}): sample it again") from error
        if len(video.frames) != told.frames:
            raise ClipError(f"{entry.file} must have {told.frames} frames by its manifest, it has {len(video.frames)}")
        if abs(video.fps - told.fps) > RATE * told.fps:
            raise ClipError(f"{entry.file} must run at {told.fps:g} frames/s by its manifest, it has {video.fps:g}")
        height, width = told.height * told.enlarge, told.width * told.enlarge
        found = video.frames.shape[1:3]
        if found not in ((height, width), (height + height % 2, width + width % 2)):
            raise ClipError(f"{entry.file} must be {width}x{height} by its manifest, it is {found[1]}x{found[0]}")
        if file_hash(path) != entry.sha256:
            raise ClipError(f"{entry.file} was changed after its manifest was written: sample it again")
        frames, picture = shrink(video.frames[:, :height, :width], told.enlarge), self.picture(entry)
        return Clip(frames, told.fps, told.prompt, None if picture is None else read_picture(picture))

    def check(self, entry: Entry) -> None:
        """Raise ClipError, as `read` does, for a clip that is not there as it was made; a good one is not decoded."""
        path = self.path / entry.file
        if not path.is_file() or file_hash(path) != entry.sha256:
            self.read(entry)

    def picture(self, entry: Entry) -> Path | None:
        """The picture that a clip was given, where the folder holds it."""
        told = entry.settings.begins_with
        if told is None:
            return None
        path = self.path / told.rpartition(" ")[0]
        return path if path.is_file() and path.suffix.lower() in PICTURES and named_file(path) == told else None


def open_folders(paths: Sequence[Path]) -> list[ClipFolder]:
    """Folders by path; those of one name are called by their paths. Raises FolderError, also for one folder twice."""
    folders = [ClipFolder.open(path) for path in paths]
    if len({folder.path.resolve() for folder in folders}) < len(folders):
        raise FolderError(f"different folders are required, got one twice among {', '.join(map(str, paths))}: drop it")
    names = [folder.name for folder in folders]
    return [replace(each, label=str(each.path)) if names.count(each.name) > 1 else each for each in folders]
