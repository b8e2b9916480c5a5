from __future__ import annotations

import pytest
import torch

from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import shifted_levels
from fewstep.methods.base import Method
from fewstep.methods.dmd import DMDConfig
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from methods.players import FAST, Networks, freeze_all_but, moved_by, owners_of_gradients, prompts, twice


def build(**settings):
    shape = {"latent_shape": (4, 16, 4, 4), "layout": ChunkLayout(chunk=2), "guidance": 2.0}
    optim = {"generator_optim": FAST, "fake_score_optim": FAST}
    return DMDConfig(**{**shape, **optim, **settings}).build(Networks(teacher=1), Rng(0))


@pytest.mark.parametrize("ratio", [1, 5])
def test_a_cycle_is_one_generator_update_and_ratio_fake_score_updates(ratio):
    method = build(ratio=ratio)
    assert isinstance(method, Method)
    assert [turn.player for turn in method.turns(0)] == ["generator"] + ["fake_score"] * ratio


def test_every_update_draws_its_own_exit_uniformly_over_the_steps():
    method = build()
    drawn = [turn.loss.keywords["n"] for step in range(200) for turn in method.turns(step)]
    for n in (1, 2, 3, 4):
        assert drawn.count(n) / len(drawn) == pytest.approx(0.25, abs=0.05)
    assert set(drawn) == {1, 2, 3, 4}


@pytest.mark.parametrize("levels", [(1.0,), shifted_levels((1000, 500)), shifted_levels()])
def test_students_of_any_number_of_steps_can_train_with_all_of_them(levels):
    method = build(levels=levels, exits="last")
    assert {turn.loss.keywords["n"] for turn in method.turns(0)} == {len(levels)}
    freeze_all_but(method, "generator")
    loss = method.turns(0)[0].loss(prompts())
    assert torch.isfinite(loss.total)
    assert set(loss.parts) == {"dmd", f"dmd_n{len(levels)}"}


@pytest.mark.parametrize("n", [1, 3])
def test_an_exit_at_n_evaluates_the_student_n_times_per_chunk(n):
    method = build()
    levels = []
    method.student.register_forward_pre_hook(lambda net, args: levels.append(round(args[1].max().item(), 4)))
    method.sample(prompts().text, n)
    assert [level for level in levels if level > 0] == [round(s, 4) for s in shifted_levels()[:n]] * 2


@pytest.mark.parametrize("player", ["generator", "fake_score"])
def test_a_turn_gives_gradient_to_its_player_only(player):
    method = build()
    turn = next(turn for turn in method.turns(0) if turn.player == player)
    turn.loss(prompts()).total.backward()
    assert owners_of_gradients(method) == {player}


def test_every_turn_of_a_cycle_moves_its_player_and_no_other():
    method = build(ratio=1)
    for turn in method.turns(0):
        assert moved_by(method, turn, prompts()) == {turn.player}


def test_a_method_remembers_nothing_but_its_random_streams_and_weights():
    assert torch.equal(*twice(build(ratio=1), prompts()))


def warmup():
    window = Context(1, 5, "relative")
    return build(
        levels=(1.0,),
        latent_shape=(7, 16, 4, 4),
        layout=ChunkLayout(2, first=1),
        context=window,
        first_frame="given",
        ratio=1,
    )


def test_a_given_image_begins_every_rollout_and_only_the_student_learns_from_what_follows():
    method = warmup()
    batch = prompts(clip=(9, 16, 4, 4))
    with torch.no_grad():
        clip = method.sample(batch.text, 1, method.image(batch))
    assert clip.shape == (2, 7, 16, 4, 4)
    assert torch.equal(clip[:, 0], batch.latents[:, 0])
    for turn in method.turns(0):
        freeze_all_but(method, turn.player)
        turn.loss(batch).total.backward()
        assert owners_of_gradients(method) == {turn.player}
        method.players[turn.player].module.zero_grad()


def test_an_image_must_be_in_the_data_and_a_chunk_of_its_own():
    with pytest.raises(ValueError, match=r"Batch\.latents, got None.*LatentData"):
        warmup().generator_loss(prompts(), n=1)
    with pytest.raises(ValueError, match=r"ChunkLayout\(2, first=1\)"):
        build(first_frame="given")
    with pytest.raises(ValueError, match="window of at least 3"):
        build(context=Context(1, 2))
