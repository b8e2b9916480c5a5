from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from fewstep.diffusion.rng import Rng
from fewstep.methods.aad import AADConfig
from fewstep.methods.base import Method
from fewstep.models.cache import Context
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.layout import ChunkLayout
from fewstep.training.optim import Learner
from methods.players import FAST, Networks, freeze_all_but, owners_of_gradients, prompts

SHAPE = (7, 16, 4, 4)
LAYOUT, WINDOW = ChunkLayout(2, first=1), Context(1, 5, "relative")
JUDGE = DiscriminatorConfig(layers=(0, 1), num_logits=1, num_heads=2, ffn_dim=64, backbone="own")
TWO = {"levels": (1.0, 0.8333333), "discriminator": replace(JUDGE, num_logits=2)}


def config(**settings):
    tiny = {"latent_shape": SHAPE, "layout": LAYOUT, "context": WINDOW, "discriminator": JUDGE}
    return AADConfig(**{**tiny, "generator_optim": FAST, "discriminator_optim": FAST, **settings})


def build(*, checkpointing=False, **settings):
    torch.manual_seed(7)
    return config(**settings).build(networks(checkpointing=checkpointing), Rng(0))


def networks(**options):
    """The fake score and the teacher start alike, and unlike the student."""
    return Networks(fake_score=1, teacher=1, **options)


def read(index=0, size=2, frames=7):
    return prompts(index, size, (frames, *SHAPE[1:]))


def loss_of(method, name, n=1, given=True, batch=None):
    return getattr(method, f"{name}_loss")(batch or read(), n=n, given=given)


def judge(method):
    """The last layer of the heads."""
    return method.game.discriminator.heads.judge[-1]


def blind(method):
    """Make every logit zero."""
    torch.nn.init.zeros_(judge(method).weight)
    torch.nn.init.zeros_(judge(method).bias)


def test_a_cycle_is_a_discriminator_and_then_a_generator_update():
    method = build()
    assert isinstance(method, Method)
    assert [turn.player for turn in method.turns(0)] == ["discriminator", "generator"]
    later = build(discriminator_updates=3, discriminator_head_start=2)
    assert [turn.player for turn in later.turns(1)] == ["discriminator"] * 3
    assert [turn.player for turn in later.turns(2)] == ["discriminator"] * 3 + ["generator"]


def test_step_counts_and_beginnings_are_drawn_where_there_is_a_choice_and_agree_on_all_ranks():
    drawn = []
    for rank in (0, 1):
        method = config(**TWO, first_frame="either").build(networks(), Rng(3, rank=rank))
        drawn.append([tuple(turn.loss.keywords.values()) for step in range(30) for turn in method.turns(step)])
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {(1, False), (1, True), (2, False), (2, True)}
    assert {tuple(turn.loss.keywords.values()) for turn in build().turns(0)} == {(1, True)}
    last = build(**TWO, exits="last", first_frame="generated")
    assert {tuple(turn.loss.keywords.values()) for turn in last.turns(0)} == {(2, False)}


def test_equal_logits_cost_the_discriminator_twice_ln_two_and_the_generator_once():
    method = build()
    blind(method)
    judged = loss_of(method, "discriminator")
    assert judged.total.item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert judged.parts["r1"] == judged.parts["r2"] == judged.parts["gap_n1"] == judged.parts["accuracy"] == 0
    assert loss_of(method, "generator").total.item() == pytest.approx(math.log(2), abs=1e-6)


def test_the_discriminators_loss_is_equation_eight_plus_lambda_times_equation_ten():
    loss = loss_of(build(penalty_weight=20.0), "discriminator")
    parts = loss.parts
    assert set(parts) == {"adversarial", "r1", "r2", "gap_n1", "accuracy"}
    assert parts["r1"] > 0
    expected = parts["adversarial"] + 20 * (parts["r1"] + parts["r2"])
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-6)


CELLS = [(sees, reads) for sees in ("bidirectional", "causal") for reads in ("clip", "frame")]


@pytest.mark.parametrize(("visibility", "granularity"), CELLS)
@pytest.mark.parametrize("loss", ["logistic", "relativistic"])
def test_every_cell_of_table_three_is_a_configuration_that_trains_both_players(visibility, granularity, loss):
    switches = replace(JUDGE, visibility=visibility, granularity=granularity)
    method = build(discriminator=switches, loss=loss)
    for turn in method.turns(0):
        freeze_all_but(method, turn.player)
        found = turn.loss(read())
        found.total.backward()
        assert torch.isfinite(found.total)
        assert owners_of_gradients(method) == {turn.player}
        method.players[turn.player].module.zero_grad()


def test_the_discriminators_update_moves_backbone_and_heads_at_rates_of_their_own_and_nothing_else():
    method = build(backbone_rate=0.25)
    learner = Learner(method.players["discriminator"])
    freeze_all_but(method, "discriminator")
    before = {name: p.detach().clone() for name, p in learner.module.named_parameters()}
    student = deepcopy(method.student.state_dict())
    loss_of(method, "discriminator").total.backward()
    learner.step(0.0)
    moved = {name: (p.detach() - before[name]).abs().max().item() for name, p in learner.module.named_parameters()}
    heads = max(size for name, size in moved.items() if name.startswith("heads."))
    backbone = max(size for name, size in moved.items() if name.startswith("backbone."))
    assert heads == pytest.approx(1e-3, rel=1e-2)
    assert backbone == pytest.approx(0.25e-3, rel=1e-2)
    assert all(torch.equal(value, student[name]) for name, value in method.student.state_dict().items())


def test_clips_judged_one_by_one_are_judged_alike():
    found = []
    for batched in (True, False):
        method = build(batch_judgement=batched)
        freeze_all_but(method, "discriminator")
        loss = loss_of(method, "discriminator").total
        loss.backward()
        module = method.players["discriminator"].module
        found.append(
            torch.cat([loss.detach()[None], *(p.grad.flatten() for p in module.parameters() if p.grad is not None)])
        )
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_the_generators_update_leaves_the_discriminator_untouched():
    method = build()
    learner = Learner(method.players["generator"])
    freeze_all_but(method, "generator")
    before = deepcopy(method.players["discriminator"].module.state_dict())
    loss_of(method, "generator").total.backward()
    learner.step(0.0)
    after = method.players["discriminator"].module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_frozen_backbone_is_read_and_never_trained():
    method = build(discriminator=replace(JUDGE, backbone="frozen"))
    loss_of(method, "discriminator").total.backward()
    assert all(p.grad is None for p in method.game.discriminator.backbone.parameters())
    assert {name.split(".")[0] for name, _ in method.players["discriminator"].module.named_parameters()} == {
        "judge",
        "readouts",
    }
    freeze_all_but(method, "generator")
    loss_of(method, "generator").total.backward()
    assert "generator" in owners_of_gradients(method)


def test_a_bidirectional_backbone_starts_as_the_teacher_and_a_causal_one_as_the_student():
    for backbone in ("own", "frozen"):
        for visibility, seed in (("bidirectional", 1), ("causal", 0)):
            method = build(discriminator=replace(JUDGE, visibility=visibility, backbone=backbone))
            weight = method.game.discriminator.backbone.head.head.weight
            assert torch.equal(weight, Networks(student=seed).student().head.head.weight)
            assert method.game.discriminator.backbone is not method.student


@pytest.mark.parametrize("window", [WINDOW, Context(1, 3, "relative"), Context()])
def test_checkpointing_changes_no_gradient_with_a_window_that_evicts(window):
    gradients = []
    for checkpointing in (False, True):
        method = build(context=window, checkpointing=checkpointing)
        freeze_all_but(method, "generator")
        loss_of(method, "generator").total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in method.student.parameters() if p.grad is not None]))
    assert gradients[0].norm() > 0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def test_rollouts_begin_with_the_real_clips_first_frame_or_with_the_students_own():
    method, batch = build(first_frame="either"), read()
    with torch.no_grad():
        given, own = (method.sample(batch, 1, given=given) for given in (True, False))
    assert given.shape == own.shape == batch.latents.shape
    assert torch.equal(given[:, 0], batch.latents[:, 0])
    assert not torch.allclose(own[:, 0], batch.latents[:, 0])


def test_behind_an_image_a_clip_is_cut_to_whole_chunks_and_the_real_one_with_it():
    method = build(first_frame="either", layout=ChunkLayout(3), latent_shape=(6, *SHAPE[1:]), context=Context())
    batch = read(frames=6)
    with torch.no_grad():
        assert method.sample(batch, 1, given=True).shape[1] == method.real(batch, 1, given=True).shape[1] == 4
        assert method.sample(batch, 1, given=False).shape[1] == method.real(batch, 1, given=False).shape[1] == 6
    for player in ("discriminator", "generator"):
        assert torch.isfinite(loss_of(method, player, given=True, batch=batch).total)


def test_longer_real_clips_are_cut_to_the_rollouts_length():
    method = build()
    assert torch.equal(method.real(read(frames=9), 1, given=True), read(frames=9).latents[:, :7])


def test_real_is_a_video_or_where_there_are_more_steps_the_own_longer_rollout():
    videos, ahead = build(**TWO), build(**TWO, real="ahead")
    batch = read()
    with torch.no_grad():
        for n in (1, 2):
            assert torch.equal(videos.real(batch, n, given=True), batch.latents)
        assert torch.equal(ahead.real(batch, 2, given=True), batch.latents)
        state = deepcopy(ahead.rng.state_dict())
        better = ahead.real(batch, 1, given=True)
        ahead.rng.load_state_dict(state)
        assert torch.equal(better, ahead.sample(batch, 2, given=True))


def test_one_step_has_no_longer_rollout_of_its_own():
    with pytest.raises(ValueError, match=r"needs at least 2 levels, got \(1\.0,\); use 'videos'"):
        config(real="ahead")


def test_a_sample_is_judged_between_the_levels_of_its_last_step_and_the_next():
    method = build(**TWO)
    for n, (low, high) in {1: (0.8333, 0.98), 2: (0.02, 0.8334)}.items():
        drawn = method.judged_at(n).sample(4000, 1, Rng(0))
        assert drawn.min().item() == pytest.approx(low, abs=0.02)
        assert drawn.max().item() == pytest.approx(high, abs=0.01)
    one, whole = build().judged_at(1), build(t_law="whole").judged_at(1)
    torch.testing.assert_close(one.sample(50, 1, Rng(1)), whole.sample(50, 1, Rng(1)))


@pytest.mark.parametrize("n", [1, 2])
def test_step_counts_have_logits_of_their_own_when_there_is_one_for_each(n):
    method = build(**TWO)
    freeze_all_but(method, "discriminator")
    blind(method)
    loss_of(method, "discriminator", n=n).total.backward()
    touched = judge(method).weight.grad.abs().amax(dim=1) > 0
    assert touched.tolist() == [row == n - 1 for row in range(2)]
    assert build(levels=TWO["levels"]).column(2) == 0


def test_a_method_remembers_nothing_but_its_random_streams_and_weights():
    method = build(**TWO, first_frame="either")
    state = deepcopy(method.rng.state_dict())
    first = [turn.loss(read()).total.detach() for turn in method.turns(0)]
    method.rng.load_state_dict(state)
    again = [turn.loss(read()).total.detach() for turn in method.turns(0)]
    assert torch.equal(torch.stack(first), torch.stack(again))


def descend(method, player, updates):
    """Losses of one player that meets the same draws again and again."""
    state, losses = deepcopy(method.rng.state_dict()), []
    freeze_all_but(method, player)
    optimizer = torch.optim.AdamW(method.players[player].module.parameters(), lr=2e-3)
    for _ in range(updates):
        method.rng.load_state_dict(deepcopy(state))
        loss = loss_of(method, player)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss)
    return losses


def test_both_players_can_win_a_round():
    method = build(penalty_weight=0.0)
    judged = descend(method, "discriminator", updates=15)
    assert judged[-1].total < judged[0].total
    assert judged[-1].parts["gap_n1"] > judged[0].parts["gap_n1"]
    fooled = descend(method, "generator", updates=8)
    assert fooled[-1].total < fooled[0].total


def test_clips_that_are_too_short_or_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"7 latent frames or more .* got 3"):
        loss_of(build(), "discriminator", batch=read(frames=3))
    batch = read()
    with pytest.raises(ValueError, match=r"got 7 of \(16, 2, 4\)"):
        loss_of(build(), "discriminator", batch=replace(batch, latents=batch.latents[..., :2, :]))


def test_a_backbone_cannot_be_shared_with_a_fake_score_that_is_not_there():
    with pytest.raises(ValueError, match="ASDConfig takes real='videos'"):
        build(discriminator=replace(JUDGE, backbone="shared"))
