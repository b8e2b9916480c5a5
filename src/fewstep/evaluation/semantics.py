"""Compare a recogniser's verdict with the stated facts of a scene: nine dimensions named after VBench's, and atoms."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np

from fewstep.shapes.recognise import Track, Verdict, recognise
from fewstep.shapes.scene import BACKGROUNDS, Object, Scene, World

SEMANTIC = (
    "object_class",
    "multiple_objects",
    "human_action",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "temporal_style",
    "overall_consistency",
)
"""VBench's names; here: shape, all objects and their number, motion direction, colour and shape together, signed
relation, background, fill, speed and camera, share of true atoms."""


def judge(frames: np.ndarray, scene: Scene, world: World | None = None) -> tuple[tuple[str, bool], ...]:
    """Every fact that the caption of `scene` states, and whether the clip `[f, H, W, 3]` uint8 shows it."""
    return atoms(recognise(frames, world), scene)


def atoms(verdict: Verdict, scene: Scene) -> tuple[tuple[str, bool], ...]:
    """Stated facts as (words, true); facts about an object are false where its colour is not found."""
    found = [("one object", "two objects", "three objects")[len(scene.objects) - 1]]
    truth = [verdict.count == len(scene.objects)]
    for obj in scene.objects:
        track = verdict.tracks.get(obj.colour)
        for name in ("colour", "shape", "size", "fill", "motion", "speed"):
            wanted = getattr(obj, name)
            if wanted is None or name in obj.unstated:
                continue
            label = {"colour": wanted, "motion": "still" if wanted == "static" else f"moves {wanted}"}.get(name, wanted)
            found.append(label if name == "colour" else f"{obj.colour}: {label}")
            truth.append(track is not None and getattr(track, name) == wanted)
    for first, second in pairwise(scene.objects):
        found.append(f"{first.colour} {scene.relation} {second.colour}")
        truth.append(verdict.relation(first.colour, second.colour) == scene.relation)
    if "background" not in scene.unstated:
        found.append(f"{scene.background} background")
        truth.append(verdict.background == scene.background)
    if "camera" not in scene.unstated:
        found.append(f"camera: {scene.camera}")
        truth.append(verdict.camera.name == scene.camera)
    return tuple(zip(found, truth, strict=True))


def semantic_scores(verdict: Verdict, scene: Scene) -> dict[str, float]:
    """The nine dimensions in 0 … 1, NaN where the caption states nothing of the kind (one object, open attributes).

    Shape, colour, fill, number and background are shares of the frames; motion, speed, relation and camera are one
    verdict per clip. An object that is not found counts as wrong, which is stricter than VBench's color.
    """
    tracks = [(obj, verdict.tracks.get(obj.colour)) for obj in scene.objects]
    paces = [float(track is not None and track.speed == obj.speed) for obj, track in tracks if _states_speed(obj)]
    if "camera" not in scene.unstated:
        paces.append(float(verdict.camera.name == scene.camera))
    relations = [verdict.relation(a.colour, b.colour) == scene.relation for a, b in pairwise(scene.objects)]
    background = float((verdict.backgrounds == BACKGROUNDS.index(scene.background)).mean())
    return {
        "object_class": _shapes_found(verdict, scene),
        "multiple_objects": _all_present(verdict, scene) if len(scene.objects) > 1 else np.nan,
        "human_action": _mean([track is not None and track.motion == obj.motion for obj, track in tracks]),
        "color": _mean([track.shape_share(obj.shape) if track else 0.0 for obj, track in tracks]),
        "spatial_relationship": _mean(relations),
        "scene": background if "background" not in scene.unstated else np.nan,
        "appearance_style": _mean(
            [track.fill_share(obj.fill) if track else 0.0 for obj, track in tracks if "fill" not in obj.unstated]
        ),
        "temporal_style": _mean(paces),
        "overall_consistency": _mean([true for _, true in atoms(verdict, scene)]),
    }


def recognition_rate(verdict: Verdict, scene: Scene) -> float:
    """Share of the expected object appearances, over all frames, in which some object has a recognisable shape."""
    known = sum((track.shapes >= 0).astype(int) for track in verdict.tracks.values())
    return float(np.mean(np.minimum(known, len(scene.objects)))) / len(scene.objects)


def _states_speed(obj: Object) -> bool:
    return obj.speed is not None and "speed" not in obj.unstated


def _mean(values: list[float] | list[bool]) -> float:
    return float(np.mean(values)) if values else np.nan


def _shapes_found(verdict: Verdict, scene: Scene) -> float:
    """Mean share of frames with each wanted shape, whatever its colour, under the best assignment of tracks."""
    tracks: list[Track | None] = [*verdict.tracks.values(), *([None] * len(scene.objects))]
    shares = np.array([[track.shape_share(obj.shape) if track else 0.0 for track in tracks] for obj in scene.objects])
    rows = np.arange(len(scene.objects))
    return max(float(shares[rows, list(order)].mean()) for order in permutations(range(len(tracks)), len(rows)))


def _all_present(verdict: Verdict, scene: Scene) -> float:
    """Share of frames with every wanted colour and no further component."""
    wanted = {obj.colour for obj in scene.objects}
    if set(verdict.tracks) != wanted:
        return 0.0
    present = np.all([track.present for track in verdict.tracks.values()], axis=0)
    return float((present & (verdict.extras == 0)).mean())
