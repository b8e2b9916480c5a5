"""What a run says: one JSON line per cycle always, TensorBoard where installed, and progress that suits the output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG = "log.jsonl"
"""In a stage's folder: a line for every cycle."""


class Display(Protocol):
    """Where a person watches a run."""

    def begin(self, label: str, done: int, total: int) -> None:
        """A piece of work starts, or continues from `done`."""
        ...

    def advance(self, done: int, note: str = "") -> None:
        """`done` of the work is finished."""
        ...

    def say(self, line: str) -> None:
        """Something worth a line of its own."""
        ...

    def close(self) -> None: ...


class BarDisplay:
    """A progress bar with the time left, on a terminal."""

    def __init__(self, console: Console | None = None):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=console)
        self.task: Any = None

    def begin(self, label: str, done: int, total: int) -> None:
        if self.task is None:
            self.progress.start()
        self.task = self.progress.add_task(label, total=total, completed=done, note="")

    def advance(self, done: int, note: str = "") -> None:
        self.progress.update(self.task, completed=done, note=note)

    def say(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self.progress.stop()


class LineDisplay:
    """A line every few seconds, for files and pipes."""

    def __init__(self, seconds: float = 15.0, stream: Any = None):
        self.seconds, self.stream = seconds, stream or sys.stderr
        self.label, self.first, self.total = "", 0, 0
        self.began = self.last = time.monotonic()

    def begin(self, label: str, done: int, total: int) -> None:
        self.label, self.first, self.total = label, done, total
        self.began = self.last = time.monotonic()
        self.say(f"{label}: {done}/{total}")

    def advance(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self.last < self.seconds and done < self.total:
            return
        self.last = now
        left = (now - self.began) / max(1, done - self.first) * (self.total - done)
        self.say(f"{self.label}: {done}/{self.total}, {_clock(left)} left{', ' + note if note else ''}")

    def say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)

    def close(self) -> None:
        pass


def make_display(seconds: float = 15.0) -> Display:
    """A bar on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    return BarDisplay(console) if console.is_terminal else LineDisplay(seconds)


class RunLog:
    """`log.jsonl` of a stage and, where TensorBoard is installed, its event files.

    A resumed run forgets the lines past its checkpoint, so that each cycle has one line.
    """

    def __init__(self, folder: Path, resumed_at: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LOG
        kept = [line for line in read_log(self.path) if line["cycle"] <= resumed_at]
        scratch = self.path.with_suffix(".part")
        scratch.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        scratch.replace(self.path)
        self.file = self.path.open("a", encoding="utf-8")
        self.board = _tensorboard(folder / "tensorboard", resumed_at)

    def write(self, cycle: int, signals: Mapping[str, float], **more: Any) -> None:
        """One line: the cycle's number, its signals, and whatever else there is to say."""
        self.file.write(json.dumps({"cycle": cycle, **{k: _number(v) for k, v in signals.items()}, **more}) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in signals.items():
                self.board.add_scalar(name, value, cycle)

    def close(self) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a kill cut short is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def _tensorboard(folder: Path, resumed_at: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else None)


def _number(value: float) -> float | None:
    """Six significant digits; JSON knows no NaN."""
    return float(f"{value:.6g}") if value == value and abs(value) != float("inf") else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
