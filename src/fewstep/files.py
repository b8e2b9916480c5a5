"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


class OutputError(ValueError):
    """A result that could not be written; nothing of it is left behind."""


@contextlib.contextmanager
def atomic_output(path: Path | str) -> Iterator[Path]:
    """A scratch path beside `path`, with its suffix, that becomes `path` when the body ends and vanishes if it fails.

    Raises OutputError for every failure of the file system, naming the cause: folder, permission, space.
    """
    path = Path(path)
    scratch: Path | None = None
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        scratch = Path(name)
        yield scratch
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, path)
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with atomic_output(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def append_line(path: Path | str, line: str) -> None:
    """Add a line to a UTF-8 text file and see it on the disk; what a crash has left of an earlier one goes.

    One process at a time may append to a file. Raises OutputError.
    """
    path = Path(path)
    try:
        with path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            if file.read() not in (b"", b"\n"):
                file.truncate(len(_whole(path.read_bytes())))
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(_explain(path, error)) from error


def whole_lines(path: Path | str) -> list[str]:
    """The lines of a UTF-8 text file, but for a last one that has no end: it is cut off, or just being written."""
    return _whole(Path(path).read_bytes()).decode(errors="replace").split("\n")[:-1]


def _whole(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def require_writable(path: Path | str) -> None:
    """Raise OutputError before long work starts if `path` could not be written when it ends."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(_explain(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{path.stem}-", dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(_explain(path, error)) from error


def advice(error: OSError) -> str | None:
    """What is wrong with the file system and what to do about it, for the causes that a user can remove."""
    return {
        errno.ENOSPC: "the disk is full: free some space or choose another disk",
        errno.EDQUOT: "the disk quota is used up: free some space or choose another disk",
        errno.EFBIG: "the file would exceed the size limit: raise the limit or write less",
        errno.EISDIR: "a file name is required, this is a folder: add a file name",
        errno.EEXIST: "a parent of it is a file, not a folder: choose another folder",
        errno.ENOTDIR: "a parent of it is a file, not a folder: choose another folder",
        errno.EACCES: "no permission: choose a folder you may write to",
        errno.EPERM: "no permission: choose a folder you may write to",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    }.get(error.errno or 0)


def _explain(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {advice(error) or f'{error.strerror or error}: choose another folder'}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
