"""An endless seeded stream of captioned shape videos."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fewstep.shapes.grammar import SPLITS, Scene, World, caption, sample_scene
from fewstep.shapes.render import render

LONG_FACTOR = 4
"""Clips of the "long" split last this many times longer: 4 (frames - 1) + 1 pixel frames."""
PARAPHRASES = 1000


@dataclass(frozen=True)
class ShapeWorld:
    """Captioned clips by index, each a pure function of (seed, split, index).

    Splits: "train"; "heldout", each scene with a colour-shape-motion composition that training never shows; "i2v", like
    train, for continuation of the first frame; "long", four times the length, where scenes retrace their path.
    """

    seed: int = 0
    split: str = "train"
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {self.split!r}")

    @property
    def pixel_frames(self) -> int:
        """Length of every clip."""
        return self.world.frames if self.split != "long" else LONG_FACTOR * (self.world.frames - 1) + 1

    def scene(self, index: int) -> tuple[Scene, str]:
        """Scene and caption without the pixels; about a third of the captions are canonical, the others paraphrases."""
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index))
        scene = sample_scene(rng, self.split, self.world)
        paraphrase = 0 if rng.random() < 1 / 3 else int(rng.integers(1, PARAPHRASES))
        return scene, caption(scene, paraphrase)

    def clip(self, index: int) -> tuple[np.ndarray, str, Scene]:
        """Frames `[f, size, size, 3]` uint8, caption, scene."""
        scene, text = self.scene(index)
        return render(scene, self.world, self.pixel_frames), text, scene

    def first_frame(self, index: int) -> tuple[np.ndarray, str, Scene]:
        """First frame `[size, size, 3]` uint8, caption, scene: a prompt for image-to-video."""
        scene, text = self.scene(index)
        return render(scene, self.world, 1)[0], text, scene
