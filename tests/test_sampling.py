"""A causal teacher's clips: each chunk's ODE behind the chunks before it, under guidance, and the states on the way."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fewstep.diffusion.flow import guide
from fewstep.diffusion.ode import ode_grid, record_trajectory, sample_ode
from fewstep.diffusion.steps import StepPlan
from fewstep.models.cache import Context, KVCache
from fewstep.models.guided import Guided
from fewstep.models.layout import ChunkLayout
from fewstep.rollout import rollout
from fewstep.sampling import CausalManySteps, ManySteps

NEAR = {"rtol": 1e-4, "atol": 1e-4}
LEVELS = (1.0, 0.8, 0.5)
EULER = ManySteps(4, 3.0, 2.5)


@pytest.fixture
def start():
    torch.manual_seed(2)
    return torch.randn(2, 6, 16, 4, 4), torch.randn(2, 8, 32), torch.randn(2, 8, 32)


def causal(chunk=3, context=Context(), each=EULER, first=None):
    return CausalManySteps(each, ChunkLayout(chunk, first), context)


def clip_of(sampling, net, start, **options):
    noise, text, null = start
    return torch.cat(list(sampling.stream(net, noise, text, null, None, None, **options)), dim=1)


@torch.no_grad()
def test_the_loop_equals_eulers_steps_written_out_for_each_branch(tiny_net, start):
    noise, *prompts = start
    context, caches, made = Context(0, 4), [KVCache.empty(2)] * 2, []
    sigmas = ode_grid(EULER.steps, EULER.shift)
    for x in noise.split(2, dim=1):
        for high, low in pairwise(sigmas):
            sigma = torch.full((2, 2), high)
            cond, uncond = (
                tiny_net(x, sigma, t, cache=c, context=context) for t, c in zip(prompts, caches, strict=True)
            )
            x = x + (low - high) * guide(cond, uncond, EULER.guidance)
        made.append(x)
        caches = [tiny_net.prefill(x, torch.zeros(2, 2), t, c, context) for t, c in zip(prompts, caches, strict=True)]
    torch.testing.assert_close(clip_of(causal(2, context), tiny_net, start), torch.cat(made, dim=1), **NEAR)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_clip_of_one_chunk_is_the_bidirectional_teachers(tiny_net, start, guidance):
    options = {"steps": 4, "shift": 3.0, "guidance": guidance}
    sampling = causal(6, each=ManySteps(**options))
    torch.testing.assert_close(clip_of(sampling, tiny_net, start), sample_ode(tiny_net, *start, **options), **NEAR)
    recorded = sampling.record(tiny_net, *start, LEVELS)
    torch.testing.assert_close(recorded, record_trajectory(tiny_net, *start, levels=LEVELS, **options), **NEAR)


def test_states_lead_to_the_clip_and_the_ends_of_earlier_chunks_are_the_past_of_later_ones(tiny_net, start):
    noise, text, null = start
    sampling = causal(2, each=ManySteps(4, 3.0, 1.0))
    path = sampling.record(tiny_net, noise, text, null, LEVELS)
    assert path.shape == (2, 4, *noise.shape[1:])
    assert not path.requires_grad
    assert torch.equal(path[:, 0], noise)
    alone = sampling.record(tiny_net, noise[:, :4], text, null, LEVELS)
    torch.testing.assert_close(path[:, :, :4], alone, **NEAR)

    grid = ode_grid(4, 3.0, LEVELS)
    below, x = grid.index(0.5), path[:, 2]
    for high, low in pairwise(grid[below:]):
        sigma = torch.full((2, 6), high)
        v = tiny_net.forward_forced(path[:, -1], x, sigma, text, layout=sampling.layout, context=Context())
        x = x + (low - high) * v.detach()
    torch.testing.assert_close(x, path[:, -1], **NEAR)


@torch.no_grad()
def test_guided_commits_may_ride_with_the_next_chunk(tiny_net, start):
    noise, text, null = start
    guided, plan = Guided(tiny_net, null, 2.5), StepPlan.uniform(LEVELS)
    options = {"layout": ChunkLayout(2), "rng": None}
    packed, apart = (rollout(guided, noise, text, plan, commit=way, **options) for way in ("packed", "sequential"))
    torch.testing.assert_close(packed, apart, **NEAR)


@torch.no_grad()
def test_guidance_may_keep_its_past_in_a_ring(tiny_net, start):
    noise, text, null = start
    guided, plan = Guided(tiny_net, null, 2.5), StepPlan.uniform(LEVELS)
    options = {"layout": ChunkLayout(2), "context": Context(0, 4), "rng": None}
    ring, value = (rollout(guided, noise, text, plan, ring=ring, **options) for ring in (True, False))
    torch.testing.assert_close(ring, value, **NEAR)


@torch.no_grad()
def test_a_clip_goes_on_from_a_prefix_that_guidance_sees_too(tiny_net, start):
    noise, text, null = start
    whole = clip_of(causal(3), tiny_net, start)
    behind = list(causal(3).stream(tiny_net, noise[:, 3:], text, null, None, None, whole[:, :3]))
    torch.testing.assert_close(torch.cat(behind, dim=1), whole[:, 3:], **NEAR)


def test_cost_counts_both_branches_and_their_commits():
    assert causal(3, each=ManySteps(48, 5.0, 6.0)).cost(21) == (2 * 7 * 48, 2 * 6)
    assert causal(4, each=ManySteps(10, 5.0, 1.0), first=1).cost(9) == (30, 2)


def test_guidance_without_an_unconditional_prompt_is_refused(tiny_net, start):
    with pytest.raises(ValueError, match="needs an unconditional prompt"):
        clip_of(causal(), tiny_net, (*start[:2], None))


def test_a_schedule_has_one_of_two_names():
    with pytest.raises(ValueError, match="prefix or respaced, got 'foo'"):
        StepPlan.uniform((1.0, 0.5)).shorten(1, "foo")
