"""Names for what a number came from: hashes of models, the commit of the code."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from fewstep.models.fingerprint import DIGITS, module_fingerprint
from fewstep.pipeline import Pipeline

SAMPLING = ("kind", "layout", "levels", "schedule", "shift", "guidance", "context", "negative_prompt", "latent_frames")
"""Fields of the passport that a clip depends on."""


def fingerprint(pipeline: Pipeline) -> str:
    """Twelve hexadecimal digits that name a model's weights and the settings that it samples with."""
    settings = [(name, getattr(pipeline.passport, name)) for name in SAMPLING]
    parts = [repr(settings), *map(module_fingerprint, (pipeline.net, pipeline.vae, pipeline.text_encoder))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]


def git_commit() -> str | None:
    """Commit of this package's code, with a plus where its files have changed since; None outside a repository."""
    package = Path(__file__).parents[1]
    try:
        commit = _git(package, "rev-parse", f"--short={DIGITS}", "HEAD")
        return commit + ("+" if _git(package, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
