"""What became of each file: the clips that it gives, what of it is dropped, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewstep.ingest.scan import STILL, Cutting, Scan, Span
from fewstep.ingest.sources import Source


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One file."""

    name: str
    path: Path
    caption: str | None
    scan: Scan | None
    """None for a file that nobody looked into."""
    dropped: str | None
    """Why nothing of it is used; None where something is."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Keys of clips that could not be read when their turn came, and why."""

    @property
    def clips(self) -> list[Clip]:
        """Those to be encoded."""
        if self.dropped or self.scan is None or self.caption is None:
            return []
        clips = [Clip(self.name, self.path, self.caption, self.scan, span) for span in self.scan.clips]
        return [clip for clip in clips if clip.key not in self.failed]

    def without(self, failed: Mapping[str, str]) -> Outcome:
        """The same where some clips could not be read."""
        own = {clip.key: failed[clip.key] for clip in self.clips if clip.key in failed}
        none_left = own and len(own) == len(self.clips)
        return replace(self, failed=own, dropped=next(iter(own.values())) if none_left else self.dropped)


@dataclass(frozen=True)
class Clip:
    """A clip to be encoded."""

    name: str
    """Of its file."""
    path: Path
    caption: str
    scan: Scan
    span: Span

    @property
    def key(self) -> str:
        """See `Scan.key`."""
        return self.scan.key(self.span)


def judge(
    sources: Sequence[Source],
    captions: Mapping[str, str],
    without: Mapping[str, str],
    scans: Mapping[str, Scan],
    cutting: Cutting,
) -> list[Outcome]:
    """What becomes of every file, in order. A file whose content came before under another name is dropped."""
    seen: dict[str, str] = {}
    outcomes = []
    for source in sources:
        scan = scans.get(source.name)
        why = without.get(source.name) or (_unusable(scan, cutting) if scan is not None else None)
        if scan is not None and why is None:
            first = seen.setdefault(scan.sha256, source.name)
            why = f"the same file as {first}" if first != source.name else None
        caption = captions.get(source.name)
        outcomes.append(Outcome(name=source.name, path=source.path, caption=caption, scan=scan, dropped=why))
    return outcomes


def _unusable(scan: Scan, cutting: Cutting) -> str | None:
    """Why a file gives no clip, if it gives none."""
    if scan.error or scan.clips:
        return scan.error
    if any(span.dropped == STILL for span in scan.spans):
        return f"it stands still: {scan.repeated} of {counted(scan.pictures, 'picture')} are repeated"
    needed = f"a clip needs {cutting.frames} ({cutting.seconds:.1f} s)"
    if scan.cuts:
        longest = max(span.count for span in scan.spans)
        return f"too short: the longest of its {scan.cuts + 1} scenes has {counted(longest, 'picture')}, {needed}"
    return f"too short: {counted(scan.pictures, 'picture')} at {cutting.fps:g} a second, {needed}"


def counted(number: int, noun: str) -> str:
    """`1 clip`, `2 clips`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
