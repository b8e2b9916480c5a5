from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fewstep.evaluation.train_features import (
    DAMAGES,
    FACTS,
    TRAIN_SEED,
    Checked,
    _area,
    batches,
    example,
    facts,
    save,
    train,
)
from fewstep.metrics.extractors import ClipNet, trained_features
from fewstep.metrics.frechet import frechet_distance
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.scene import Object, Scene

SCENE = Scene(
    objects=(
        Object(size="large", colour="red", shape="circle", fill="solid", motion="left", speed="fast", x=20, y=20),
        Object(size="large", colour="blue", shape="star", fill="solid", motion="static", speed=None, x=40, y=20),
    ),
    background="plain",
    camera="static",
    relation="left of",
)
NAMES = ("blur", "noise", "jitter", "freeze", "disorder", "fade")


def test_facts_are_those_of_the_scene():
    true = {fact for fact, value in zip(FACTS, facts(SCENE), strict=True) if value}
    assert true == {
        *("red", "blue", "circle", "star", "solid", "large", "fast", "moves left", "moves static"),
        *("red circle", "blue star", "red moves left", "blue moves static"),
        *("background plain", "camera static", "first left of second", "2 objects"),
    }


def test_no_fact_is_listed_twice():
    assert len(set(FACTS)) == len(FACTS)


def test_half_of_the_clips_are_whole_and_the_others_have_one_damage():
    world = ShapeWorld(TRAIN_SEED)
    done = np.stack([example(world, index)[2] for index in range(40)])
    assert ((done > 0).sum(1) <= 1).all()
    assert 0.3 < (done > 0).any(1).mean() < 0.7


@pytest.mark.parametrize(("damage", "name"), list(zip(DAMAGES, NAMES, strict=True)), ids=NAMES)
def test_more_damage_departs_further_from_the_clip(damage, name):
    clip = ShapeWorld(1).clip(3)[0][::2]
    far = [
        np.abs(damage(clip, amount, np.random.default_rng(0)).astype(int) - clip).mean() for amount in (0.05, 0.5, 1.0)
    ]
    assert far[0] < far[1] < far[2]
    assert damage(clip, 0.5, np.random.default_rng(0)).dtype == np.uint8


def test_no_clip_comes_twice_and_the_same_come_again():
    stream, again = batches(1, 2), batches(1, 2)
    first, second = next(stream), next(stream)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[0], next(again)[0])
    assert first[0].shape == (2, 3, 16, 64, 64)


def test_an_area_by_hand():
    assert _area(np.array([0.1, 0.9, 0.5]), np.array([False, True, True])) == 1
    assert _area(np.array([0.7, 0.9, 0.5]), np.array([False, True, True])) == 0.5
    assert np.isnan(_area(np.zeros(2), np.array([False, False])))


def test_training_writes_an_extractor_that_is_read_back(tmp_path):
    said = []
    net, found = train(2, 4, said.append, checked=8)
    path = tmp_path / "model.safetensors"
    save(net, found, path, updates=2, batch=4)
    features = trained_features(path)
    clips = np.stack([ShapeWorld(1).clip(i)[0][:32:2] for i in range(2)])
    assert features.extract(clips).shape == (2, 64)
    assert path.stat().st_size < 600_000
    assert said[-1].startswith("features: 2/2, 0 s left")
    recorded = json.loads((tmp_path / "training.json").read_text())
    assert (recorded["updates"], recorded["facts"]) == (2, found.facts)


def test_weights_in_half_precision_say_the_same(tmp_path):
    torch.manual_seed(0)
    net = ClipNet().eval()
    x = torch.rand(2, 3, 16, 64, 64) * 2 - 1
    path = tmp_path / "model.safetensors"
    save(net, Checked(0.5, 0.0), path)
    assert torch.allclose(trained_features(path).net(x), net(x), atol=2e-3)


@pytest.fixture(scope="module")
def truth() -> list[np.ndarray]:
    world = ShapeWorld(55)
    return [world.clip(index)[0][:32:2] for index in range(96)]


@pytest.mark.parametrize(("damage", "name"), list(zip(DAMAGES, NAMES, strict=True)), ids=NAMES)
def test_damage_lies_beyond_two_halves_of_the_ground_truth(truth, damage, name):
    features, rng = trained_features(), np.random.default_rng(0)
    one, other = np.stack(truth[:48]), np.stack(truth[48:])
    damaged = np.stack([damage(clip, 1.0, rng) for clip in other])
    seen = features.extract(one)
    assert frechet_distance(seen, features.extract(damaged)) > 1.2 * frechet_distance(seen, features.extract(other))
