"""Clips that no model made, in folders like those of models: ground truth, and its round trip through an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fewstep.evaluation.measure import Prompts, round_trip
from fewstep.evaluation.prompts import describe_scene
from fewstep.hardware import Stopwatch
from fewstep.manifest import Entry, Manifest, Settings, file_hash
from fewstep.models.fingerprint import DIGITS, module_fingerprint
from fewstep.models.vae import VideoVAE
from fewstep.shapes.render import render
from fewstep.types import Frames
from fewstep.video import write_video

TITLES = {"truth": "ground truth", "vae": "VAE round trip"}


@dataclass(frozen=True, kw_only=True)
class ControlSet:
    """The clips of one control; it is filled and resumed like a `ClipSet`."""

    kind: str
    """truth or vae."""
    prompts: Prompts
    frames: int
    seed: int
    """Number that the files carry, that of the models' first noise; a control has none."""
    vae: VideoVAE
    output: Path
    """Name of the files, which are numbered."""
    enlarge: int
    crf: int
    shard: tuple[int, int] = (0, 1)

    @cached_property
    def missing(self) -> list[int]:
        """Prompts of the shard without a clip. Raises ManifestError where other settings made what is there."""
        numbers = range(len(self.prompts.scenes))[self.shard[0] :: self.shard[1]]
        return [index for index in numbers if not self._manifest.has(self._file(index), self._settings(index))]

    def make(self) -> Iterator[int]:
        """Write what is missing, and yield the number of each clip when it is there, in the manifest too."""
        for index in self.missing:
            watch = Stopwatch(next(self.vae.parameters()).device)
            with watch("total"):
                frames = self._frames(index)
                path = self.output.with_name(self._file(index))
                write_video(path, frames, self.prompts.world.fps, enlarge=self.enlarge, crf=self.crf)
            entry = Entry(
                file=path.name,
                sha256=file_hash(path),
                settings=self._settings(index),
                network_evaluations=0,
                commits=0,
                seconds={name: round(value, 4) for name, value in watch.seconds.items()},
            )
            self._manifest.add(entry)
            yield index

    def _frames(self, index: int) -> Frames:
        truth = render(self.prompts.scenes[index], self.prompts.world, self.frames)
        return truth if self.kind == "truth" else round_trip(self.vae, truth[None])[0]

    def _file(self, index: int) -> str:
        return f"{self.output.stem}-{index:03d}-seed{self.seed}{self.output.suffix}"

    @cached_property
    def _manifest(self) -> Manifest:
        return Manifest(self.output.parent, self.shard)

    def _settings(self, index: int) -> Settings:
        world = self.prompts.world
        return Settings(
            prompt=self.prompts.captions[index],
            seed=self.seed,
            index=index,
            batch=(index, 1),
            model=TITLES[self.kind],
            fingerprint=self._fingerprint,
            sampling={},
            negative_prompt=None,
            begins_with=None,
            frames=self.frames,
            height=world.size,
            width=world.size,
            enlarge=self.enlarge,
            fps=float(world.fps),
            dtype="uint8",
            scene=describe_scene(self.prompts.scenes[index], world),
        )

    @cached_property
    def _fingerprint(self) -> dict[str, str]:
        """Of the renderer by what it makes of the first scene, and of the autoencoder where the clips pass it."""
        drawn = render(self.prompts.scenes[0], self.prompts.world)
        names = {"renderer": hashlib.sha256(drawn.tobytes()).hexdigest()[:DIGITS]}
        return names if self.kind == "truth" else {**names, "vae": module_fingerprint(self.vae)}
