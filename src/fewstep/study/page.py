"""The raters' page: one HTML file that knows the pairs and the clips, and nothing of the models."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from fewstep.files import atomic_output, write_text
from fewstep.study.pairs import KEY, Drawn, Study, load_study

PAGE = Path("page", "index.html")
"""In the study's folder. What raters get lies in `page`, and nothing else does."""
CLIPS = "clips"
"""Folder beside the page, for clips that are not in it."""
KINDS = {".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp"}
EMBED_MB = 40
"""Clips of up to this many MB in all become part of the page, unless told otherwise."""


def write_study(folder: Path | str, drawn: Drawn, embed: bool | None = None) -> Path:
    """Write the page, its clips where they are not embedded, and the key. Returns the page.

    Raises ValueError where the folder holds another study, whose answers would lose their key; OutputError when
    something cannot be written.
    """
    folder, study = Path(folder), drawn.study
    if (folder / KEY).exists() and load_study(folder).identity != study.identity:
        raise ValueError(f"'{folder}' holds another study, whose answers need its {KEY}: choose another folder")
    if embed is None:
        embed = sum(path.stat().st_size for path in drawn.files.values()) <= EMBED_MB * 1e6
    page = folder / PAGE
    if not embed:
        for clip, path in drawn.files.items():
            with atomic_output(page.parent / CLIPS / f"{clip}{path.suffix.lower()}") as scratch:
                shutil.copyfile(path, scratch)
    write_text(folder / KEY, study.to_json())
    write_text(page, render_page(study, drawn.files, embed))
    return page


def render_page(study: Study, files: Mapping[str, Path], embed: bool) -> str:
    """The page as one HTML text."""
    texts = resources.files("fewstep.study")
    return Template((texts / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(study.title),
        question=escape(study.question),
        css=(texts / "page.css").read_text(encoding="utf-8"),
        script=(texts / "page.js").read_text(encoding="utf-8"),
        study=_inside_script(_blinded(study, files, embed)),
    )


def _blinded(study: Study, files: Mapping[str, Path], embed: bool) -> object:
    """What the page may know: neither names of models, nor an order or a numbering that tells them apart."""
    matches = sorted({(pair.first.model, pair.second.model) for pair in study.pairs})
    random.Random(study.identity).shuffle(matches)
    pairs = [
        {
            "name": pair.name,
            "prompt": pair.prompt,
            "clips": sorted([pair.first.clip, pair.second.clip]),
            "match": matches.index((pair.first.model, pair.second.model)),
        }
        for pair in study.pairs
    ]
    clips = {clip: _clip(clip, files[clip], embed) for clip in sorted(files)}
    return {"study": study.identity, "perRater": study.per_rater, "pairs": pairs, "clips": clips}


def _clip(clip: str, path: Path, embed: bool) -> dict[str, str]:
    kind = KINDS[path.suffix.lower()]
    if not embed:
        return {"kind": kind, "file": f"{CLIPS}/{clip}{path.suffix.lower()}"}
    return {"kind": kind, "data": base64.b64encode(path.read_bytes()).decode()}


def _inside_script(plain: object) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(plain, ensure_ascii=False).replace("<", "\\u003c")
