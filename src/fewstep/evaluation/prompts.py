"""What clips are asked for: lines of a text or a split of ShapeWorld, and the pictures that they begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.evaluation.measure import SPLITS, Prompts, world_of
from fewstep.manifest import ManifestError, Settings
from fewstep.pictures import PICTURES, fit_picture, read_picture
from fewstep.pipeline import Pipeline
from fewstep.shapes.scene import Scene, World, scene_from_json, scene_to_json
from fewstep.types import Picture
from fewstep.video import write_image

SHAPES = "shapes:"
FIRST_FRAMES = "first"
"""In the place of a folder of pictures: the first frame of each scene."""
COUNT = 256
"""Prompts of ShapeWorld when nothing is said."""


@dataclass(frozen=True)
class PromptSource:
    """Where prompts come from, and how many are taken. Raises ValueError for what is none."""

    texts: tuple[str, ...] = ()
    """Lines of a text; or none, and a split."""
    split: str | None = None
    """Of ShapeWorld: prompts like those of training but other ones (test), or compositions never shown (heldout)."""
    count: int | None = None
    """The first so many; by default all lines, or 256 prompts of ShapeWorld."""

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise ValueError(f"prompts are a text file or {_names()}, got '{SHAPES}{self.split}': choose one of these")
        if self.split is None and not self.texts:
            raise ValueError(f"prompts are required, lines of a text or {_names()}, got none: add a line")
        if self.count is not None and not 1 <= self.count <= (len(self.texts) if self.split is None else self.count):
            most = "1 or more" if self.split else f"1 to {len(self.texts)}, the lines of the text"
            raise ValueError(f"the count of prompts must be {most}, got {self.count}")

    def shapes(self, pipeline: Pipeline) -> Prompts | None:
        """ShapeWorld's prompts in the format of a model, or None for prompts of one's own."""
        if self.split is None:
            return None
        return Prompts.sample(world_of(pipeline), self.split, self.count or COUNT)

    def captions(self, shapes: Prompts | None) -> tuple[str, ...]:
        """The prompts."""
        return self.texts[: self.count] if shapes is None else shapes.captions


def _names() -> str:
    return " or ".join(SHAPES + split for split in SPLITS)


def describe_scene(scene: Scene, world: World) -> Mapping[str, Any]:
    """`Settings.scene` of a clip of ShapeWorld."""
    return {"scene": json.loads(scene_to_json(scene)), "world": asdict(world)}


def scene_of(settings: Settings) -> tuple[Scene, World]:
    """What a clip's prompt stands for in ShapeWorld. Raises ManifestError for clips of other prompts."""
    try:
        if settings.scene is None:
            raise KeyError("scene")
        return scene_from_json(json.dumps(settings.scene["scene"])), World(**settings.scene["world"])
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            f"a scene of ShapeWorld was required for '{settings.prompt}', the manifest has another thing there "
            f"({type(error).__name__}: {error}): sample the clips anew"
        ) from error


def find_pictures(images: str, captions: tuple[str, ...], shapes: Prompts | None) -> list[Picture]:
    """The picture that the clips of each prompt begin with: those of a folder by their names' order, or `first`.

    Raises ValueError where there are too few, and for first frames of prompts that are not ShapeWorld's.
    """
    if images == FIRST_FRAMES and not Path(images).is_dir():
        if shapes is None:
            raise ValueError(
                f"--images {FIRST_FRAMES} takes the first frames of ShapeWorld's scenes, these prompts have none: "
                f"name a folder with one picture per prompt, or ask for {_names()}"
            )
        return shapes.first_frames
    folder = Path(images)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)
    if len(files) < len(captions):
        raise ValueError(
            f"one picture per prompt is required, in the order of their names, '{folder}' has {len(files)} for "
            f"{len(captions)} prompts: add pictures, or take fewer prompts (--count)"
        )
    return [read_picture(path) for path in files[: len(captions)]]


def place_pictures(pictures: list[Picture], folder: Path, height: int, width: int) -> tuple[Path, ...]:
    """The pictures at the clips' size, as files of their folder. Raises ValueError where others are there."""
    paths = tuple(folder / f"begin-{index:03d}.png" for index in range(len(pictures)))
    for picture, path in zip(pictures, paths, strict=True):
        fitted = fit_picture(picture, height, width)
        if not path.is_file():
            write_image(path, fitted)
        elif not np.array_equal(read_picture(path), fitted):
            raise ValueError(f"clips in '{folder}' begin with another {path.name}: write into another folder")
    return paths
