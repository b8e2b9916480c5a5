"""VBench's prompts: the lists of the user's own checkout, checked against their published hash and counts.

The lists stay where they are. A clip is made from an item's text, which may be an extended prompt, and its file is
named by the short one: that is how VBench's authors do it, and a name has no room for more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewstep.vbench.dimensions import SAMPLES, Suite
from fewstep.vbench.results import clip_name

MAX_NAME_BYTES = 255
"""Of a file name, on every file system in use."""
EXTENDED = {
    "c78f1ad32974503efaa8cc935347ace88f3a8b571adde6687bc8425bbf417cf3": "Self-Forcing's all_dimension_extended.txt",
    "54fb940aea8f1ede1e8728f62d3e67efacdd7b341fb8a6c91308bcba874d5d5d": "VBench's all_dimension_aug_wanx_seed42.txt",
}
"""Extended prompts whose hash is known."""
SHIFTS = (-3, -2, -1, 1, 2, 3)
"""Lines by which a list may have slipped."""
SLIPPED = 0.1
"""A list has slipped when so many more of its lines have a word of another prompt in common than of their own."""


class PromptListError(ValueError):
    """A list that is not the one that scores are published for, or does not fit the other."""


@dataclass(frozen=True)
class Item:
    """One prompt of the benchmark."""

    prompt: str
    """Names the files."""
    text: str
    """What the model is given: the prompt, or its extended form."""
    dimensions: tuple[str, ...]
    image: str | None = None
    """File name of the picture that its clips begin with."""


@dataclass(frozen=True)
class PromptList:
    """The prompts of a suite, each once, in the list's order."""

    suite: Suite
    checkout: Path
    items: tuple[Item, ...]
    sha256: str
    official: bool
    """Whether it is the list that published scores are of."""
    extended: str | None = None
    """Name of the extended prompts where their hash is known, else `unknown list`."""
    extended_sha256: str | None = None

    def of(self, dimension: str) -> list[Item]:
        """The items that carry a dimension. Raises ValueError for one that there is not."""
        return [item for item in self.items if self.suite[dimension].name in item.dimensions]

    def candidates(self, item: Item) -> int:
        """Clips to be sampled of an item: those of its most demanding dimension."""
        known = (self.suite[name] for name in item.dimensions if name in {each.name for each in self.suite})
        return max((dimension.candidates for dimension in known), default=SAMPLES)


def read_prompts(checkout: Path, suite: Suite, extended: Path | None = None, *, any_list: bool = False) -> PromptList:
    """The suite's prompts from a checkout of VBench, with the lines of `extended` as their texts.

    Line i of `extended` is the long form of entry i. Raises PromptListError where the list's hash or counts are not the
    official ones, unless `any_list`, and where the extended lines do not fit.
    """
    path = checkout / suite.info
    entries, digest = _read_entries(path)
    counts = Counter(name for entry in entries for name in entry["dimension"])
    faults = _faults(suite, entries, counts, digest)
    if faults and not any_list:
        raise PromptListError(
            f"{path} is not the list that {suite.title}'s scores are published for: {'; '.join(faults)}. "
            "Check out commit 45e79ec, or say --any-list; its scores then stand beside no others"
        )
    texts, name, extended_digest = [entry["prompt_en"] for entry in entries], None, None
    if extended is not None:
        texts, extended_digest = _read_extended(extended, texts)
        name = EXTENDED.get(extended_digest, "unknown list")
    items = _merge(entries, texts)
    _check_names(items)
    return PromptList(suite, checkout, items, digest, not faults, name, extended_digest)


def _read_entries(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The list's entries and its SHA-256."""
    if not path.is_file():
        raise PromptListError(
            f"a checkout of VBench was required, there is no {path}: git clone it and name its folder"
        )
    content = path.read_bytes()
    try:
        entries = json.loads(content)
        if not all(isinstance(entry["prompt_en"], str) and isinstance(entry["dimension"], list) for entry in entries):
            raise TypeError("an entry without prompt or dimensions")
    except (ValueError, TypeError, KeyError) as error:
        raise PromptListError(f"{path} is no prompt list of VBench ({error}): check it out again") from error
    return entries, hashlib.sha256(content).hexdigest()


def _faults(suite: Suite, entries: Sequence[Any], counts: Counter[str], digest: str) -> list[str]:
    """In what a list is not the official one."""
    faults = [f"{suite.entries} entries, got {len(entries)}"] if len(entries) != suite.entries else []
    faults += [
        f"{dimension.prompts} prompts of {dimension.name}, got {counts[dimension.name]}"
        for dimension in suite
        if counts[dimension.name] != dimension.prompts
    ]
    if suite.sha256 is not None and digest != suite.sha256:
        faults.append(f"SHA-256 {suite.sha256[:12]}…, got {digest[:12]}…")
    return faults


def _read_extended(path: Path, prompts: Sequence[str]) -> tuple[list[str], str]:
    """The lines of a file of extended prompts and its SHA-256."""
    if not path.is_file():
        raise PromptListError(f"a file of extended prompts was required, there is no {path}: check the name")
    content = path.read_bytes()
    # only line feeds end a line: language models write other separators within one
    lines = [line.strip() for line in content.decode("utf-8").rstrip().split("\n")]
    if len(lines) != len(prompts):
        raise PromptListError(f"{path} must have a line for each of {len(prompts)} entries, got {len(lines)}")
    if empty := [number for number, line in enumerate(lines, start=1) if not line]:
        raise PromptListError(f"{path} has an empty line {empty[0]}: every prompt needs its extended form")
    digest = hashlib.sha256(content).hexdigest()
    if digest not in EXTENDED:
        _check_alignment(path, prompts, lines)
    return lines, digest


def _check_alignment(path: Path, prompts: Sequence[str], lines: Sequence[str]) -> None:
    """Raise PromptListError where the lines fit the prompts better when they are moved up or down."""
    kinship = {shift: _kinship(prompts, lines, shift) for shift in (0, *SHIFTS)}
    best = max(kinship, key=lambda shift: (kinship[shift], shift == 0))
    if kinship[best] > kinship[0] + SLIPPED:
        raise PromptListError(
            f"{path} seems to be off by {best:+d} lines: {100 * kinship[0]:.0f} % of its lines share a word with their "
            f"prompt, {100 * kinship[best]:.0f} % when moved; restore the order of the lines"
        )


def _kinship(prompts: Sequence[str], lines: Sequence[str], shift: int) -> float:
    """Share of prompts that have a word of four letters or more in common with the line `shift` further on."""
    pairs = [(prompt, lines[at]) for i, prompt in enumerate(prompts) if 0 <= (at := i + shift) < len(lines)]
    return sum(bool(_words(prompt) & _words(line)) for prompt, line in pairs) / max(1, len(pairs))


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def _merge(entries: Sequence[dict[str, Any]], texts: Sequence[str]) -> tuple[Item, ...]:
    """Each prompt once with all its dimensions: two prompts of VBench stand in two places, but name the same files.

    The text is that of the first place.
    """
    found: dict[str, Item] = {}
    for entry, text in zip(entries, texts, strict=True):
        prompt = entry["prompt_en"]
        before = found.get(prompt, Item(prompt, text, (), entry.get("image_name")))
        dimensions = dict.fromkeys((*before.dimensions, *entry["dimension"]))
        found[prompt] = Item(prompt, before.text, tuple(dimensions), before.image)
    return tuple(found.values())


def _check_names(items: Sequence[Item]) -> None:
    """Raise PromptListError for prompts that cannot name a file."""
    for item in items:
        name = clip_name(item.prompt, 10)
        if "/" in name or "\0" in name:
            raise PromptListError(f"a prompt names files, '{item.prompt}' has a slash in it: take it off the list")
        if (size := len(name.encode())) > MAX_NAME_BYTES:
            raise PromptListError(
                f"a prompt names files of at most {MAX_NAME_BYTES} bytes, '{item.prompt[:40]}…' would need {size}: "
                "list the short prompt, and give the long one as its extended form"
            )


def colliding(items: Sequence[Item]) -> list[tuple[str, ...]]:
    """Prompts that name the same file where upper and lower case are one: 'A fantasy landscape' and its other self."""
    groups: dict[str, list[str]] = {}
    for item in items:
        groups.setdefault(item.prompt.casefold(), []).append(item.prompt)
    return [tuple(group) for group in groups.values() if len(group) > 1]
