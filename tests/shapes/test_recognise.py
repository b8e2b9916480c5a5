"""The recogniser reads every attribute back, says nothing about noise, and follows mirrored and codec-worn clips."""

from __future__ import annotations

from itertools import pairwise, product

import cv2
import numpy as np
import pytest

from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.recognise import recognise
from fewstep.shapes.render import render
from fewstep.shapes.scene import (
    ALL_CAMERAS,
    BACKGROUNDS,
    COLOURS,
    FILLS,
    MOTIONS,
    SHAPES,
    SIZES,
    SPEEDS,
    Object,
    Scene,
)

CLIPS = 16


def lone(camera: str = "static", background: str = "plain", **changes: object) -> Scene:
    fields = {"size": "small", "colour": "red", "shape": "star", "fill": "solid", "motion": "static", "speed": None}
    return Scene(objects=(Object(**{**fields, "x": 32, "y": 32, **changes}),), background=background, camera=camera)


@pytest.mark.parametrize(("shape", "fill"), list(product(SHAPES, FILLS)))
def test_every_shape_with_every_fill_in_every_colour_and_size(shape, fill):
    for size, colour in zip((*SIZES, *SIZES, *SIZES), COLOURS, strict=True):
        clip = render(lone(shape=shape, fill=fill, size=size, colour=colour, x=31.3, y=32.8), frames=3)
        track = recognise(clip).tracks[colour]
        assert (track.shape, track.fill, track.size) == (shape, fill, size)


@pytest.mark.parametrize("camera", ALL_CAMERAS)
@pytest.mark.parametrize("background", ["checkered", "dotted"])
def test_every_camera_over_every_texture(camera, background):
    verdict = recognise(render(lone(camera, background)))
    assert verdict.camera.name == camera
    assert verdict.background == background
    assert verdict.tracks["red"].motion == "static"


@pytest.mark.parametrize("motion", [name for name in MOTIONS if name != "static"])
@pytest.mark.parametrize(("speed", "start"), [("slow", 8), ("fast", 16)])
def test_every_motion_and_speed(motion, speed, start):
    way = MOTIONS[motion]
    clip = render(lone(motion=motion, speed=speed, x=32 - start * way[0], y=32 - start * way[1]))
    track = recognise(clip).tracks["red"]
    assert (track.motion, track.speed) == (motion, speed)
    assert track.screen_speed == pytest.approx(SPEEDS[speed], abs=0.02)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background(background):
    assert recognise(render(lone(background=background), frames=2)).background == background


def test_mirrored_clips_flip_horizontal_motion_and_relation():
    flipped = {"left": "right", "right": "left", "left of": "right of", "right of": "left of"}
    seen = 0
    for index in range(CLIPS):
        clip, _, scene = ShapeWorld(21).clip(index)
        verdict = recognise(np.ascontiguousarray(clip[:, :, ::-1]))
        for obj in scene.objects:
            assert verdict.tracks[obj.colour].motion == flipped.get(obj.motion, obj.motion)
        for first, second in pairwise(scene.objects):
            assert verdict.relation(first.colour, second.colour) == flipped.get(scene.relation, scene.relation)
            seen += scene.relation in flipped
    assert seen > 1


@pytest.mark.parametrize("damage", ["noise", "blur"])
def test_moderate_noise_and_blur_change_no_verdict(damage):
    rng = np.random.default_rng(0)
    for index in range(8):
        clip, _, scene = ShapeWorld(22).clip(index)
        if damage == "noise":
            clip = np.clip(clip + rng.normal(0, 12, clip.shape), 0, 255).astype(np.uint8)
        else:
            clip = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.9) for frame in clip])
        verdict = recognise(clip)
        assert (verdict.count, verdict.background) == (len(scene.objects), scene.background)
        assert verdict.camera.name == scene.camera
        for obj in scene.objects:
            track = verdict.tracks[obj.colour]
            assert (track.shape, track.fill, track.size) == (obj.shape, obj.fill, obj.size)
            assert (track.motion, track.speed) == (obj.motion, obj.speed)


def test_nothing_is_seen_in_grey_and_no_background_in_noise():
    grey = recognise(np.full((5, 64, 64, 3), 140, np.uint8))
    assert (grey.count, grey.background, grey.moving) == (0, "plain", False)
    noise = recognise(np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3)).astype(np.uint8))
    assert (noise.background, noise.camera.name) == (None, None)
    assert all(track.shape is None for track in noise.tracks.values())


def test_a_shape_outside_the_grammar_is_unrecognised():
    clip = np.full((3, 64, 64, 3), 140, np.uint8)
    clip[:, 30:34, 8:56] = COLOURS["red"]
    assert recognise(clip).tracks["red"].shape is None


def test_shuffled_frames_show_no_motion():
    scene = lone(motion="right", speed="fast", x=12)
    clip = render(scene)[np.random.default_rng(0).permutation(33)]
    verdict = recognise(clip)
    assert verdict.tracks["red"].motion is None
    assert not verdict.moving


def test_clips_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        recognise(np.zeros((3, 64, 64, 3), np.float32))
