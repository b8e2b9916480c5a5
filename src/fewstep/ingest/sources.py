"""Which files are to be read, and what each shows."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

# fmt: off
SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
    ".ts", ".webm", ".webp", ".wmv",
})
# fmt: on
"""Of the files that are taken from a folder; a file that is named itself may end in anything."""
TABLES = (".csv", ".json", ".jsonl", ".txt")
FILE_FIELDS = ("file", "file_name", "path", "video", "video_path", "clip", "name", "id")
"""What the column of file names may be called; the first that is there counts."""
CAPTION_FIELDS = ("caption", "text", "prompt")


class CaptionError(ValueError):
    """A caption file that cannot be read, or contradicts itself."""


@dataclass(frozen=True)
class Source:
    """A file to read."""

    path: Path
    name: str
    """Relative to the folder that was named, with slashes; what captions and the report call it."""


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """All videos below the folders, and the files, in the order of their names. Raises ValueError where there is none.

    Where several folders are named, each one's name comes before those of its files.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        if path.is_dir():
            before = path.resolve().name if len(paths) > 1 else ""
            for file in _videos(path):
                name = PurePosixPath(before, file.relative_to(path).as_posix())
                found.setdefault(file.resolve(), Source(file, str(name)))
        elif path.is_file():
            found.setdefault(path.resolve(), Source(path, path.name))
        else:
            raise ValueError(f"folders or files were required, '{path}' is neither: check the name")
    if not found:
        given = ", ".join(map(str, paths))
        raise ValueError(f"no video in {given}: a folder's files must end in {', '.join(sorted(SUFFIXES))}")
    if twice := [name for name, times in Counter(source.name for source in found.values()).items() if times > 1]:
        raise ValueError(f"{len(twice)} names stand for two files, the first is {twice[0]}: name their common folder")
    return sorted(found.values(), key=lambda source: source.name)


def read_captions(sources: Sequence[Source], where: Path | None = None) -> tuple[dict[str, str], dict[str, str]]:
    """Captions by the sources' names; and for those that have none, why.

    `where` is a table (.csv, .json, .jsonl, or a .txt of lines `file TAB caption`) or a folder of files named like the
    clips; None looks beside the clips. A table names a clip by its path, by its file name, or by that without its
    ending, where these are unmistakable. Raises CaptionError.
    """
    if where is not None and not where.exists():
        raise CaptionError(f"captions must be a file or a folder, there is none at '{where}': check the name")
    if where is None or where.is_dir():
        return _beside(sources, where)
    return _matched(sources, _read_table(where), where)


def _videos(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in SUFFIXES and file.is_file() and not hidden:
            yield file


def _beside(sources: Sequence[Source], where: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    captions, without = {}, {}
    for source in sources:
        stem = (source.path if where is None else where / source.name).with_suffix("")
        files = [file for ending in (".txt", ".json") if (file := stem.with_name(stem.name + ending)).is_file()]
        if not files:
            without[source.name] = f"no caption: neither {stem.name}.txt nor {stem.name}.json"
        elif text := _clean(_read(files[0]) if files[0].suffix == ".txt" else _caption(_json(files[0]), files[0])):
            captions[source.name] = text
        else:
            without[source.name] = f"no caption: {files[0].name} is empty"
    return captions, without


def _matched(sources: Sequence[Source], rows: Iterable[tuple[str, str]], where: Path) -> tuple[dict, dict]:
    table: dict[str, str] = {}
    for file, caption in rows:
        key = file.strip().replace("\\", "/").removeprefix("./")
        if table.setdefault(key, _clean(caption)) != _clean(caption):
            raise CaptionError(f"{where} has two captions for {key!r}: leave one")
    shared = Counter(name for source in sources for name in _names(source)[1:])
    captions, without = {}, {}
    for source in sources:
        path, *short = _names(source)
        named = next((name for name in (path, *short) if name in table), None)
        if named is None:
            without[source.name] = f"no caption in {where.name}"
        elif named != path and shared[named] > 1:
            without[source.name] = f"{where.name} names {named!r}, which {shared[named]} files could be: give the path"
        elif not table[named]:
            without[source.name] = f"its caption in {where.name} is empty"
        else:
            captions[source.name] = table[named]
    return captions, without


def _names(source: Source) -> tuple[str, ...]:
    """What a table may call a clip, the most exact first."""
    path = PurePosixPath(source.name)
    return tuple(dict.fromkeys((source.name, str(path.with_suffix("")), path.name, path.stem)))


def _read_table(path: Path) -> list[tuple[str, str]]:
    """File and caption of each row."""
    kind = path.suffix.lower()
    if kind not in TABLES:
        raise CaptionError(f"captions come as {', '.join(TABLES)} or as a folder, got '{path}': change the ending")
    if kind == ".txt":
        lines = [line for line in _read(path).splitlines() if line.strip()]
        if bad := next((line for line in lines if "\t" not in line), None):
            raise CaptionError(f"each line of {path} must be `file TAB caption`, got {bad[:60]!r}")
        return [(file, caption) for file, _, caption in (line.partition("\t") for line in lines)]
    if kind == ".csv":
        return [_row(row, path) for row in csv.DictReader(_read(path).splitlines(keepends=True))]
    if kind == ".jsonl":
        lines = [line for line in _read(path).splitlines() if line.strip()]
        return [_row(_parsed(line, f"line {number} of {path}"), path) for number, line in enumerate(lines, start=1)]
    content = _json(path)
    if isinstance(content, dict):
        return [(file, value if isinstance(value, str) else _caption(value, path)) for file, value in content.items()]
    if isinstance(content, list):
        return [_row(row, path) for row in content]
    raise CaptionError(f"{path} must be a list of objects, or an object of file names and captions")


def _row(row: Any, path: Path) -> tuple[str, str]:
    file = _field(row, FILE_FIELDS, path)
    return file, _caption(row, path)


def _caption(row: Any, path: Path) -> str:
    return row if isinstance(row, str) else _field(row, CAPTION_FIELDS, path)


def _field(row: Any, names: Sequence[str], path: Path) -> str:
    value = next((row[name] for name in names if name in row), None) if isinstance(row, Mapping) else None
    if not isinstance(value, str):
        raise CaptionError(f"each entry of {path} needs a text called {' or '.join(names)}, got {str(row)[:80]}")
    return value


def _clean(caption: str) -> str:
    """One line, single spaces."""
    return " ".join(caption.split())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise CaptionError(f"{path} must be readable text in UTF-8: {error}") from error


def _json(path: Path) -> Any:
    return _parsed(_read(path), str(path))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CaptionError(f"{where} must be JSON: {error}") from error
