from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.frame_features import Appearance, Layout, unit

EXTRACTORS = [Appearance(), Layout()]
IDS = ["appearance", "layout"]


def likeness(extractor, one: np.ndarray, other: np.ndarray) -> float:
    first, second = unit(extractor(np.stack([one, other])))
    return float(first @ second)


@pytest.mark.parametrize("extractor", EXTRACTORS, ids=IDS)
def test_a_frame_is_like_itself_at_any_size(extractor, make_scene):
    frame = make_scene(0).frames[0]
    assert likeness(extractor, frame, frame) == pytest.approx(1)
    double = np.kron(frame, np.ones((2, 2, 1), np.uint8))
    alike = unit(extractor(frame[None]))[0] @ unit(extractor(double[None]))[0]
    assert alike == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("extractor", EXTRACTORS, ids=IDS)
def test_two_frames_of_noise_are_not_alike(extractor):
    one, other = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    assert abs(likeness(extractor, one, other)) < 0.1


def test_an_object_that_moved_looks_the_same_and_stands_elsewhere(make_scene):
    frames = make_scene(0).frames
    moved = likeness(Appearance(), frames[0], frames[9])
    assert moved > 0.95
    assert likeness(Layout(), frames[0], frames[9]) < moved


def test_another_colour_is_another_appearance(make_scene):
    frame = make_scene(0).frames[0]
    assert likeness(Appearance(), frame, frame[..., [2, 0, 1]]) < 0.7


def test_another_shape_is_another_appearance():
    disc, square = (np.full((64, 64, 3), 128, np.uint8) for _ in range(2))
    y, x = np.mgrid[:64, :64]
    disc[(y - 32) ** 2 + (x - 32) ** 2 < 144] = (220, 60, 50)
    square[21:43, 21:43] = (220, 60, 50)
    shifted = np.roll(square, (5, -7), (0, 1))
    assert likeness(Appearance(), square, shifted) > 0.999 > 0.97 > likeness(Appearance(), disc, square)


def test_another_ground_is_another_layout():
    light, dark = np.full((64, 64, 3), 180, np.uint8), np.full((64, 64, 3), 90, np.uint8)
    half = np.concatenate([light[:32], dark[32:]])
    assert likeness(Layout(), light, dark) < 0.7
    assert likeness(Layout(), light, dark) < likeness(Layout(), light, half) < 1


def test_ids_name_the_extractor_and_its_version():
    assert Appearance().id != Layout().id
    assert all(extractor.id.startswith(f"{name}:") for extractor, name in zip(EXTRACTORS, IDS, strict=True))
