from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fewstep.metrics.base import Clip
from fewstep.metrics.camera import asked_of_camera, camera_motion, obedience_of, speed_of

MOVES = {
    "pan right": {"shift": (1, 0)},
    "pan left": {"shift": (-1, 0)},
    "tilt down": {"shift": (0, 1)},
    "tilt up": {"shift": (0, -1)},
    "zoom in": {"zoom": 0.015},
    "zoom out": {"zoom": -0.015},
    "static": {},
}


@pytest.mark.parametrize("name", MOVES)
def test_the_cameras_motion_is_found_behind_an_object_that_moves_otherwise(make_scene, name):
    clip = replace(make_scene(1, speed=2, **MOVES[name]), prompt=f"a red disc, the camera {name.replace(' ', 's ')}")
    assert camera_motion(clip).name == name
    if name != "static":
        assert obedience_of(clip) == 1
    assert obedience_of(replace(clip, prompt="camera zooms in" if name != "zoom in" else "camera static")) == 0


def test_how_far_the_camera_goes(make_scene):
    """16 px over the 17 frames are a quarter of the side, in one second; 0.24 of logarithmic zoom are 1.27 times."""
    pan = camera_motion(make_scene(1, shift=(1, 0)))
    assert (pan.pan, pan.tilt) == (pytest.approx(0.25, abs=0.02), pytest.approx(0, abs=0.01))
    assert speed_of(make_scene(1, shift=(0, 1))) == pytest.approx(0.25, abs=0.02)
    assert camera_motion(make_scene(1, zoom=0.015)).log_zoom == pytest.approx(math.log(1.27), abs=0.06)


def test_a_mirrored_pan_goes_the_other_way(make_scene):
    clip = make_scene(2, shift=(1, 0))
    mirrored = replace(clip, frames=np.ascontiguousarray(clip.frames[:, :, ::-1]))
    assert (camera_motion(clip).name, camera_motion(mirrored).name) == ("pan right", "pan left")


def test_no_camera_is_seen_without_texture_or_in_noise():
    noise = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3)).astype(np.uint8)
    for frames in (np.full((9, 64, 64, 3), 128, np.uint8), noise):
        clip = Clip(frames, 8.0, "camera pans left")
        assert camera_motion(clip) is None
        assert obedience_of(clip) == 0
        assert np.isnan(speed_of(clip))


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a boat on a lake, camera pans left", "pan left"),
        ("The view pans to the right over hills", "pan right"),
        ("a tower, camera tilts upwards", "tilt up"),
        ("camera zooms out", "zoom out"),
        ("a cat in a window, camera zooms in slowly", "zoom in"),
        ("waves on a beach, pan right", "pan right"),
        ("a cat, static camera", "static"),
        ("a pan on the left of a stove", None),
        ("a pancake on the right", None),
        ("camera pans left, then zooms in", None),
        ("a boat on a lake", None),
    ],
)
def test_what_a_prompt_asks_of_the_camera(prompt, asked):
    assert asked_of_camera(prompt) == asked


def test_a_prompt_that_asks_nothing_is_not_scored(make_scene):
    assert np.isnan(obedience_of(make_scene(0)))
