from __future__ import annotations

import numpy as np
import pytest

from fewstep.demo.judge import judge
from fewstep.shapes.grammar import World, sample_scene
from fewstep.shapes.render import render

SCENES = [sample_scene(seed, count=count) for seed, count in enumerate((1, 2, 3, 1))]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{len(scene.objects)} objects")
def test_ground_truth_is_right_in_every_stated_attribute(scene):
    checks = judge(render(scene, World()), scene)
    assert [name for name, right in checks if not right] == []


def test_names_of_checks_are_distinct():
    for scene in SCENES:
        names = [name for name, _ in judge(render(scene, World()), scene)]
        assert len(names) == len(set(names))


def test_unstated_attributes_are_not_judged():
    scene = next(s for s in map(sample_scene, range(200)) if "camera" in s.unstated)
    assert "camera" not in dict(judge(render(scene, World()), scene))


def test_noise_shows_nothing():
    noise = np.random.default_rng(0).integers(0, 255, (33, 64, 64, 3), dtype=np.uint8)
    scene = SCENES[0]
    right = [name for name, right in judge(noise, scene) if right]
    assert not set(right) & {"colour", "shape", "motion", "fill", "size"}
