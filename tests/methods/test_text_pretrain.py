"""The text encoder's tasks: atoms of the scene and masked words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Method
from fewstep.methods.text_pretrain import (
    SCENE_ATOMS,
    UNSTATED,
    TextPretrainConfig,
    atom_accuracy,
    atom_loss,
    scene_targets,
)
from fewstep.models.text import TextEncoder
from fewstep.shapes.caption import caption
from fewstep.shapes.grammar import World, sample_scene
from fewstep.shapes.scene import ATTRIBUTES, Object, Scene


class Networks:
    def __init__(self):
        torch.manual_seed(0)
        self.encoder = TextEncoder.from_preset("tiny")

    def text_encoder(self) -> TextEncoder:
        return self.encoder


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(np.random.default_rng(seed), "train", World()) for seed in range(8)]


@pytest.fixture
def batch(scenes) -> Batch:
    tokens = Networks().encoder.tokenize([caption(scene) for scene in scenes])
    return Batch(tokens=tokens, targets=scene_targets(scenes))


def test_targets_name_each_stated_value_and_leave_the_rest_out():
    red = Object(
        size="small", colour="red", shape="star", fill="solid", motion="left", speed="fast", x=9.0, y=9.0,
        unstated=("speed",),
    )  # fmt: skip
    blue = Object(size="large", colour="blue", shape="circle", fill="striped", motion="static", speed=None, x=0, y=0)
    scene = Scene(objects=(red, blue), background="gradient", camera="static", relation="above", unstated=("camera",))
    targets = scene_targets([scene])
    values = {**ATTRIBUTES, **SCENE_ATOMS}

    def named(atom: str) -> list[str | None]:
        return [None if i == UNSTATED else values[atom][i] for i in targets[atom][0].tolist()]

    assert named("colour") == ["red", "blue", None]
    assert named("speed") == [None, None, None]
    assert named("motion") == ["left", "static", None]
    assert (named("count"), named("relation")) == (["2"], ["above"])
    assert (named("background"), named("camera")) == (["gradient"], [None])


def test_loss_and_accuracy_by_hand():
    logits = {"a": torch.tensor([[[0.0, 0.0], [9.0, 0.0]]]), "b": torch.tensor([[[0.0, 0.0, 0.0]]])}
    targets = {"a": torch.tensor([[0, UNSTATED]]), "b": torch.tensor([[2]])}
    assert float(atom_loss(logits, targets)) == pytest.approx((math.log(2) + math.log(3)) / 2)
    assert float(atom_accuracy(logits, targets)) == pytest.approx(0.5)  # ties go to the first class


def test_it_is_a_method_whose_players_take_turns(batch):
    method = TextPretrainConfig().build(Networks(), Rng(0))
    assert isinstance(method, Method)
    assert {turn.player for turn in method.turns(0)} == set(method.players) == {"text_encoder", "readout"}
    assert method.players[method.generator].module is method.encoder


def test_the_readout_does_not_look_past_the_end():
    method = TextPretrainConfig().build(Networks(), Rng(0))
    embeds = torch.randn(2, 5, 32)
    embeds[:, 3:] = 0
    short = method.readout(embeds[:, :3])
    for name, logits in method.readout(embeds).items():
        torch.testing.assert_close(logits, short[name], atol=1e-5, rtol=0)


def test_both_players_get_gradients_and_learn(batch):
    method = TextPretrainConfig().build(Networks(), Rng(0))
    parameters = [*method.encoder.parameters(), *method.readout.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3)
    values = []
    for _ in range(25):
        loss = method.loss(batch)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        values.append(float(loss.parts["atoms"]))
    assert not [p.shape for p in parameters if p.grad is None]
    assert values[-1] < 0.6 * values[0]


def test_masked_words_are_drawn_from_the_rng(batch):
    losses = [TextPretrainConfig().build(Networks(), Rng(s)).masked_loss(batch.tokens).item() for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_a_batch_without_words_has_no_masked_loss():
    method = TextPretrainConfig().build(Networks(), Rng(0))
    assert method.masked_loss(torch.tensor([[1, 0]])).item() == 0


def test_missing_targets_and_bad_shares_are_refused(batch):
    with pytest.raises(ValueError, match=r"Batch\.targets"):
        TextPretrainConfig().build(Networks(), Rng(0)).loss(Batch(tokens=batch.tokens))
    with pytest.raises(ValueError, match="between 0 and 1"):
        TextPretrainConfig(masked_share=1.0)
