"""Captions of scenes: one canonical sentence and paraphrases from a vocabulary of fewer than 250 words."""

from __future__ import annotations

import re
from itertools import chain

import numpy as np

from fewstep.shapes.scene import Object, Scene

WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
    "red": ("red",),
    "green": ("green",),
    "blue": ("blue",),
    "yellow": ("yellow",),
    "purple": ("purple", "violet"),
    "cyan": ("cyan", "turquoise"),
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "solid": ("solid", "uniform"),
    "striped": ("striped", "stripy"),
    "fill dotted": ("dotted", "spotted"),
    "moves": ("moves", "drifts", "slides", "travels", "glides"),
    "still": ("stays still", "does not move", "stands still", "remains still"),
    "slow": ("slowly", "gently"),
    "fast": ("fast", "quickly", "rapidly"),
    "left": ("to the left", "leftwards", "left"),
    "right": ("to the right", "rightwards", "right"),
    "up": ("up", "upwards", "to the top"),
    "down": ("down", "downwards", "to the bottom"),
    "left of": ("left of", "on the left of"),
    "right of": ("right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "plain": ("plain grey background", "empty grey background"),
    "gradient": ("gradient background", "shaded grey background"),
    "checkered": ("checkered background", "chessboard background"),
    "dotted": ("dotted background", "spotted background"),
    "camera static": ("the camera is still", "the camera does not move", "static camera"),
    "pan left": ("the camera pans left", "the view pans to the left"),
    "pan right": ("the camera pans right", "the view pans to the right"),
    "tilt up": ("the camera tilts up", "the view tilts upwards"),
    "tilt down": ("the camera tilts down", "the view tilts downwards"),
    "zoom in": ("the camera zooms in", "the view zooms in"),
    "zoom out": ("the camera zooms out", "the view zooms out"),
}
"""Concept to surface forms, the canonical one first."""

TEMPLATES: tuple[tuple[str, str, str], ...] = (
    ("{objects}", ", {background}", ", {camera}"),
    ("{camera}: ", "{objects}", " on a {background}"),
    ("on a {background}, ", "{objects}", ", {camera}"),
    ("a video of {objects that}", ", {background}", ", {camera}"),
    ("{background}, ", "{camera}, ", "{objects}"),
    ("there is {objects that}", " on a {background}", ", {camera}"),
    ("{objects}", " while {camera}", ", {background}"),
    ("a clip showing {objects that}", " on a {background}", "; {camera}"),
)
"""Sentence patterns in three parts; a part whose slot is unstated is left out."""

MAX_WORDS = 45
"""Longer paraphrases are drawn again."""


def _pick(concept: str, rng: np.random.Generator | None) -> str:
    forms = WORDS[concept]
    return forms[0] if rng is None else forms[rng.integers(len(forms))]


def _describe(obj: Object, rng: np.random.Generator | None) -> tuple[str, str]:
    fill = "fill dotted" if obj.fill == "dotted" else obj.fill
    traits = [("size", obj.size), ("fill", fill), ("colour", obj.colour), ("shape", obj.shape)]
    noun = " ".join(_pick(concept, rng) for name, concept in traits if name not in obj.unstated)
    if obj.motion == "static":
        return f"a {noun}", _pick("still", rng)
    verb = [_pick("moves", rng)]
    if obj.speed and "speed" not in obj.unstated:
        verb.append(_pick(obj.speed, rng))
    return f"a {noun}", f"{' '.join(verb)} {_pick(obj.motion, rng)}"


def caption(scene: Scene, paraphrase: int = 0) -> str:
    """Sentence for `scene`: 0 is the canonical one, any other number a reproducible paraphrase with the same atoms."""
    if not paraphrase:
        return _compose(scene, TEMPLATES[0], None)
    rng = np.random.default_rng(paraphrase)
    while True:
        text = _compose(scene, TEMPLATES[rng.integers(len(TEMPLATES))], rng)
        if len(text.split()) <= MAX_WORDS:
            return text


def _compose(scene: Scene, parts: tuple[str, ...], rng: np.random.Generator | None) -> str:
    phrases = [_describe(obj, rng) for obj in scene.objects]
    link = f", {_pick(scene.relation, rng)} " if scene.relation else ""
    clauses = [f"{noun} that {verb}" for noun, verb in phrases]
    slots = {"{objects that}": link.join(clauses), "{objects}": link.join([" ".join(phrases[0]), *clauses[1:]])}
    if "background" not in scene.unstated:
        slots["{background}"] = _pick(scene.background, rng)
    if "camera" not in scene.unstated:
        slots["{camera}"] = _pick("camera static" if scene.camera == "static" else scene.camera, rng)
    text = ""
    for part in parts:
        slot = re.search(r"\{[\w ]+\}", part)
        if slot and slot[0] in slots:
            text += part.replace(slot[0], slots[slot[0]])
    return text.strip(" ,;:")


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption may contain, sorted (punctuation is not part of a word)."""
    patterns = (re.sub(r"\{[\w ]+\}", " ", part) for part in chain.from_iterable(TEMPLATES))
    texts = chain(chain.from_iterable(WORDS.values()), patterns, ("a that",))
    return tuple(sorted(set(re.findall(r"[a-z]+", " ".join(texts)))))
