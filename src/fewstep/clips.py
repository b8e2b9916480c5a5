"""Clips as files: prompts x seeds through a pipeline, each written while it is made; a set of them can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.hardware import Stopwatch
from fewstep.manifest import Entry, Manifest, Settings, file_hash, named_file
from fewstep.models.fingerprint import module_fingerprint
from fewstep.pipeline import Pipeline
from fewstep.rollout import OnStep
from fewstep.shot import Shot, behind_pictures
from fewstep.types import Frames, Picture
from fewstep.video import CRF, Push, open_video, read_video, shrink


@dataclass(frozen=True)
class Take:
    """One clip to be made."""

    prompt: str
    index: int
    """Number of the prompt."""
    seed: int
    target: Path | None
    """Its file; None where it is only kept."""


@dataclass(frozen=True)
class Made:
    """One clip that was made, or was there already."""

    take: Take
    seconds: dict[str, float]
    """Wall clock by part, and `total`; empty for one that was there."""
    frames: Frames | None
    """Where they are kept."""


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Clips that differ in prompt and seed only."""

    pipeline: Pipeline
    shot: Shot
    prompts: Sequence[str]
    seeds: Sequence[int]
    output: Path | None
    """Name of the files, which are numbered when there are several. None writes none."""
    resumable: bool = False
    """Keep a manifest beside the files, and make only what it lacks."""
    begins_with: Path | None = None
    """File that the shot's prefix was made from."""
    pictures: Sequence[Path | Picture] = ()
    """What the clips of each prompt begin with, in the place of the shot's prefix, which is of their kind; files, where
    a manifest names them."""
    scenes: Sequence[Mapping[str, Any]] = ()
    """What each prompt stands for exactly (`Settings.scene`)."""
    batch: int
    shard: tuple[int, int] = (0, 1)
    """Make only every n-th batch, from number i: (i, n), for several processes that fill one folder."""
    numbered: bool = False
    """Number the file even where it is the only one, as a set does that may grow."""
    enlarge: int = 1
    crf: int = CRF
    """Quality of H.264."""
    keep: bool = False
    """Return the frames too."""

    @cached_property
    def batches(self) -> list[list[Take]]:
        """All clips of the shard, seed by seed, as they are made together."""
        numbers = range(len(self.prompts))
        parts = [numbers[start : start + self.batch] for start in numbers[:: self.batch]]
        batches = [[self._take(index, seed) for index in part] for seed in self.seeds for part in parts]
        return batches[self.shard[0] :: self.shard[1]]

    @cached_property
    def missing(self) -> set[Take]:
        """Clips that are not there yet. Raises ManifestError where other settings made what is there."""
        if self._manifest is None:
            return {take for batch in self.batches for take in batch}
        return {
            take
            for batch in self.batches
            for take in batch
            if take.target and not self._manifest.has(take.target.name, self._settings(take, batch))
        }

    @property
    def num_steps(self) -> int:
        """Denoising steps that the missing clips take, with those that are made again beside them."""
        return self.shot.num_steps * sum(len(batch) for batch in self.batches if self.missing.intersection(batch))

    def make(self, on_step: OnStep | None = None) -> Iterator[Made]:
        """Every clip, in order. Its file is there, and in the manifest, before it is returned."""
        self.pipeline.text.prepare(sorted({take.prompt for take in self.missing}))
        for batch in self.batches:
            if self.missing.intersection(batch):
                yield from self._make(batch, on_step)
            else:
                yield from (Made(take, {}, self._read(take)) for take in batch)

    def _make(self, batch: list[Take], on_step: OnStep | None) -> Iterator[Made]:
        watch, kept = Stopwatch(self.pipeline.device), [list[Frames]() for _ in batch]
        pieces = self.pipeline.pieces(
            self._shot_of(batch),
            [take.prompt for take in batch],
            seed=batch[0].seed,
            index=batch[0].index,
            watch=watch,
            on_step=on_step,
        )
        with ExitStack() as files:
            files_of: dict[int, Push] = {
                row: files.enter_context(
                    open_video(take.target, self.pipeline.passport.fps, enlarge=self.enlarge, crf=self.crf)
                )
                for row, take in enumerate(batch)
                if take.target and take in self.missing
            }
            for row, piece in pieces:
                with watch("write"):
                    if row in files_of:
                        files_of[row](piece)
                if self.keep:
                    kept[row].append(piece)
            with watch("write"):
                files.close()
        seconds = {name: value / len(batch) for name, value in watch.seconds.items()}
        seconds["total"] = sum(seconds.values())
        for take, frames in zip(batch, kept, strict=True):
            self._record(take, batch, seconds)
            yield Made(take, seconds, np.concatenate(frames) if self.keep else None)

    def _shot_of(self, batch: list[Take]) -> Shot:
        """The shot, with the batch's own pictures to begin with."""
        if not self.pictures:
            return self.shot
        pictures = (self.pictures[take.index] for take in batch)
        return behind_pictures(self.shot, self.pipeline.passport, self.pipeline.vae, pictures)

    def _record(self, take: Take, batch: list[Take], seconds: dict[str, float]) -> None:
        if self._manifest is None or take.target is None or take not in self.missing:
            return
        evaluations, commits = self.shot.cost
        entry = Entry(
            file=take.target.name,
            sha256=file_hash(take.target),
            settings=self._settings(take, batch),
            network_evaluations=evaluations,
            commits=commits,
            seconds={name: round(value, 4) for name, value in seconds.items()},
        )
        self._manifest.add(entry)

    def _read(self, take: Take) -> Frames | None:
        """What an earlier run made, at its own size."""
        if not self.keep or take.target is None:
            return None
        stride = self.pipeline.vae.spatial_stride
        height, width = (side * stride * self.enlarge for side in self.shot.shape[1:])
        return shrink(read_video(take.target).frames[:, :height, :width], self.enlarge)

    def _take(self, index: int, seed: int) -> Take:
        target = self.output
        if target is not None and (self.numbered or len(self.prompts) * len(self.seeds) > 1):
            target = target.with_name(f"{target.stem}-{index:03d}-seed{seed}{target.suffix}")
        return Take(self.prompts[index], index, seed, target)

    @cached_property
    def _manifest(self) -> Manifest | None:
        return Manifest(self.output.parent, self.shard) if self.resumable and self.output is not None else None

    def _settings(self, take: Take, batch: list[Take]) -> Settings:
        return replace(
            self._common,
            prompt=take.prompt,
            seed=take.seed,
            index=take.index,
            batch=(batch[0].index, len(batch)),
            begins_with=self._beginnings[take.index] if self.pictures else self._common.begins_with,
            scene=self.scenes[take.index] if self.scenes else None,
        )

    @cached_property
    def _beginnings(self) -> list[str]:
        return [named_file(each) for each in self.pictures if isinstance(each, Path)]

    @cached_property
    def _common(self) -> Settings:
        """The settings of all clips, those that differ left open."""
        pipeline, shot = self.pipeline, self.shot
        stride = pipeline.vae.spatial_stride
        tiling = pipeline.vae.tiling
        parts = {"transformer": pipeline.net, "vae": pipeline.vae}
        if pipeline.decoder is not pipeline.vae:
            parts["decoder"] = pipeline.decoder
        return Settings(
            prompt="",
            seed=0,
            index=0,
            batch=(0, 0),
            model=pipeline.passport.name,
            fingerprint={name: module_fingerprint(part) for name, part in parts.items()},
            sampling=asdict(shot.sampling),
            negative_prompt=pipeline.passport.negative_prompt if shot.sampling.needs_null else None,
            begins_with=None if self.begins_with is None else named_file(self.begins_with),
            frames=pipeline.vae.pixel_frames(shot.frames),
            height=shot.shape[1] * stride,
            width=shot.shape[2] * stride,
            enlarge=self.enlarge,
            fps=pipeline.passport.fps,
            dtype=str(pipeline.dtype).removeprefix("torch."),
            tile=None if tiling is None else tiling.width,
        )
