from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewstep.evaluation.clip_folder import ClipError, ClipFolder, FolderError, open_folders
from fewstep.manifest import MANIFEST
from fewstep.video import write_video


def ramp(frames: int = 9, height: int = 32, width: int = 48) -> np.ndarray:
    """A clip that brightens from left to right and with time."""
    rows = np.linspace(20, 200, width)[None, None, :, None] + 3.0 * np.arange(frames)[:, None, None, None]
    return np.broadcast_to(rows, (frames, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("enlarge", [1, 2])
@pytest.mark.parametrize("size", [(32, 48), (31, 33)])
def test_a_clip_is_read_at_its_own_size(tmp_path: Path, add_clip: Callable, enlarge: int, size: tuple[int, int]):
    frames = ramp(9, *size)
    entry = add_clip(tmp_path, frames, prompt="a ramp", fps=8.0, enlarge=enlarge)
    clip = ClipFolder.open(tmp_path).read(entry)
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).mean() < 1.5
    assert (clip.fps, clip.prompt, clip.begins_with) == (8.0, "a ramp", None)


def test_clips_come_in_the_order_of_prompts_then_seeds(tmp_path: Path, add_clip: Callable, grey: Callable):
    for index, seed in ((1, 1), (0, 1), (1, 0), (0, 0)):
        add_clip(tmp_path, grey(50, 2), index, seed)
    folder = ClipFolder.open(tmp_path / MANIFEST)
    assert [(e.settings.index, e.settings.seed) for e in folder.entries] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert folder.prompts == {0: "a red ball", 1: "a blue square"}


def test_the_picture_that_a_clip_was_given_comes_with_it_if_it_is_still_the_same(tmp_path: Path, add_clip: Callable):
    picture = ramp()[0]
    entry = add_clip(tmp_path, ramp(), picture=picture)
    folder = ClipFolder.open(tmp_path)
    assert np.array_equal(folder.read(entry).begins_with, picture)
    (tmp_path / "begin-000.png").write_bytes(b"another")
    assert folder.read(entry).begins_with is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def again(frames: np.ndarray, fps: float = 16.0) -> Callable[[Path], object]:
    return lambda path: write_video(path, frames, fps)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (Path.unlink, "is missing"),
        (cut, "cannot be decoded"),
        (again(ramp(8)), "must have 9 frames by its manifest, it has 8"),
        (again(ramp(), 24.0), "must run at 16 frames/s by its manifest, it has 24"),
        (again(ramp(9, 32, 64)), "must be 48x32 by its manifest, it is 64x32"),
        (again(255 - ramp()), "was changed after its manifest was written"),
    ],
)
def test_a_clip_that_is_not_what_its_manifest_says_is_refused_with_the_reason(
    tmp_path: Path, add_clip: Callable, harm: Callable, reason: str
):
    entry = add_clip(tmp_path, ramp())
    folder = ClipFolder.open(tmp_path)
    folder.check(entry)
    harm(tmp_path / entry.file)
    for use in (folder.read, folder.check):
        with pytest.raises(ClipError, match=reason):
            use(entry)


@pytest.mark.parametrize("name", ["empty", "none", "clip.mp4"])
def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="fewstep sample"):
        ClipFolder.open(tmp_path / name)


def test_the_hash_of_the_prompts_depends_on_texts_and_numbers_only(tmp_path: Path, add_clip: Callable, grey: Callable):
    def name(folder: str, **options: object) -> str:
        add_clip(tmp_path / folder, grey(40, 2), **options)
        return ClipFolder.open(tmp_path / folder).prompts_hash

    same = name("a", prompt="x")
    assert name("b", prompt="x", seed=5) == same
    assert len({same, name("c", prompt="y"), name("d", prompt="x", index=1)}) == 3


def test_folders_of_one_name_are_told_apart_and_one_folder_stands_once(
    tmp_path: Path, add_clip: Callable, grey: Callable
):
    paths = [tmp_path / "a" / "clips", tmp_path / "b" / "clips", tmp_path / "other"]
    for path in paths:
        add_clip(path, grey(40, 2))
    assert [folder.name for folder in open_folders(paths)] == [str(paths[0]), str(paths[1]), "other"]
    with pytest.raises(FolderError, match="one twice"):
        open_folders([paths[0], paths[1] / ".." / ".." / "a" / "clips"])
