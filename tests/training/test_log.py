"""One JSON line per cycle, also across a kill; plain progress lines where there is no terminal."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

from fewstep.training.log import LineDisplay, RunLog, read_log


def test_each_cycle_has_one_line_after_a_resume_from_an_earlier_checkpoint(tmp_path: Path) -> None:
    with closing(RunLog(tmp_path)) as log:
        for cycle in (1, 2, 3):
            log.write(cycle, {"generator/loss": 0.1 * cycle})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"cycle": 4, "gen')
    with closing(RunLog(tmp_path, resumed_at=2)) as log:
        log.write(3, {"generator/loss": float("nan")}, batches=7)
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["cycle"] for line in lines] == [1, 2, 3]
    assert lines[2] == {"cycle": 3, "generator/loss": None, "batches": 7}


def test_lines_come_no_more_often_than_asked_and_always_at_the_end() -> None:
    out = io.StringIO()
    display = LineDisplay(seconds=1000, stream=out)
    display.begin("asd", 0, 3)
    for done in (1, 2, 3):
        display.advance(done, "loss 1.0")
    assert out.getvalue().splitlines() == ["asd: 0/3", "asd: 3/3, 0:00 left, loss 1.0"]
