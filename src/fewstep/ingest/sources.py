"""Which files are to be read, and what each shows."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
Row = tuple[str, str]
"""File and caption."""


class CaptionError(ValueError):
    """A caption file that cannot be read, or contradicts itself."""


@dataclass(frozen=True)
class Source:
    """A file to read."""

    path: Path
    name: str
    """Relative to the folder that was named, with slashes; what captions and the report call it. Bytes that are no
    UTF-8, as archives from other systems have them, are spelled out."""


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """All videos below the folders, and the files, in the order of their names. Raises ValueError where there is none.

    Where several folders are named, each one's name comes before those of its files.
    """
    found: dict[str, Source] = {}
    for path in paths:
        if path.is_dir():
            before = path.resolve().name if len(paths) > 1 else ""
            for file in _videos(path):
                name = PurePosixPath(before, file.relative_to(path).as_posix())
                found.setdefault(os.path.realpath(file), Source(file, _spelled(str(name))))
        elif path.is_file():
            found.setdefault(os.path.realpath(path), Source(path, _spelled(path.name)))
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
    ending, where these are unmistakable. What cannot be read costs the clip its caption and no other. Raises
    CaptionError for a table of which nothing can be read, or that contradicts itself.
    """
    if where is not None and not where.exists():
        raise CaptionError(f"captions must be a file or a folder, there is none at '{where}': check the name")
    if where is None or where.is_dir():
        return _beside(sources, where)
    return _matched(sources, *_read_table(where), where)


def _videos(folder: Path) -> Iterator[Path]:
    """What is named like a video; links to nowhere and folders are among them, so that the report says so."""
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in SUFFIXES and not hidden and (file.is_file() or file.is_dir() or not file.exists()):
            yield file


def _spelled(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _beside(sources: Sequence[Source], where: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    captions, without = {}, {}
    for source in sources:
        stem = (source.path if where is None else where / source.name).with_suffix("")
        name = PurePosixPath(source.name).stem
        files = [file for ending in (".txt", ".json") if (file := stem.with_name(stem.name + ending)).is_file()]
        if not files:
            without[source.name] = f"no caption: neither {name}.txt nor {name}.json"
            continue
        called = f"{name}{files[0].suffix}"
        try:
            content = _read(files[0], called)
            text = _clean(content if files[0].suffix == ".txt" else _caption(_parsed(content, called), called))
        except CaptionError as error:
            without[source.name] = f"no caption: {error}"
            continue
        if text:
            captions[source.name] = text
        else:
            without[source.name] = f"no caption: {called} is empty"
    return captions, without


def _matched(
    sources: Sequence[Source], rows: Iterable[Row], unread: Sequence[CaptionError], where: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """`unread` are the rows that cannot be read: a clip without a caption is perhaps one of theirs."""
    bad = f" ({len(unread)} of its rows cannot be read, the first because {unread[0]})" if unread else ""
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
            without[source.name] = f"no caption in {where.name}{bad}"
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


def _read_table(path: Path) -> tuple[list[Row], list[CaptionError]]:
    """File and caption of each row that can be read, and why the others cannot."""
    parse, entries = _entries(path)
    rows, unread = [], []
    for where, entry in entries:
        try:
            rows.append(parse(entry, where))
        except CaptionError as error:
            unread.append(error)
    if unread and not rows:
        raise unread[0]
    return rows, unread


def _entries(path: Path) -> tuple[Callable[[Any, str], Row], list[tuple[str, Any]]]:
    """What is to be made of each row of a table, and the rows with what to call them."""
    kind, name = path.suffix.lower(), path.name
    if kind not in TABLES:
        raise CaptionError(f"captions come as {', '.join(TABLES)} or as a folder, got '{path}': change the ending")
    text = _read(path, str(path))
    if kind in (".txt", ".jsonl"):
        lines = [(f"line {number} of {name}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        return _tabbed if kind == ".txt" else _json_row, lines
    if kind == ".csv":
        try:
            rows = list(csv.DictReader(text.splitlines(keepends=True)))
        except csv.Error as error:
            raise CaptionError(f"{path} must be comma-separated text: {error}") from error
        return _row, [(f"row {number} of {name}", row) for number, row in enumerate(rows, start=1)]
    content = _parsed(text, str(path))
    if isinstance(content, dict):
        return _pair, [(f"{file!r} of {name}", (file, value)) for file, value in content.items()]
    if isinstance(content, list):
        return _row, [(f"entry {number} of {name}", row) for number, row in enumerate(content, start=1)]
    raise CaptionError(f"{path} must be a list of objects, or an object of file names and captions")


def _tabbed(line: str, where: str) -> Row:
    file, tab, caption = line.partition("\t")
    if not tab:
        raise CaptionError(f"{where} must be `file TAB caption`, got {line[:60]!r}")
    return file, caption


def _json_row(line: str, where: str) -> Row:
    return _row(_parsed(line, where), where)


def _pair(pair: tuple[str, Any], where: str) -> Row:
    return pair[0], _caption(pair[1], where)


def _row(row: Any, where: str) -> Row:
    file = _field(row, FILE_FIELDS, where)
    return file, _caption(row, where)


def _caption(row: Any, where: str) -> str:
    """Empty where the row has none to give."""
    if row is None:
        return ""
    return row if isinstance(row, str) else _field(row, CAPTION_FIELDS, where, empty="")


def _field(row: Any, names: Sequence[str], where: str, empty: str | None = None) -> str:
    """The first of these that the row has; `empty` where there is nothing in it."""
    given = [row[name] for name in names if name in row] if isinstance(row, Mapping) else []
    value = next((each for each in given if each is not None), empty if given else None)
    if not isinstance(value, str):
        raise CaptionError(f"{where} needs a text called {' or '.join(names)}, got {str(row)[:80]}")
    return value


def _clean(caption: str) -> str:
    """One line, single spaces."""
    return " ".join(caption.split())


def _read(path: Path, called: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptionError(f"{called} must be text in UTF-8: {error}") from error
    except OSError as error:
        raise CaptionError(f"{called} must be readable: {error.strerror}") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CaptionError(f"{where} must be JSON: {error}") from error
