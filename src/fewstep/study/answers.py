"""What raters said: one answer per rater and pair, from the server's log and from the files that pages save."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from fewstep.files import append_line, whole_lines
from fewstep.study.pairs import Study

LOG = "answers.jsonl"
"""The server's, in the study's folder."""
LONGEST_NAME = 60

Choice = Literal["left", "right", "similar", "skipped"]
"""`skipped` is a pair that could not be played."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One rater's verdict on one pair, as it was shown."""

    study: str
    """Identity of the study."""
    rater: str
    pair: str
    left: str
    """Blinded name of the clip that was shown on the left."""
    right: str
    choice: Choice
    seconds: float
    """From the clips' start to the choice."""
    at: str
    """When, in UTC: `2026-11-20T10:00:00.000Z`. Of two answers to one pair the later counts."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def check_answer(plain: Any, study: Study) -> Answer:
    """An answer of this study from parsed JSON. Raises ValueError for everything else, saying what is wrong."""
    names = {field.name for field in fields(Answer)}
    if not isinstance(plain, dict) or plain.keys() != names:
        raise ValueError(f"an answer has {', '.join(sorted(names))}, got {_shorten(plain)}")
    if plain["study"] != study.identity:
        raise ValueError(f"an answer of study {study.identity} is required, got one of {_shorten(plain['study'])}")
    rater, pair = plain["rater"], study.by_name.get(str(plain["pair"]))
    if not (isinstance(rater, str) and 0 < len(rater.strip()) <= LONGEST_NAME and rater.isprintable()):
        raise ValueError(f"a rater's name has 1 to {LONGEST_NAME} printable characters, got {_shorten(rater)}")
    if pair is None:
        raise ValueError(f"a pair of the study is required, got {_shorten(plain['pair'])}")
    if sorted([str(plain["left"]), str(plain["right"])]) != sorted([pair.first.clip, pair.second.clip]):
        raise ValueError(f"the clips of {pair.name} are required, got {_shorten([plain['left'], plain['right']])}")
    if plain["choice"] not in get_args(Choice):
        raise ValueError(f"a choice is one of {', '.join(get_args(Choice))}, got {_shorten(plain['choice'])}")
    seconds = plain["seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be 0 or more, got {_shorten(seconds)}")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(plain["at"])):
        raise ValueError(f"a time such as 2026-11-20T10:00:00.000Z is required, got {_shorten(plain['at'])}")
    return Answer(**plain)


def newest(answers: Iterable[Answer]) -> list[Answer]:
    """One answer per rater and pair: the last one given, by rater and then in the order of giving."""
    kept: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        known = kept.setdefault((answer.rater, answer.pair), answer)
        if answer.at > known.at:
            kept[answer.rater, answer.pair] = answer
    return sorted(kept.values(), key=lambda answer: (answer.rater, answer.at))


def read_answers(paths: Sequence[Path | str], study: Study) -> list[Answer]:
    """All answers of the files, of which each is a server's log, a page's file, or a folder with a log or such files.

    Raises ValueError, naming the file, for one that cannot be read or holds answers of another study.
    """
    files = [file for path in paths for file in _files(Path(path))]
    found: list[Answer] = []
    for file in files:
        try:
            found += [check_answer(plain, study) for plain in _parse(file)]
        except OSError as error:
            raise ValueError(f"a file of answers is required, '{file}' cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"'{file}' does not hold answers of this study: {error}") from error
    return newest(found)


class AnswerLog:
    """The server's log: a line per answer, on the disk before the rater is told so; nothing is ever overwritten."""

    def __init__(self, folder: Path | str, study: Study):
        self.path, self.study, self._lock = Path(folder) / LOG, study, threading.Lock()
        # a line that a crash cut off was never confirmed: its page still has it, and sends it again
        self._answers = read_answers([self.path], study) if self.path.is_file() else []

    def add(self, answers: Sequence[Answer]) -> None:
        """Append, and see it on the disk. Raises OutputError."""
        with self._lock:
            if answers:
                append_line(self.path, "\n".join(answer.to_json() for answer in answers))
            self._answers += answers

    def of(self, rater: str) -> list[Answer]:
        """What one rater has said so far."""
        with self._lock:
            return newest(answer for answer in self._answers if answer.rater == rater)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [path / LOG] if (path / LOG).is_file() else sorted(path.glob("answers*.json"))
    if not found:
        raise ValueError(f"answers are required, '{path}' has neither {LOG} nor answers*.json: name the files")
    return found


def _parse(path: Path) -> list[Any]:
    """The answers of a log, one to a line, or of a page's file, which is one document."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in whole_lines(path)]
    return list(json.loads(path.read_text(encoding="utf-8"))["answers"])


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
