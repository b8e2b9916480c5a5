"""A prompt that changes: what of the past is committed anew under it, and what that costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fewstep.diffusion.flow import add_noise, x0_from_v
from fewstep.models.cache import Context, KVCache
from fewstep.rollout import Chunk, stream
from rolling import NEAR, ONE, TWO, Log, run, some_start


@pytest.fixture
def start():
    return some_start()


def turning(net, start, at, context, rng=3, **options):
    """A clip in chunks of 3 that follows another prompt from chunk `at` on."""
    noise, text = start
    other = torch.randn(text.shape, generator=torch.Generator().manual_seed(9))
    chunks = (Chunk(piece, other if i >= at else text) for i, piece in enumerate(noise.split(3, dim=1)))
    made = stream(net, chunks, TWO, context=context, rng=torch.Generator().manual_seed(rng), **options)
    return list(made), other


def behind(net, cache, x, text, context, draws):
    """One chunk of plan TWO behind a cache, written out; `draws` chunks have taken their noise before."""
    rng = torch.Generator().manual_seed(3)
    for _ in range(draws + 1):
        eps = torch.randn(x.shape, generator=rng)
    high, low = torch.full((2, 3), 1.0), torch.full((2, 3), 0.8)
    x0 = x0_from_v(x, net(x, high, text, cache=cache, context=context), high)
    x = add_noise(x0, eps, low)
    return x0_from_v(x, net(x, low, text, cache=cache, context=context), low)


RECACHED = [{}, {"commit": "packed"}, {"ring": True}, {"commit": "packed", "ring": True}]


@torch.no_grad()
@pytest.mark.parametrize("options", RECACHED)
def test_after_recaching_the_past_is_one_that_was_committed_under_the_new_prompt(tiny_net, start, options):
    context, image = Context(window=13), torch.randn(2, 1, 16, 4, 4)
    clip, other = turning(tiny_net, start, 2, context, recache=True, prefix=image, **options)
    cache = KVCache.empty(2)
    for chunk in (image, *clip[:2]):
        cache = tiny_net.prefill(chunk, torch.zeros(chunk.shape[:2]), other, cache, context)
    third = behind(tiny_net, cache, start[0][:, 6:9], other, context, draws=2)
    torch.testing.assert_close(clip[2], third, **NEAR)
    cache = tiny_net.prefill(third, torch.zeros(2, 3), other, cache, context)
    torch.testing.assert_close(clip[3], behind(tiny_net, cache, start[0][:, 9:], other, context, draws=3), **NEAR)


@torch.no_grad()
@pytest.mark.parametrize("options", RECACHED)
@pytest.mark.parametrize(
    ("context", "seen"),
    [
        (Context(1, 7), (0, 2)),  # frame 0, and frames 6 to 8
        (Context(1, 7, "relative"), (0, 2)),
        (Context(0, 6), (2,)),
        (Context(0, 7, "relative"), (1, 2)),  # frame 5, and frames 6 to 8
    ],
)
def test_what_the_window_has_left_behind_is_not_recached(tiny_net, start, context, seen, options):
    clip, other = turning(tiny_net, start, 3, context, recache=True, **options)
    cache = KVCache.empty(2)
    for i in seen:
        cache = tiny_net.prefill(clip[i], torch.zeros(2, 3), other, replace(cache, num_frames=3 * i), context)
    torch.testing.assert_close(clip[3], behind(tiny_net, cache, start[0][:, 9:], other, context, draws=3), **NEAR)


@torch.no_grad()
def test_recaching_changes_nothing_before_the_new_prompt_or_under_the_same_words(tiny_net, start):
    noise, text = start
    kept, _ = turning(tiny_net, start, 2, Context(), recache=False)
    anew, _ = turning(tiny_net, start, 2, Context(), recache=True)
    for i in range(4):
        assert torch.equal(kept[i], anew[i]) == (i < 2)
    pieces = noise.split(3, dim=1)
    for words in ([text] * 4, [text.clone() for _ in pieces]):
        chunks = (Chunk(piece, said) for piece, said in zip(pieces, words, strict=True))
        clip = stream(tiny_net, chunks, TWO, rng=torch.Generator().manual_seed(3), recache=True)
        torch.testing.assert_close(torch.cat(list(clip), dim=1), run(tiny_net, start), **NEAR)


@torch.no_grad()
@pytest.mark.parametrize(("context", "commits"), [(Context(1, 6), 2), (Context(0, 9), 2), (Context(3, 12), 3)])
def test_recaching_costs_the_window_however_long_the_clip(tiny_net, start, monkeypatch, context, commits):
    noise, text = start
    words = [text] * 20 + [torch.randn_like(text)]
    log, passes = Log(tiny_net, monkeypatch), []
    for _ in stream(
        tiny_net, (Chunk(noise[:, :3], said) for said in words), ONE, context=context, rng=None, recache=True
    ):
        passes.append(log.passes.count("prefill"))
        log.passes.clear()
    assert passes == [0] + [1] * 19 + [commits]
