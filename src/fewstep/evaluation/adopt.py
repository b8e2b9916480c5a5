"""A manifest for clips that others made, from the files alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fewstep.evaluation.clip_folder import FolderError
from fewstep.manifest import MANIFEST, Entry, Manifest, Settings, file_hash
from fewstep.video import read_video

VIDEOS = (".mp4", ".gif", ".webp", ".webm", ".mov", ".mkv", ".avi", ".m4v")
UNKNOWN = "unknown"
Watch = Callable[[int], Callable[[int], None]]
"""Told how many clips there are, it gives who hears of clips done."""


def adopt(
    folder: Path, watch: Callable[[int], Callable[[int], None]] = lambda clips: lambda done: None
) -> dict[str, str]:
    """Write the manifest of a folder that has none; returns the files that are no clips, and why.

    A file is called `{prompt}-{seed}`, as VBench names them, or just by its prompt; prompts are numbered in the order
    of their names. Raises FolderError for a folder without clips.
    """
    if Manifest(folder).entries:
        return {}
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in VIDEOS)
    told = [_told(path) for path in files]
    numbers = {prompt: number for number, prompt in enumerate(sorted({prompt for prompt, _ in told}))}
    advance, found, refused = watch(len(files)), list[Entry](), dict[str, str]()
    for path, (prompt, seed) in zip(files, told, strict=True):
        try:
            found.append(_entry(path, prompt, numbers[prompt], seed))
        except ValueError as error:
            refused[path.name] = str(error)
        advance(1)
    if not found:
        raise FolderError(
            f"a folder of clips is required to write a {MANIFEST} for, '{folder}' has none: check the name"
        )
    manifest = Manifest(folder)
    for entry in found:
        manifest.add(entry)
    return refused


def _told(path: Path) -> tuple[str, int]:
    """Prompt and seed by the file's name."""
    match = re.fullmatch(r"(.+?)-(\d{1,9})", path.stem)
    return (match[1], int(match[2])) if match else (path.stem, 0)


def _entry(path: Path, prompt: str, index: int, seed: int) -> Entry:
    clip = read_video(path)
    frames, height, width, _ = clip.frames.shape
    settings = Settings(
        prompt=prompt,
        seed=seed,
        index=index,
        batch=(index, 1),
        model=UNKNOWN,
        fingerprint={},
        sampling={},
        negative_prompt=None,
        begins_with=None,
        frames=frames,
        height=height,
        width=width,
        enlarge=1,
        fps=clip.fps,
        dtype=UNKNOWN,
    )
    costs = {"network_evaluations": 0, "commits": 0}
    return Entry(file=path.name, sha256=file_hash(path), settings=settings, seconds={}, **costs)
