"""Captions say exactly the stated facts, in few words, whatever the paraphrase."""

from __future__ import annotations

import re

import pytest

from fewstep.shapes.caption import MAX_WORDS, TEMPLATES, WORDS, caption, vocabulary
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.scene import Object, Scene

STAR = Object(size="large", colour="red", shape="star", fill="striped", motion="left", speed="slow", x=40, y=16)
CIRCLE = Object(size="small", colour="blue", shape="circle", fill="solid", motion="static", speed=None, x=30, y=50)
SCENE = Scene(objects=(STAR, CIRCLE), background="plain", camera="static", relation="above")


def says(text: str, concept: str) -> bool:
    return any(re.search(rf"\b{form}\b", text) for form in WORDS[concept])


def test_the_canonical_sentence():
    assert caption(SCENE) == (
        "a large striped red star moves slowly to the left, above a small solid blue circle that stays still, "
        "plain grey background, the camera is still"
    )


@pytest.mark.parametrize("paraphrase", range(1, 40))
def test_every_paraphrase_states_every_fact(paraphrase):
    text = caption(SCENE, paraphrase)
    concepts = ("large", "striped", "red", "star", "moves", "slow", "left", "above")
    concepts += ("small", "solid", "blue", "circle", "still", "plain", "camera static")
    assert [concept for concept in concepts if not says(text, concept)] == []


@pytest.mark.parametrize("paraphrase", range(20))
def test_open_attributes_are_not_mentioned(paraphrase):
    star = Object(**{**vars(STAR), "unstated": ("size", "fill", "speed")})
    text = caption(
        Scene(objects=(star,), background="plain", camera="static", unstated=("background", "camera")), paraphrase
    )
    assert not any(says(text, concept) for concept in ("large", "striped", "slow", "plain", "camera static"))
    assert all(says(text, concept) for concept in ("red", "star", "left"))


def test_paraphrases_are_many_and_reproducible():
    assert len({caption(SCENE, paraphrase) for paraphrase in range(100)}) > 60
    assert caption(SCENE, 7) == caption(SCENE, 7)
    assert len(TEMPLATES) >= 6


def test_captions_are_short_and_from_a_small_vocabulary():
    words = set(vocabulary())
    assert len(words) < 250
    for index in range(300):
        _, text = ShapeWorld(2).scene(index)
        assert len(text.split()) <= MAX_WORDS
        assert set(re.findall(r"\w+", text)) <= words
