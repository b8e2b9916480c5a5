from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import shifted_levels
from fewstep.methods.asd import ASDConfig
from fewstep.methods.base import Batch, Method
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.layout import ChunkLayout
from methods.players import FAST, Networks, freeze_all_but, moved_by, owners_of_gradients, prompts, twice

PLAYERS = {"generator", "discriminator", "fake_score"}
HEADS = DiscriminatorConfig(layers=(0, 1), num_logits=4, num_heads=2, ffn_dim=64)


def build(**settings):
    tiny = {"latent_shape": (4, 16, 4, 4), "layout": ChunkLayout(chunk=2), "guidance": 2.0, "discriminator": HEADS}
    optim = {"generator_optim": FAST, "fake_score_optim": FAST, "discriminator_optim": FAST}
    return ASDConfig(**{**tiny, **optim, **settings}).build(Networks(), Rng(0))


def flat_gradient(module):
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def blind(method):
    """Make every logit equal: the last linear layer of the heads becomes zero."""
    last = [m for m in method.heads.modules() if isinstance(m, torch.nn.Linear) and m.out_features == HEADS.num_logits]
    torch.nn.init.zeros_(last[-1].weight)
    torch.nn.init.zeros_(last[-1].bias)
    return last[-1]


def test_a_cycle_is_generator_discriminator_and_four_fake_score_updates():
    method = build()
    assert isinstance(method, Method)
    assert [t.player for t in method.turns(0)] == ["generator", "discriminator", *["fake_score"] * 4]
    assert [t.player for t in build(fake_score_updates=2, discriminator_updates=3).turns(0)].count("discriminator") == 3


def test_the_generator_learns_at_every_step_count_and_the_discriminator_where_there_is_a_pair():
    method = build()
    drawn = {name: [] for name in PLAYERS}
    for step in range(200):
        for turn in method.turns(step):
            drawn[turn.player].append(turn.loss.keywords["n"])
    assert set(drawn["generator"]) == set(drawn["fake_score"]) == {1, 2, 3, 4}
    assert set(drawn["discriminator"]) == {1, 2, 3}
    assert drawn["generator"].count(4) / 200 == pytest.approx(0.25, abs=0.08), "a quarter of the updates is pure DMD"


def test_step_counts_agree_on_all_ranks_after_any_number_of_losses():
    drawn = []
    for rank in (0, 1):
        method = ASDConfig(latent_shape=(2, 16, 4, 4), layout=ChunkLayout(chunk=2), discriminator=HEADS).build(
            Networks(), Rng(5, rank=rank)
        )
        for _ in range(rank):
            method.fake_score_loss(prompts(), n=1)
        drawn.append([turn.loss.keywords["n"] for step in range(20) for turn in method.turns(step)])
    assert drawn[0] == drawn[1]


def test_all_steps_have_no_adversarial_term():
    method = build(alpha=5.0)
    freeze_all_but(method, "generator")
    loss = method.generator_loss(prompts(), n=4)
    assert set(loss.parts) == {"dmd", "dmd_n4"}
    assert torch.equal(loss.total, loss.parts["dmd"])


def test_fewer_steps_add_alpha_times_the_adversarial_loss():
    method = build(alpha=0.25)
    freeze_all_but(method, "generator")
    loss = method.generator_loss(prompts(), n=2)
    assert set(loss.parts) == {"dmd", "dmd_n2", "asd"}
    assert loss.total.item() == pytest.approx(loss.parts["dmd"].item() + 0.25 * loss.parts["asd"].item(), rel=1e-6)


def test_equal_logits_cost_both_players_ln_two():
    method = build(alpha=1.0)
    blind(method)
    freeze_all_but(method, "generator")
    assert method.generator_loss(prompts(), n=1).parts["asd"].item() == pytest.approx(math.log(2), abs=1e-6)
    judged = method.discriminator_loss(prompts(), n=1)
    assert judged.total.item() == pytest.approx(math.log(2), abs=1e-6)
    assert judged.parts["gap_n1"] == judged.parts["r1"] == judged.parts["r2"] == judged.parts["accuracy"] == 0


def test_the_discriminators_loss_is_literal_equation_seven():
    method = build(penalty_weight=600.0)
    loss = method.discriminator_loss(prompts(), n=3)
    parts = loss.parts
    assert set(parts) == {"adversarial", "r1", "r2", "accuracy", "gap_n3"}
    assert parts["r1"] > 0
    expected = parts["adversarial"] + 600 * 0.5 * (parts["r1"] + parts["r2"])
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_penalty_grows_with_the_square_of_the_perturbation_because_nothing_divides_it_away():
    small, large = (build(penalty_sigma=sigma).discriminator_loss(prompts(), n=1).parts["r1"] for sigma in (1e-3, 2e-3))
    assert (large / small).item() == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("n", [1, 3])
def test_logit_n_minus_one_alone_learns_from_the_pair_of_n(n):
    method = build()
    last = blind(method)
    freeze_all_but(method, "discriminator")
    method.discriminator_loss(prompts(), n=n).total.backward()
    touched = last.weight.grad.abs().amax(dim=1) > 0
    assert touched.tolist() == [row == n - 1 for row in range(4)]


@pytest.mark.parametrize(("player", "n"), [("generator", 2), ("generator", 4), ("discriminator", 2), ("fake_score", 2)])
def test_a_turn_leaves_gradient_with_its_player_only(player, n):
    method = build(alpha=1.0)
    freeze_all_but(method, player)
    getattr(method, f"{player}_loss")(prompts(), n=n).total.backward()
    assert owners_of_gradients(method) == {player}


def test_the_discriminators_turn_never_reaches_the_backbone_even_if_nothing_is_frozen():
    method = build()
    method.discriminator_loss(prompts(), n=2).total.backward()
    assert owners_of_gradients(method) == {"discriminator"}


def test_the_adversarial_term_reaches_the_student_through_frozen_backbone_and_heads():
    gradients = {}
    for alpha in (0.0, 10.0):
        method = build(alpha=alpha)
        freeze_all_but(method, "generator")
        method.generator_loss(prompts(), n=1).total.backward()
        gradients[alpha] = flat_gradient(method.student)
    difference = gradients[10.0] - gradients[0.0]
    assert difference.norm() > 0.01 * gradients[0.0].norm()


def test_the_sample_ahead_is_a_fixed_target_unless_asked_otherwise():
    gradients = []
    for detach in (True, False):
        method = build(alpha=10.0, detach_ahead=detach)
        freeze_all_but(method, "generator")
        method.generator_loss(prompts(), n=1).total.backward()
        gradients.append(flat_gradient(method.student))
    assert not torch.allclose(gradients[0], gradients[1])


def noised(method, sample, *, share_eps):
    return method.game.noised(sample, sample, method.judged_at, method.rng, share_eps=share_eps)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_sample_ahead_takes_one_step_more(n):
    method = build()
    levels = []
    method.student.register_forward_pre_hook(lambda net, args: levels.append(args[1].max().item()))
    method.ahead(prompts(), n)
    denoising = [level for level in levels if level > 0]
    assert len(denoising) == 2 * (n + 1), "n + 1 steps of each of two chunks"
    assert denoising[: n + 1] == pytest.approx(shifted_levels()[: n + 1])


@pytest.mark.parametrize("share", [True, False])
def test_equal_samples_are_judged_equal_exactly_where_they_share_their_noise(share, monkeypatch):
    method = build(share_eps=share, share_eps_in_generator_step=share)
    same = torch.randn(2, 4, 16, 4, 4)
    monkeypatch.setattr(method, "sample", lambda text, n: same)
    freeze_all_but(method, "discriminator")
    judged = method.discriminator_loss(prompts(), n=1)
    assert (judged.parts["gap_n1"] == 0) == share
    assert (method.generator_loss(prompts(), n=1).parts["asd"].item() == pytest.approx(math.log(2), abs=1e-7)) == share


def test_a_pair_is_noised_at_one_level_for_all_frames():
    _, sigma = noised(build(), torch.randn(2, 4, 16, 4, 4), share_eps=True)
    assert (sigma == sigma[:, :1]).all()


def test_scores_are_compared_at_levels_warped_by_the_shift():
    levels = build(shift=5.0, t_min=0.0, t_max=1.0).matching.noise.sample(4000, 1, Rng(0))
    assert levels.quantile(0.25).item() == pytest.approx(5 * 0.25 / (1 + 4 * 0.25), abs=0.03)


def test_levels_of_judgement_follow_the_chosen_law():
    sample = torch.zeros(64, 4, 16, 1, 1)
    _, shifted = noised(build(t_min=0.1, t_max=0.9), sample, share_eps=True)
    assert shifted.min() >= 0.1
    assert shifted.max() <= 0.9
    _, discrete = noised(build(t_law="discrete"), sample, share_eps=True)
    assert set(discrete.flatten().tolist()) == set(torch.tensor(shifted_levels()).tolist())


@pytest.mark.parametrize(("sampling", "second"), [("prefix", 0.9375), ("respaced", 0.8333)])
def test_two_steps_are_a_prefix_of_the_levels_or_spread_over_them(sampling, second):
    method = build(sampling=sampling)
    levels = []
    method.student.register_forward_pre_hook(lambda net, args: levels.append(round(args[1].max().item(), 4)))
    method.sample(prompts().text, n=2)
    assert [level for level in levels if level > 0] == [1.0, second] * 2


def test_every_turn_of_a_cycle_moves_its_player_and_no_other():
    method = build(fake_score_updates=1)
    for turn in method.turns(0):
        assert moved_by(method, turn, prompts()) == {turn.player}


def test_a_method_remembers_nothing_but_its_random_streams_and_weights():
    assert torch.equal(*twice(build(fake_score_updates=1), prompts()))


def descend(method, player, loss_of, updates):
    """Losses of one player that meets the same draws again and again."""
    state, losses = deepcopy(method.rng.state_dict()), []
    freeze_all_but(method, player)
    optimizer = torch.optim.AdamW(method.players[player].module.parameters(), lr=3e-3)
    for _ in range(updates):
        method.rng.load_state_dict(deepcopy(state))
        loss = loss_of()
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss)
    return losses


def test_a_discriminator_that_descends_rates_more_steps_above_fewer():
    method = build(penalty_weight=0.0)
    losses = descend(method, "discriminator", lambda: method.discriminator_loss(prompts(), n=1), updates=25)
    assert losses[-1].total < losses[0].total
    assert losses[-1].parts["gap_n1"] > losses[0].parts["gap_n1"]


def test_a_generator_that_descends_makes_its_sample_pass_for_the_longer_one():
    method = build(alpha=10.0, guidance=1.0)
    descend(method, "discriminator", lambda: method.discriminator_loss(prompts(), n=1), updates=25)
    losses = descend(method, "generator", lambda: method.generator_loss(prompts(), n=1), updates=10)
    assert losses[0].parts["dmd"] < 1e-8, "teacher and fake score are one network: only the game moves the student"
    assert losses[-1].parts["asd"] < losses[0].parts["asd"]


def test_a_student_of_one_step_or_too_few_logits_are_refused():
    with pytest.raises(ValueError, match="at least 2 levels"):
        ASDConfig(levels=(1.0,))
    with pytest.raises(ValueError, match="num_logits is 2; raise it"):
        ASDConfig(discriminator=DiscriminatorConfig(layers=(0,), num_logits=2, num_heads=2, ffn_dim=64))


ONE_FORCING = {
    "levels": (1.0,),
    "real": "videos",
    "loss": "logistic",
    "alpha": 0.03,
    "discriminator": DiscriminatorConfig(layers=(1,), num_logits=1, num_heads=2, ffn_dim=64),
}


def test_one_forcing_is_the_same_cycle_with_videos_and_the_logistic_loss():
    method = build(**ONE_FORCING, penalty_weight=0.0)
    assert [t.player for t in method.turns(0)] == ["generator", "discriminator", *["fake_score"] * 4]
    batch = Batch(**{**vars(prompts()), "latents": torch.randn(2, 6, 16, 4, 4)})
    for turn in method.turns(0)[:2]:
        freeze_all_but(method, turn.player)
        turn.loss(batch).total.backward()
        assert owners_of_gradients(method) == {turn.player}
        method.players[turn.player].module.zero_grad()
    blind_last = method.heads.judge[-1]
    torch.nn.init.zeros_(blind_last.weight)
    torch.nn.init.zeros_(blind_last.bias)
    assert method.discriminator_loss(batch, n=1).total.item() == pytest.approx(2 * math.log(2), abs=1e-6)
    with pytest.raises(ValueError, match=r"Batch\.latents"):
        method.discriminator_loss(prompts(), n=1)


def test_videos_are_ahead_of_all_step_counts():
    method = build(real="videos")
    drawn = {turn.loss.keywords["n"] for k in range(60) for turn in method.turns(k) if turn.player == "discriminator"}
    assert drawn == {1, 2, 3, 4}
    with pytest.raises(ValueError, match="4 pairs of step counts"):
        build(real="videos", discriminator=DiscriminatorConfig(layers=(0,), num_logits=3, num_heads=2, ffn_dim=64))


def test_a_backbone_of_its_own_learns_with_the_heads():
    method = build(discriminator=DiscriminatorConfig(layers=(0, 1), num_heads=2, ffn_dim=64, backbone="own"))
    freeze_all_but(method, "discriminator")
    method.discriminator_loss(prompts(), n=1).total.backward()
    assert owners_of_gradients(method) == {"discriminator"}
    assert any(p.grad is not None for p in method.game.discriminator.backbone.parameters())
    assert all(p.grad is None for p in method.fake_score.parameters())
