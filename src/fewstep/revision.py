"""Which code runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent


def git_commit(package: Path = PACKAGE) -> str | None:
    """Commit of this package's code, with a plus where its files have changed since; None outside a repository."""
    try:
        commit = _git(package, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(package, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
