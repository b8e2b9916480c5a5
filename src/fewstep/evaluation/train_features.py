"""The extractor of video features, trained on ShapeWorld: `python -m fewstep.evaluation.train_features`.

It learns to read from a clip which facts are true of its scene, and how much was done to it by blur, noise, jitter, a
freeze, a wrong order or fading colours. So its features move when content or quality does. It sees ground truth only:
no model, no autoencoder, no recogniser. Run it again when the world's renderer changes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from safetensors.torch import save_file
from scipy.stats import rankdata
from torch import Tensor, nn

from fewstep.files import require_writable, write_text
from fewstep.metrics.base import Clip
from fewstep.metrics.extractors import DIM, SHAPES_FORMAT, TRAINED, ClipNet, to_input
from fewstep.models.shards import tensor_output
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.scene import ATTRIBUTES, SCENE_ATTRIBUTES, Scene

TRAIN_SEED, CHECK_SEED = 31_001, 31_002
"""Seeds of the ShapeWorlds that it learns from and is checked on; no recipe and no table uses them."""
CHECKED = 256
"""Clips that it is checked on."""
PEAK, READOUT_PEAK = 2e-3, 4e-3
"""Learning rates at their highest: of the net, and of the layer that reads facts from features."""
COUNTED = 500
"""Scenes from which the readout learns, before it starts, how common each fact is."""
REPORT_EVERY = 25

FACTS = (
    *(value for name in ("colour", "shape", "fill", "size", "speed") for value in ATTRIBUTES[name]),
    *(f"moves {motion}" for motion in ATTRIBUTES["motion"]),
    *(f"{colour} {shape}" for colour, shape in product(ATTRIBUTES["colour"], ATTRIBUTES["shape"])),
    *(f"{colour} moves {motion}" for colour, motion in product(ATTRIBUTES["colour"], ATTRIBUTES["motion"])),
    *(f"background {background}" for background in SCENE_ATTRIBUTES["background"]),
    *(f"camera {camera}" for camera in SCENE_ATTRIBUTES["camera"]),
    *(f"first {relation} second" for relation in SCENE_ATTRIBUTES["relation"]),
    *(f"{count} objects" for count in (1, 2, 3)),
)
"""All that may be true of a scene."""


def facts(scene: Scene) -> np.ndarray:
    """1 for each of `FACTS` that is true of a scene, 0 for the others `[facts]`."""
    true = {f"background {scene.background}", f"camera {scene.camera}", f"{len(scene.objects)} objects"}
    if scene.relation:
        true.add(f"first {scene.relation} second")
    for each in scene.objects:
        true |= {each.colour, each.shape, each.fill, each.size, f"moves {each.motion}", each.speed or ""}
        true |= {f"{each.colour} {each.shape}", f"{each.colour} moves {each.motion}"}
    return np.array([fact in true for fact in FACTS], np.float32)


def _blur(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 0.4 + 2.6 * amount) for frame in clip])


def _noise(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return np.clip(clip + rng.normal(0, 4 + 60 * amount, clip.shape), 0, 255).astype(np.uint8)


def _jitter(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    shifts = rng.normal(0, 0.3 + 3 * amount, (len(clip), 2))
    size = clip.shape[2], clip.shape[1]
    moved = (
        cv2.warpAffine(frame, np.array([[1, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_REPLICATE)
        for frame, (x, y) in zip(clip, shifts, strict=True)
    )
    return np.stack(list(moved))


def _freeze(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return clip[np.minimum(np.arange(len(clip)), round((1 - amount) * (len(clip) - 1)))]


def _disorder(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    order = np.arange(len(clip)) + rng.normal(0, 0.5 + 4 * amount, len(clip))
    return clip[np.argsort(order, kind="stable")]


def _fade(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    colour = rng.uniform(0, 255, 3)
    share = amount * np.linspace(0, 1, len(clip))[:, None, None, None]
    return np.rint(clip * (1 - share) + colour * share).astype(np.uint8)


DAMAGES: tuple[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], ...] = (
    _blur,
    _noise,
    _jitter,
    _freeze,
    _disorder,
    _fade,
)


def example(world: ShapeWorld, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A clip in the extractor's format, its facts, and how much of each damage was done to it, 0 … 1.

    Half of the clips are whole; each of the others has one damage of a random amount.
    """
    frames, _, scene = world.clip(index)
    clip = SHAPES_FORMAT.fit(Clip(frames, world.world.fps))
    damage = np.zeros(len(DAMAGES), np.float32)
    rng = np.random.default_rng((world.seed, index, 1))
    if rng.random() < 0.5:
        kind, amount = rng.integers(len(DAMAGES)), rng.random()
        clip, damage[kind] = DAMAGES[kind](clip, amount, rng), amount
    return clip, facts(scene), damage


def batches(seed: int, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Clips `n 3 t h w` in [-1, 1], facts `n facts` and damages `n kinds`, without end; no clip comes twice."""
    world, index = ShapeWorld(seed), 0
    while True:
        clips, true, damage = zip(*(example(world, index + i) for i in range(size)), strict=True)
        yield to_input(np.stack(clips)), torch.tensor(np.stack(true)), torch.tensor(np.stack(damage))
        index += size


@dataclass(frozen=True)
class Checked:
    """How well new clips are read from their features."""

    facts: float
    """Area under the curve, averaged over the facts: 0.5 is chance, 1 is perfect."""
    damage: float
    """Correlation of the amounts read and done, averaged over the kinds of damage."""


@torch.no_grad()
def check(net: ClipNet, readout: nn.Linear, clips: int = CHECKED) -> Checked:
    """Read clips that training never saw."""
    net.eval()
    x, true, damage = next(batches(CHECK_SEED, clips))
    found = readout(torch.cat([net(part) for part in x.split(16)])).numpy()
    net.train()
    read, guessed = found[:, : len(FACTS)], found[:, len(FACTS) :]
    areas = [_area(score, label > 0) for score, label in zip(read.T, true.numpy().T, strict=True)]
    pairs = zip(guessed.T, damage.numpy().T, strict=True)
    matches = [np.corrcoef(guess, done)[0, 1] for guess, done in pairs if done.std() > 0]
    return Checked(round(float(np.nanmean(areas)), 4), round(float(np.mean(matches)), 4))


def _area(score: np.ndarray, label: np.ndarray) -> float:
    """Chance that a clip of which a fact is true scores above one of which it is not; NaN where there is no pair."""
    ranks, count = rankdata(score), int(label.sum())
    pairs = count * (len(label) - count)
    return float((ranks[label].sum() - count * (count + 1) / 2) / pairs) if pairs else float("nan")


def train(
    updates: int, batch: int, say: Callable[[str], None] = print, checked: int = CHECKED
) -> tuple[ClipNet, Checked]:
    """Train from nothing, the same net for the same numbers on one machine."""
    torch.manual_seed(0)
    net, readout = ClipNet().to(memory_format=torch.channels_last_3d), _readout()
    groups = [{"params": part.parameters()} for part in (net, readout)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, [PEAK, READOUT_PEAK], total_steps=updates, pct_start=0.2)
    started, losses = time.perf_counter(), []
    for update, (x, true, damage) in zip(range(1, updates + 1), batches(TRAIN_SEED, batch), strict=False):
        found = readout(net(x))
        read, guessed = found.split([len(FACTS), len(DAMAGES)], dim=1)
        loss = nn.functional.binary_cross_entropy_with_logits(read, true) + 4 * (guessed - damage).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        losses.append(loss.item())
        if update % REPORT_EVERY == 0 or update == updates:
            left = (time.perf_counter() - started) / update * (updates - update)
            say(f"features: {update}/{updates}, {left:.0f} s left, loss {np.mean(losses[-REPORT_EVERY:]):.4f}")
    return net, check(net, readout, checked)


def _readout() -> nn.Linear:
    """From features to the logits of facts, which start at how common each is, and to amounts of damage."""
    layer, world = nn.Linear(DIM, len(FACTS) + len(DAMAGES)), ShapeWorld(TRAIN_SEED)
    common = np.mean([facts(world.scene(index)[0]) for index in range(COUNTED)], axis=0).clip(1 / COUNTED, 0.99)
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.zero_()
        layer.bias[: len(FACTS)] = torch.tensor(common).logit()
    return layer


def save(net: ClipNet, found: Checked, path: Path, **recipe: int) -> None:
    """Write the weights in fp16, and beside them how they were made and how well they read."""
    state = {name: value.half().contiguous() for name, value in net.state_dict().items() if value.is_floating_point()}
    with tensor_output(path) as scratch:
        save_file(state, scratch)
    text = json.dumps({**recipe, **asdict(found), "takes": asdict(SHAPES_FORMAT)}, indent=2)
    write_text(path.with_name("training.json"), text + "\n")


def main(out: Path = TRAINED, updates: int = 800, batch: int = 16) -> None:
    """Train the extractor and write it.

    Args:
        out: Where the weights go, in place of those that are there.
        updates: Of the weights.
        batch: Clips per update.
    """
    require_writable(out)
    net, found = train(updates, batch)
    save(net, found, out, updates=updates, batch=batch)
    print(f"features: facts read with area {found.facts:.3f}, damage with correlation {found.damage:.3f}: {out}")


if __name__ == "__main__":
    tyro.cli(main)
