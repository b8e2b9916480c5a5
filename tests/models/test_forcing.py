"""One pass over [clean | noisy] is every chunk's own pass behind the clean chunks before it."""

from __future__ import annotations

import pytest
import torch

from fewstep.models.cache import Context, KVCache, View
from fewstep.models.forcing import TeacherForcing
from fewstep.models.layout import ChunkLayout

CONTEXTS = [Context(), Context(0, 6), Context(1, 7), Context(1, 6, "relative"), Context(3, 6, "relative")]
LAYOUT = ChunkLayout(3)
NEAR = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def clips():
    torch.manual_seed(1)
    clean, x = torch.randn(2, 2, 12, 16, 4, 4)
    return clean, x, torch.rand(2, 12), torch.randn(2, 8, 32)


def by_cache(net, clean, x, sigma, text, layout, context):
    """Every noisy chunk behind a cache of the clean ones before it."""
    cache, seen = KVCache.empty(net.cfg.num_layers), []
    sizes = layout.sizes(x.shape[1])
    for known, chunk, level in zip(clean.split(sizes, 1), x.split(sizes, 1), sigma.split(sizes, 1), strict=True):
        seen.append(net(chunk, level, text, cache=cache, context=context))
        cache = net.prefill(known, torch.zeros_like(level), text, cache, context)
    return torch.cat(seen, dim=1)


def test_views_by_hand():
    plan, _ = TeacherForcing(1).open((1, 2), Context())
    assert plan.positions == plan.query_positions == (0, 1, 2, 0, 1, 2)
    clean = (View((0, 1), ((0, 1),)), View((1, 3), ((0, 3),)))
    noisy = (View((3, 4), ((3, 4),)), View((4, 6), ((0, 1), (4, 6))))
    assert plan.views == (*clean, *noisy)


@torch.no_grad()
@pytest.mark.parametrize("context", CONTEXTS)
def test_one_pass_equals_each_chunk_behind_the_cache_of_its_clean_past(tiny_net, clips, context):
    expected = by_cache(tiny_net, *clips, LAYOUT, context)
    torch.testing.assert_close(tiny_net.forward_forced(*clips, layout=LAYOUT, context=context), expected, **NEAR)


@torch.no_grad()
def test_an_image_is_a_chunk_of_its_own(tiny_net, clips):
    clips, layout, context = [y[:, :9] for y in clips[:3]] + [clips[3]], ChunkLayout(4, first=1), Context(1, 6)
    expected = by_cache(tiny_net, *clips, layout, context)
    torch.testing.assert_close(tiny_net.forward_forced(*clips, layout=layout, context=context), expected, **NEAR)


@torch.no_grad()
def test_a_chunk_feels_the_clean_frames_before_it_and_its_own_noisy_ones_and_nothing_else(tiny_net, clips):
    clean, x, *rest = clips
    options = {"layout": LAYOUT, "context": Context()}
    before = tiny_net.forward_forced(clean, x, *rest, **options)[:, 6:9]
    for frame in range(12):
        for half in range(2):
            moved = [clean.clone(), x.clone()]
            moved[half][:, frame] += 1
            after = tiny_net.forward_forced(*moved, *rest, **options)[:, 6:9]
            feels = frame < 6 if half == 0 else 6 <= frame < 9
            assert torch.equal(after, before) != feels, (frame, half)


def test_gradient_comes_through_the_clean_past_and_not_from_noisy_neighbours(tiny_net, clips):
    clean, x, *rest = clips
    clean, x = clean.clone().requires_grad_(), x.clone().requires_grad_()
    v = tiny_net.forward_forced(clean, x, *rest, layout=LAYOUT, context=Context())
    v[:, 6:9].square().sum().backward()
    felt = [y.grad.abs().amax(dim=(0, 2, 3, 4)) > 0 for y in (clean, x)]
    assert felt[0].tolist() == [True] * 6 + [False] * 6
    assert felt[1].tolist() == [False] * 6 + [True] * 3 + [False] * 3


def test_checkpointed_gradients_equal_plain_ones(tiny_net, clips):
    def gradients(checkpointing):
        tiny_net.gradient_checkpointing = checkpointing
        tiny_net.zero_grad()
        tiny_net.forward_forced(*clips, layout=LAYOUT, context=Context(1, 6, "relative")).square().mean().backward()
        return [p.grad.clone() for p in tiny_net.parameters()]

    torch.testing.assert_close(gradients(True), gradients(False))
