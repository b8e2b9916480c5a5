"""Checkpoints appear whole, the newest readable one wins, and old ones go."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from fewstep.files import OutputError
from fewstep.training.checkpoint import load_newest, save_checkpoint, saved_steps


def save(folder: Path, *steps: int, keep: int = 2) -> None:
    for step in steps:
        save_checkpoint(folder, {"step": step, "weights": torch.full((100,), float(step))}, step, keep)


def test_the_newest_come_back_and_older_ones_are_dropped(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30)
    assert saved_steps(tmp_path) == [20, 30]
    assert load_newest(tmp_path, print)["step"] == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cycle-00000020.pt", "cycle-00000030.pt"]


def test_a_truncated_checkpoint_falls_back_to_the_one_before_with_a_warning(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    newest = tmp_path / "cycle-00000020.pt"
    newest.write_bytes(newest.read_bytes()[:300])
    warnings: list[str] = []
    assert load_newest(tmp_path, warnings.append)["step"] == 10
    assert len(warnings) == 1
    assert "cycle-00000020.pt cannot be read" in warnings[0]


def test_what_a_kill_left_behind_is_swept_away(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (tmp_path / ".cycle-00000020-abc.pt").write_bytes(b"half")
    assert load_newest(tmp_path, print)["step"] == 10
    assert [path.name for path in tmp_path.iterdir()] == ["cycle-00000010.pt"]


def test_no_folder_or_no_readable_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "none", print) is None
    (tmp_path / "cycle-00000001.pt").write_bytes(b"")
    assert load_newest(tmp_path, lambda line: None) is None


def test_a_full_disk_is_one_clear_error_and_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cycle-00000020\.pt: the file would exceed the size limit"):
            save_checkpoint(tmp_path, {"weights": torch.zeros(100_000)}, 20, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["cycle-00000010.pt"]


def test_a_broken_newer_checkpoint_does_not_push_out_the_good_ones(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    (tmp_path / "cycle-00000020.pt").write_bytes(b"half")
    load_newest(tmp_path, lambda line: None)
    save(tmp_path, 15, keep=1)
    assert saved_steps(tmp_path) == [15]
