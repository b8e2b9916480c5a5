"""From folders of video to folders of shards: looked through, cut, encoded, each step going on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import torch

from fewstep.files import require_writable, write_text
from fewstep.ingest.crew import Crew
from fewstep.ingest.footage import FootageError, read_clip
from fewstep.ingest.outcome import Clip, Outcome, judge
from fewstep.ingest.report import REPORT, STRIPS, write_report
from fewstep.ingest.scan import Cutting, Scan, scan_file, stamp
from fewstep.ingest.shards import (
    LABEL,
    PROMPTS,
    SHARD,
    Sample,
    ShardError,
    ShardLabel,
    label_text,
    read_index,
    read_label,
    shard_files,
    vae_fingerprint,
    write_shard,
)
from fewstep.ingest.sources import Source
from fewstep.models.prompt_store import PromptStore, build_store
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE, from_uint8
from fewstep.types import Frames, Picture
from fewstep.video import write_image

OnProgress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is, and of how much."""
LEDGER = "scans.jsonl"


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """How files become shards in `out`. Interrupted, it goes on where it stopped; finished shards are kept."""

    out: Path
    cutting: Cutting
    vae: VideoVAE
    load_text_encoder: Callable[[], TextEncoder]
    """Called when captions are new."""
    text_encoder: str | None = None
    """Its fingerprint, where it is known before it is loaded."""
    negative_prompt: str = ""
    """Stored beside the captions, for guidance."""
    truncate: bool = False
    """Cut captions that have more tokens than the text encoder reads, instead of refusing them."""
    shard_size: int = 64
    """Clips of a shard; also those that an interruption loses."""
    workers: int = 4
    """Files that are decoded at once."""
    on_progress: OnProgress = lambda label, done, total: None

    def run(self, sources: Sequence[Source], captions: Mapping[str, str], without: Mapping[str, str]) -> list[Outcome]:
        """Shards and report of the files; `without` says why a file has no caption.

        Raises ShardError where `out` holds shards of another kind, or of the same clips under other captions,
        PromptError for captions that are too long, OutputError.
        """
        require_writable(self.out / LABEL)
        self._require_same()
        store = self._encode_captions(captions)
        label = self._label(store)
        write_text(self.out / LABEL, label_text(label))
        scans = self._look_through([source for source in sources if source.name in captions])
        outcomes = judge(sources, captions, without, scans, self.cutting)
        failed = self._encode([clip for outcome in outcomes for clip in outcome.clips], store, label)
        outcomes = [outcome.without(failed) for outcome in outcomes]
        write_report(self.out / REPORT, outcomes, label)
        return outcomes

    @cached_property
    def _vae_fingerprint(self) -> str:
        return vae_fingerprint(self.vae)

    def _label(self, store: PromptStore | None) -> ShardLabel:
        """What the shards are, as far as it is known without a store."""
        size = (self.cutting.height, self.cutting.width)
        rows, columns = (side // self.vae.spatial_stride for side in size)
        return ShardLabel(
            vae=self._vae_fingerprint,
            text_encoder=store.label.encoder if store else "",
            text_len=store.label.text_len if store else 0,
            latent_shape=(self.vae.latent_frames(self.cutting.frames), self.vae.channels, rows, columns),
            **{name: getattr(self.cutting, name) for name in ("frames", "fps", "height", "width", "jump", "repeats")},
        )

    def _require_same(self) -> None:
        """Raise before anything is done for a folder that holds other shards, or sizes that the autoencoder refuses."""
        stride = self.vae.spatial_stride
        if self.cutting.height % stride or self.cutting.width % stride:
            size = f"{self.cutting.width}x{self.cutting.height}"
            raise ValueError(f"width and height must be multiples of {stride}, got {size}: choose another size")
        asked = self._label(None)
        if (self.out / LABEL).is_file():
            there = replace(read_label(self.out), text_encoder="", text_len=0)
            if differing := there.differences(asked):
                raise ShardError(f"{self.out} holds other shards: {'; '.join(differing)}; choose another folder")

    def _encode_captions(self, captions: Mapping[str, str]) -> PromptStore:
        return build_store(
            self.out / PROMPTS,
            [*captions.values(), self.negative_prompt, ""],
            self.load_text_encoder,
            fingerprint=self.text_encoder,
            truncate=self.truncate,
            on_progress=lambda done, total: self.on_progress("captions", done, total),
        )

    def _look_through(self, sources: Sequence[Source]) -> dict[str, Scan]:
        """Scans of all files; those that did not change since are remembered."""
        ledger = self.out / LEDGER
        scans = {scan.name: scan for scan in _read_ledger(ledger)}
        write_text(ledger, "".join(scan.to_json() + "\n" for scan in scans.values()))
        new = [source for source in sources if not _is_known(source, scans.get(source.name))]
        with Crew(self.workers) as crew, ledger.open("a", encoding="utf-8") as file:

            def save_strip(name: str, strip: Picture) -> None:
                crew.require_work()
                write_image(self.out / STRIPS / name, strip)

            made = crew.map(lambda source: scan_file(source.path, source.name, self.cutting, save_strip), new)
            for done, scan in enumerate(made, start=len(sources) - len(new) + 1):
                scans[scan.name] = scan
                file.write(scan.to_json() + "\n")
                file.flush()
                self.on_progress("files", done, len(sources))
        return scans

    def _encode(self, clips: Sequence[Clip], store: PromptStore, label: ShardLabel) -> dict[str, str]:
        """Write the shards that are missing; returns the clips that could not be read, and why."""
        there = self._there({clip.key: clip for clip in clips})
        missing = [clip for clip in clips if clip.key not in there]
        failed: dict[str, str] = {}
        done = len(there)
        with Crew(self.workers) as crew:
            read = crew.map(self._read, missing)
            for start in range(0, len(missing), self.shard_size):
                samples = []
                for clip in missing[start : start + self.shard_size]:
                    frames = next(read)
                    if isinstance(frames, FootageError):
                        failed[clip.key] = str(frames)
                    else:
                        samples.append(self._sample(clip, frames, store))
                    done += 1
                    self.on_progress("clips", done, len(clips))
                if samples:
                    write_shard(self._free_path(), samples, label)
        return failed

    def _there(self, clips: Mapping[str, Clip]) -> set[str]:
        """Keys of the clips in shards that are whole; damaged ones are removed, so that their clips are made again."""
        there: set[str] = set()
        for path in shard_files(self.out):
            try:
                samples = {place.key: place.read().caption for place in read_index(path)}
            except ShardError:
                path.unlink()
                continue
            for key in samples.keys() & clips.keys():
                if samples[key] != clips[key].caption:
                    raise ShardError(
                        f"{path} holds {clips[key].name} with another caption, {samples[key][:60]!r}: give that one, "
                        "or delete the shard, which is then made again"
                    )
            there |= samples.keys()
        return there & clips.keys()

    def _free_path(self) -> Path:
        """Where the next shard goes."""
        paths = (self.out / SHARD.format(number) for number in count())
        return next(path for path in paths if not path.exists())

    def _read(self, clip: Clip) -> Frames | FootageError:
        """The clip's pictures; or why there are none, although its file was whole when it was looked through."""
        cutting = self.cutting
        size = (cutting.height, cutting.width)
        try:
            frames = read_clip(clip.path, clip.scan.origin, cutting.fps, clip.span.first, cutting.frames, size)
            if stamp(clip.path) != (clip.scan.bytes, clip.scan.modified):
                return FootageError("it was changed after it was looked through: run this again")
            return frames
        except FootageError as error:
            return error
        except OSError as error:
            return FootageError(f"it cannot be read ({error.strerror})")

    @torch.no_grad()
    def _sample(self, clip: Clip, frames: Frames, store: PromptStore) -> Sample:
        """Latents in half precision: they are near unit variance, and eight bits of mantissa would be too few."""
        pixels = from_uint8(torch.from_numpy(frames).permute(0, 3, 1, 2)[None])
        latents = self.vae.encode(pixels.to(next(self.vae.parameters()).device))[0].half().cpu()
        facts = {
            "source": clip.name,
            "source_sha256": clip.scan.sha256,
            "start": round(clip.span.first / self.cutting.fps, 3),
            "seconds": round(self.cutting.seconds, 3),
            "fps": self.cutting.fps,
            "height": self.cutting.height,
            "width": self.cutting.width,
            "recorded": clip.scan.facts and asdict(clip.scan.facts),
        }
        return Sample(clip.key, latents, store.read(clip.caption), clip.caption, facts)


def _is_known(source: Source, scan: Scan | None) -> bool:
    """Whether the file is still the one that was looked through."""
    try:
        return scan is not None and (scan.bytes, scan.modified) == stamp(source.path)
    except OSError:
        return False  # it went away: looking again says so


def _read_ledger(path: Path) -> list[Scan]:
    """Whole lines; one that an interruption cut short is left out."""
    scans = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            scans.append(Scan.from_json(line))
        except (ValueError, KeyError, TypeError):
            continue
    return scans
