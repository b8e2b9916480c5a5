"""The commit of the code, and the mark of a changed tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fewstep.recipes import teacher
from fewstep.revision import git_commit
from fewstep.training.export import make_passport


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_commit_has_a_plus_once_files_of_its_folder_have_changed(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    (tmp_path / "notes").write_text("not of the package\n")
    assert git_commit(package) == head
    (package / "code.py").write_text("2\n")
    assert git_commit(package) == head + "+"


def test_a_passport_tells_the_same_commit_as_a_measurement() -> None:
    recipe = teacher.tiny()
    assert make_passport(recipe, recipe.stages[-1], 1, {}).commit == git_commit()
