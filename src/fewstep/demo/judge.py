"""What a prompt states, found or not in a clip: one check per stated attribute, by the recogniser."""

from __future__ import annotations

from fewstep.shapes.recognise import Track, recognise
from fewstep.shapes.scene import Object, Scene
from fewstep.video import Frames

Checks = tuple[tuple[str, bool], ...]


def judge(frames: Frames, scene: Scene) -> Checks:
    """Name and outcome of every attribute that the scene's caption states; nothing of an absent object is right."""
    seen = recognise(frames)
    checks: list[tuple[str, bool]] = [("number of objects", seen.count == len(scene.objects))]
    for obj in scene.objects:
        checks += _of_object(obj, seen.tracks.get(obj.colour), name=obj.colour if len(scene.objects) > 1 else "")
    for first, second in zip(scene.objects, scene.objects[1:], strict=False):
        relation = f"{first.colour} {scene.relation} {second.colour}"
        checks.append((relation, seen.relation(first.colour, second.colour) == scene.relation))
    if "background" not in scene.unstated:
        checks.append(("background", seen.background == scene.background))
    if "camera" not in scene.unstated:
        checks.append(("camera", seen.camera.name == scene.camera))
    return tuple(checks)


def _of_object(obj: Object, track: Track | None, name: str) -> list[tuple[str, bool]]:
    """The colour is right when there is an object of it; the rest is read from that object."""
    wanted = {"shape": obj.shape, "motion": obj.motion, "size": obj.size, "fill": obj.fill, "speed": obj.speed}
    stated = {key: value for key, value in wanted.items() if key not in obj.unstated and value is not None}
    found = [("colour" if not name else f"{name} object", track is not None)]
    return found + [
        (f"{name} {key}".strip(), track is not None and getattr(track, key) == value) for key, value in stated.items()
    ]
