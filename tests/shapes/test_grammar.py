"""Scenes obey the grammar: nothing leaves, touches or crosses, and held-out compositions stay out of training."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.grammar import (
    COUNT_SHARES,
    GAP,
    STATIC_CAMERA_SHARE,
    World,
    is_held_out,
    sample_scene,
    scene_from_json,
    scene_to_json,
)
from fewstep.shapes.scene import (
    COLOURS,
    MOTIONS,
    RELATIONS,
    SHAPES,
    SPEEDS,
    ZOOM_RANGE,
    Object,
    Scene,
    fold_time,
    screen_path,
)

WORLD = World()
TIMES = np.arange(WORLD.frames, dtype=float)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [ShapeWorld(3).scene(index)[0] for index in range(400)]


def test_objects_stay_inside_at_every_frame(scenes):
    for scene in scenes:
        path, zoom = screen_path(scene, TIMES, WORLD)
        for obj, places in zip(scene.objects, path, strict=True):
            reach = obj.radius * zoom[:, None]
            assert (places - reach).min() > -0.02
            assert (places + reach).max() < WORLD.size + 0.02


def test_objects_never_touch(scenes):
    for scene in scenes:
        path, zoom = screen_path(scene, TIMES, WORLD)
        for (a, p), (b, q) in combinations(zip(scene.objects, path, strict=True), 2):
            apart = np.abs(p - q).max(axis=1) / zoom
            assert apart.min() > a.radius + b.radius + GAP - 0.05


def test_relations_hold_with_their_sign_at_every_frame(scenes):
    for scene in scenes:
        path, _ = screen_path(scene, TIMES, WORLD)
        for first, second in pairwise(path):
            way = np.array(RELATIONS[scene.relation])
            assert ((first - second) @ way > 0).all()
            assert np.abs((first - second).mean(0) @ way[::-1]) < np.abs((first - second).mean(0) @ way)


def test_colours_are_distinct_within_a_scene(scenes):
    for scene in scenes:
        assert len({obj.colour for obj in scene.objects}) == len(scene.objects)


def test_a_tenth_of_the_compositions_is_held_out():
    held_out = [(c, s, m) for c in COLOURS for s in SHAPES for m in MOTIONS if is_held_out(c, s, m)]
    assert len(held_out) == 15
    assert len({(colour, shape) for colour, shape, _ in held_out}) == 15
    assert {motion for *_, motion in held_out} == set(MOTIONS)


@pytest.mark.parametrize(("split", "held_out"), [("train", False), ("i2v", False), ("long", False), ("heldout", True)])
def test_splits_keep_compositions_apart(split, held_out):
    for index in range(60):
        scene, _ = ShapeWorld(1, split).scene(index)
        assert any(is_held_out(obj.colour, obj.shape, obj.motion) for obj in scene.objects) == held_out


def test_shares_of_counts_and_cameras_are_the_stated_ones(scenes):
    counts = np.bincount([len(scene.objects) for scene in scenes], minlength=4)[1:] / len(scenes)
    # 400 scenes: four standard errors are 0.1.
    assert np.allclose(counts, COUNT_SHARES, atol=0.1)
    assert abs(np.mean([scene.camera == "static" for scene in scenes]) - STATIC_CAMERA_SHARE) < 0.1


def test_only_fast_objects_exceed_the_dynamic_threshold_on_screen(scenes):
    for scene in scenes:
        path, _ = screen_path(scene, TIMES, WORLD)
        speeds = np.linalg.norm(np.diff(path, axis=1), axis=-1).mean(1)
        assert (speeds.max() > 6 / 256 * WORLD.size / 2) == scene.moving


def test_json_round_trip_keeps_the_scene_and_its_hash(scenes):
    for scene in scenes[:40]:
        again = scene_from_json(scene_to_json(scene))
        assert again == scene
        assert again.content_hash == scene.content_hash
    assert len({scene.content_hash for scene in scenes}) == len(scenes)


@pytest.mark.parametrize("text", ['{"objects": []}', "[]", '{"objects": [{"size": "small"}]}'])
def test_foreign_json_is_refused(text):
    with pytest.raises(ValueError, match="scene"):
        scene_from_json(text)


def test_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="split must be one of"):
        sample_scene(0, "validation")


def test_long_clips_retrace_their_path():
    assert fold_time(8, 4).tolist() == [0, 1, 2, 3, 2, 1, 0, 1]
    assert fold_time(33, 33).tolist() == list(range(33))


def test_screen_path_by_hand():
    obj = Object(size="small", colour="red", shape="star", fill="solid", motion="right", speed="slow", x=20, y=32)
    panned, _ = screen_path(Scene(objects=(obj,), background="dotted", camera="tilt up"), np.array([0.0, 10.0]), WORLD)
    assert np.allclose(panned[0], [(20, 32), (20 + 10 * SPEEDS["slow"], 32 + 4)])
    zoomed, zoom = screen_path(Scene(objects=(obj,), background="dotted", camera="zoom in"), np.array([0.0]), WORLD)
    assert np.allclose(zoomed[0], [(20, 32)])
    assert zoom[0] == 1
    _, zoom = screen_path(Scene(objects=(obj,), background="dotted", camera="zoom out"), np.array([0.0, 32.0]), WORLD)
    assert np.allclose(zoom, [ZOOM_RANGE, 1])
