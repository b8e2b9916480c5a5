from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewstep.evaluation.adopt import adopt
from fewstep.evaluation.clip_folder import ClipFolder, FolderError
from fewstep.manifest import MANIFEST
from fewstep.video import write_video


def test_clips_of_others_are_described_by_their_files(tmp_path: Path, grey: Callable):
    names = ("a red ball-1.mp4", "a red ball-0.mp4", "a 4-leaf clover.gif", "take-2 of three-17.mp4")
    for number, name in enumerate(names):
        brighter = 10 * np.arange(5, dtype=np.uint8)[:, None, None, None]
        write_video(tmp_path / name, grey(40 + 10 * number, 5) + brighter, 10)
    (tmp_path / "broken-0.mp4").write_bytes(b"no video")
    (tmp_path / "notes.txt").write_text("not a clip")
    refused = adopt(tmp_path)
    assert list(refused) == ["broken-0.mp4"]
    folder = ClipFolder.open(tmp_path)
    told = {entry.file: (entry.settings.prompt, entry.settings.seed) for entry in folder.entries}
    assert told == dict(
        zip(names, (("a red ball", 1), ("a red ball", 0), ("a 4-leaf clover", 0), ("take-2 of three", 17)), strict=True)
    )
    assert folder.prompts == {0: "a 4-leaf clover", 1: "a red ball", 3: "take-2 of three"}
    assert all(folder.read(entry).frames.shape == (5, 32, 32, 3) for entry in folder.entries)
    before = (tmp_path / MANIFEST).read_bytes()
    assert adopt(tmp_path) == {}
    assert (tmp_path / MANIFEST).read_bytes() == before


def test_a_folder_without_clips_gets_no_manifest(tmp_path: Path):
    with pytest.raises(FolderError, match="has none"):
        adopt(tmp_path)
    assert not list(tmp_path.iterdir())
