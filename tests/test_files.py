from __future__ import annotations

from pathlib import Path

import pytest

from fewstep.files import OutputError, append_line, whole_lines


def test_lines_are_added_whole_and_read_back(tmp_path: Path):
    for line in ("one", "zwei ü \u2028 same line", ""):
        append_line(tmp_path / "x", line)
    assert whole_lines(tmp_path / "x") == ["one", "zwei ü \u2028 same line", ""]


@pytest.mark.parametrize("torn", [b"half", b"a" * 5000, "ü".encode()[:1]])
def test_a_torn_last_line_is_not_read_and_goes_with_the_next_one(tmp_path: Path, torn: bytes):
    append_line(tmp_path / "x", "one")
    with (tmp_path / "x").open("ab") as file:
        file.write(torn)
    assert whole_lines(tmp_path / "x") == ["one"]
    assert (tmp_path / "x").read_bytes().endswith(torn), "reading changes nothing: another process may be writing"
    append_line(tmp_path / "x", "two")
    assert (tmp_path / "x").read_bytes() == b"one\ntwo\n"


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot write"):
        append_line(tmp_path / "none" / "x", "one")
