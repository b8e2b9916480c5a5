"""Clips show their scenes: right colours at right places, reproducible, moving by whole sub-pixels."""

from __future__ import annotations

import numpy as np
import pytest

from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.render import outline, render, silhouette
from fewstep.shapes.scene import COLOURS, Object, Scene, World, screen_path

DISC = Object(size="small", colour="red", shape="circle", fill="solid", motion="right", speed="slow", x=20, y=32)


def test_a_solid_disc_has_its_colour_area_and_centre():
    frame = render(Scene(objects=(DISC,), background="plain", camera="static", level=140), frames=1)[0].astype(float)
    assert tuple(frame[32, 20]) == COLOURS["red"]
    assert tuple(frame[5, 5]) == (140, 140, 140)
    cover = (frame[..., 1] - 140) / (COLOURS["red"][1] - 140)
    assert cover.sum() == pytest.approx(np.pi * (0.94 * DISC.radius) ** 2, rel=0.01)
    y, x = np.indices(cover.shape) + 0.5
    assert (cover * x).sum() / cover.sum() == pytest.approx(20, abs=0.05)
    assert (cover * y).sum() / cover.sum() == pytest.approx(32, abs=0.05)


def test_objects_move_by_fractions_of_a_pixel():
    scene = Scene(objects=(DISC,), background="plain", camera="static")
    video = render(scene).astype(float)
    cover = (video[..., 1] - 140) / (COLOURS["red"][1] - 140)
    x = np.arange(64) + 0.5
    centres = (cover * x).sum((1, 2)) / cover.sum((1, 2))
    path, _ = screen_path(scene, np.arange(33.0), World())
    assert np.abs(centres - path[0, :, 0]).max() < 0.05


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star", "heart"])
def test_outlines_fill_their_box_and_stay_in_it(shape):
    points = outline(shape)
    assert np.abs(points).max() <= 1.03
    assert np.abs(points).max() > 0.89
    assert silhouette(shape, 9.5).any()


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="shape must be one of"):
        outline("hexagon")


def test_clips_depend_on_seed_split_and_index_only():
    frames, text, scene = ShapeWorld(5).clip(3)
    again, text_again, scene_again = ShapeWorld(5).clip(3)
    assert frames.shape == (33, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, again)
    assert (text, scene) == (text_again, scene_again)
    for other in (ShapeWorld(6).clip(3), ShapeWorld(5).clip(4), ShapeWorld(5, "i2v").clip(3)):
        assert other[2] != scene


def test_long_clips_start_as_short_ones_and_come_back():
    world = ShapeWorld(5, "long")
    frames, _, scene = world.clip(0)
    assert len(frames) == world.pixel_frames == 129
    assert np.array_equal(frames[:33], render(scene))
    assert np.array_equal(frames[64], frames[0])
    assert np.array_equal(world.first_frame(0)[0], frames[0])


def test_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="split must be one of"):
        ShapeWorld(0, "test")
