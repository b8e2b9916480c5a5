"""The autoregressive loop: what it evaluates, what later chunks see, and where gradient flows."""

from __future__ import annotations

import pytest
import torch

from fewstep.diffusion.flow import add_noise, x0_from_v
from fewstep.models.cache import Context, KVCache
from fewstep.models.layout import ChunkLayout
from fewstep.rollout import Chunk, rollout, stream
from rolling import FOUR, LAYOUT, NEAR, ONE, TWO, Log, run, some_start


@pytest.fixture
def start():
    return some_start()


@torch.no_grad()
def test_the_loop_equals_the_loop_written_out(tiny_net, start):
    noise, text = start
    rng, cache, clip = torch.Generator().manual_seed(3), KVCache.empty(2), []
    for x in noise.split(3, dim=1):
        high, low, zero = (torch.full((2, 3), level) for level in (1.0, 0.8, 0.0))
        x0 = x0_from_v(x, tiny_net(x, high, text, cache=cache), high)
        x = add_noise(x0, torch.randn(x.shape, generator=rng), low)
        x0 = x0_from_v(x, tiny_net(x, low, text, cache=cache), low)
        cache = tiny_net.prefill(x0, zero, text, cache)
        clip.append(x0)
    torch.testing.assert_close(run(tiny_net, start), torch.cat(clip, dim=1), **NEAR)


@torch.no_grad()
def test_without_fresh_noise_a_chunk_follows_the_straight_line_of_its_velocity(tiny_net, start):
    x, text = start[0][:, :3], start[1]
    high, low = torch.full((2, 3), 1.0), torch.full((2, 3), 0.8)
    x = x - 0.2 * tiny_net(x, high, text)
    expected = x - 0.8 * tiny_net(x, low, text)
    found = rollout(tiny_net, start[0][:, :3], text, TWO, layout=LAYOUT, rng=None)
    torch.testing.assert_close(found, expected, **NEAR)


@torch.no_grad()
@pytest.mark.parametrize("context", [Context(), Context(0, 6), Context(1, 7), Context(1, 6, "relative")])
@pytest.mark.parametrize("plan", [ONE, TWO.enhance_first(FOUR.rest)])
def test_commit_and_memory_are_choices_of_speed_only(tiny_net, start, context, plan):
    reference = run(tiny_net, start, plan, context=context)
    for options in ({"commit": "packed"}, {"ring": True}, {"commit": "packed", "ring": True}):
        torch.testing.assert_close(run(tiny_net, start, plan, context=context, **options), reference, **NEAR)


@torch.no_grad()
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("commit", ["sequential", "packed"])
def test_a_ring_holds_what_the_network_computes_in_whatever_the_latents_are(tiny_net, start, commit, autocast):
    net = tiny_net if autocast else tiny_net.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast, cache_enabled=False):
        value, ring = (run(net, start, context=Context(0, 6), commit=commit, ring=ring) for ring in (False, True))
    assert ring.dtype == start[0].dtype == torch.float32
    assert (ring - value).norm() / value.norm() < 0.03


@torch.no_grad()
def test_every_chunk_but_the_last_is_committed_once(tiny_net, start, monkeypatch):
    log = Log(tiny_net, monkeypatch)
    run(tiny_net, start, TWO)
    assert log.passes == ["forward"] * 2 + (["prefill"] + ["forward"] * 2) * 3
    log.passes.clear()
    run(tiny_net, start, TWO, commit="packed")
    assert log.passes == ["forward"] * 2 + ["forward_packed", "forward"] * 3


@torch.no_grad()
def test_the_first_chunk_may_take_more_steps_and_every_step_is_observed(tiny_net, start):
    seen = []
    plan = ONE.enhance_first(FOUR.first)
    clip = run(tiny_net, start, plan, on_step=lambda chunk, step, x0: seen.append((chunk, step, x0)))
    assert [s[:2] for s in seen] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)]
    torch.testing.assert_close(clip, torch.cat([seen[i][2] for i in (3, 4, 5, 6)], dim=1))


@torch.no_grad()
def test_one_generator_gives_one_clip(tiny_net, start):
    assert torch.equal(run(tiny_net, start, FOUR), run(tiny_net, start, FOUR))
    other = rollout(tiny_net, *start, FOUR, layout=LAYOUT, rng=torch.Generator().manual_seed(4))
    assert not torch.allclose(run(tiny_net, start, FOUR), other, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("plan", [TWO, FOUR, ONE.enhance_first(FOUR.rest)])
def test_a_clip_with_a_random_stream_of_its_own_is_the_same_alone(tiny_net, start, plan):
    noise, text = start
    both = rollout(tiny_net, noise, text, plan, layout=LAYOUT, rng=[torch.Generator().manual_seed(s) for s in (5, 6)])
    alone = rollout(tiny_net, noise[1:], text[1:], plan, layout=LAYOUT, rng=torch.Generator().manual_seed(6))
    torch.testing.assert_close(both[1:], alone, **NEAR)


@torch.no_grad()
def test_a_stream_is_the_rollout_chunk_by_chunk_and_asks_for_no_chunk_early(tiny_net, start):
    noise, text = start
    asked = []

    def chunks():
        for i, piece in enumerate(noise.split(3, dim=1)):
            asked.append(i)
            yield Chunk(piece, text)

    clip = stream(tiny_net, chunks(), TWO, rng=torch.Generator().manual_seed(3))
    pieces = []
    for i, piece in enumerate(clip):
        assert asked == list(range(i + 1))
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, dim=1), run(tiny_net, start))


@torch.no_grad()
@pytest.mark.parametrize("commit", ["sequential", "packed"])
def test_a_new_prompt_changes_the_chunks_after_it_and_the_past_keeps_its_own(tiny_net, start, commit):
    noise, text = start
    other = torch.randn_like(text)

    def clip(texts, commit=commit):
        pieces = (Chunk(piece, said) for piece, said in zip(noise.split(3, dim=1), texts, strict=True))
        return list(stream(tiny_net, pieces, TWO, rng=torch.Generator().manual_seed(3), commit=commit))

    same, turned = clip([text] * 4), clip([text, text, other, other])
    for i in range(4):
        assert torch.allclose(same[i], turned[i], atol=1e-5) == (i < 2)
    reference = clip([text, text, other, other], "sequential")
    torch.testing.assert_close(turned, reference, **NEAR)


@torch.no_grad()
@pytest.mark.parametrize("commit", ["sequential", "packed"])
def test_a_prefix_is_the_first_chunk_committed_as_it_is(tiny_net, start, commit):
    noise, text = start
    image, rest = torch.randn(2, 1, 16, 4, 4), noise[:, :8]
    layout, context = ChunkLayout(4, first=1), Context(1, 9)
    clip = run(tiny_net, (rest, text), ONE, layout, context=context, prefix=image, commit=commit)
    assert torch.equal(clip[:, :1], image)
    cache = tiny_net.prefill(image, torch.zeros(2, 1), text, KVCache.empty(2), context)
    level = torch.ones(2, 4)
    first = x0_from_v(rest[:, :4], tiny_net(rest[:, :4], level, text, cache=cache, context=context), level)
    torch.testing.assert_close(clip[:, 1:5], first, **NEAR)
    assert clip.shape[1] == 9


def test_loss_on_the_last_chunk_gives_earlier_chunks_no_gradient(tiny_net, start):
    noise, text = start
    noise.requires_grad_()
    run(tiny_net, (noise, text), ONE)[:, -3:].square().mean().backward()
    assert noise.grad[:, :-3].abs().sum() == 0
    assert noise.grad[:, -3:].abs().sum() > 0


def test_behind_an_image_no_gradient_reaches_it_or_earlier_chunks_whatever_the_window(tiny_net, start):
    noise, text = start
    image = torch.randn(2, 1, 16, 4, 4, requires_grad=True)
    noise.requires_grad_()
    context = Context(1, 4, "relative")
    run(tiny_net, (noise, text), ONE, context=context, prefix=image)[:, -3:].square().mean().backward()
    assert noise.grad[:, :-3].abs().sum() == 0
    assert noise.grad[:, -3:].abs().sum() > 0
    assert image.grad is None or image.grad.abs().sum() == 0


def test_only_the_last_step_of_a_chunk_carries_gradient(tiny_net, start):
    noise, text = start
    steps = []
    clip = run(tiny_net, start, TWO, on_step=lambda chunk, step, x0: steps.append(x0.requires_grad))
    assert steps == [False, True] * 4
    assert clip.requires_grad
    assert run(tiny_net, (noise.requires_grad_(), text), TWO).square().mean().backward() is None
    assert noise.grad is None


@pytest.mark.parametrize("options", [{}, {"commit": "packed"}, {"context": Context(1, 6)}])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("plan", [ONE, TWO])
def test_gradient_is_the_truncated_one(tiny_net, start, options, checkpointing, plan):
    """Reference: freeze what each last step starts from and the clean past it saw, then differentiate that step."""
    noise, text = start
    context = options.get("context", Context())
    weight = torch.randn(2, 12, 16, 4, 4)
    tiny_net.gradient_checkpointing = checkpointing
    (run(tiny_net, start, plan, **options) * weight).sum().backward()
    found = [p.grad.clone() for p in tiny_net.parameters()]

    tiny_net.gradient_checkpointing = False
    tiny_net.zero_grad()
    rng, cache = torch.Generator().manual_seed(3), KVCache.empty(2)
    for i, x in enumerate(noise.split(3, dim=1)):
        level = torch.ones(2, 3)
        if plan is TWO:
            with torch.no_grad():
                x0 = x0_from_v(x, tiny_net(x, level, text, cache=cache, context=context), level)
                level = torch.full((2, 3), 0.8)
                x = add_noise(x0, torch.randn(x.shape, generator=rng), level)
        x0 = x0_from_v(x, tiny_net(x, level, text, cache=cache, context=context), level)
        (x0 * weight[:, 3 * i : 3 * i + 3]).sum().backward()
        cache = tiny_net.prefill(x0.detach(), torch.zeros(2, 3), text, cache, context)
    for ours, parameter in zip(found, tiny_net.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_endless_stream_runs_in_a_window(tiny_net, start):
    noise, text = start
    chunks = (Chunk(noise[:, :3], text) for _ in range(30))
    context = Context(1, 6, "relative")
    clip = torch.cat(list(stream(tiny_net, chunks, ONE, context=context, rng=torch.Generator(), ring=True)), dim=1)
    assert clip.shape[1] == 90
    assert clip.isfinite().all()


class Held(Log):
    """Frames that the cache holds after every commit, and the largest position that any chunk was given."""

    def __init__(self, net, monkeypatch):
        super().__init__(net, monkeypatch)
        self.frames, self.positions = [], []

    def _logged(self, name, function):
        def call(*args, **kwargs):
            made = function(*args, **kwargs)
            if isinstance(made, KVCache):
                self.frames.append(len(made.frames))
                plan, _ = made.open((4,), args[4])
                self.positions.append(max(plan.positions))
            return made

        return call


@torch.no_grad()
def test_past_1024_latent_frames_the_cache_and_the_positions_stay_those_of_the_window(tiny_net, monkeypatch):
    torch.manual_seed(2)
    image, text, context = torch.randn(1, 1, 16, 2, 2), torch.randn(1, 8, 32), Context(1, 9, "relative")
    chunks = [Chunk(torch.randn(1, 4, 16, 2, 2), text) for _ in range(260)]
    held = Held(tiny_net, monkeypatch)
    clip = list(stream(tiny_net, chunks, ONE, context=context, rng=torch.Generator(), prefix=image))
    assert 1 + 4 * len(clip) == 1041
    assert torch.cat(clip).isfinite().all()
    assert set(held.frames[2:]) == {9}
    assert set(held.positions[2:]) == {8}
    ring = stream(tiny_net, chunks, ONE, context=context, rng=torch.Generator(), prefix=image, ring=True)
    torch.testing.assert_close(list(ring)[-1], clip[-1], **NEAR)


def test_misuse_is_named(tiny_net, start):
    with pytest.raises(ValueError, match="'sequential' or 'packed'"):
        run(tiny_net, start, commit="never")
    with pytest.raises(ValueError, match="9 or 12"):
        run(tiny_net, (start[0][:, :10], start[1]))
    with pytest.raises(ValueError, match="window of at least 5"), torch.no_grad():
        run(tiny_net, start, context=Context(2, 4))
    with pytest.raises(ValueError, match="got 1 for 2 clips"), torch.no_grad():
        rollout(tiny_net, *start, TWO, layout=LAYOUT, rng=[torch.Generator()])
    chunks = [Chunk(start[0][:, :3], start[1])]
    with pytest.raises(ValueError, match="needs a bound"), torch.no_grad():
        next(stream(tiny_net, chunks, ONE, rng=torch.Generator(), ring=True))
