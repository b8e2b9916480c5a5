"""Caches hold exactly the frames that a chunk may see, as values and in place."""

from __future__ import annotations

import pytest
import torch

from fewstep.models.cache import Context, KVCache, Plan, View, plan_views, runs
from fewstep.models.ring import RingKVCache

TOKENS = 2


def frame_kv(frames):
    """Keys and values whose numbers are the frame they belong to."""
    x = torch.tensor(frames, dtype=torch.float32).repeat_interleave(TOKENS).view(1, -1, 1, 1)
    return x, x.clone()


def filled(cache, sizes, context):
    start = 0
    for size in sizes:
        cache = cache.append([frame_kv(range(start, start + size))] * 2, size, context)
        start += size
    return cache


def ring(slots):
    return RingKVCache([(torch.empty(1, slots * TOKENS, 1, 1),) * 2 for _ in range(2)], slots)


@pytest.mark.parametrize(
    ("context", "chunk", "sink", "local"),
    [
        (Context(), (6, 9), [], range(9)),
        (Context(window=6), (0, 3), [], range(3)),
        (Context(window=6), (3, 6), [], range(6)),
        (Context(window=6), (6, 9), [], range(3, 9)),
        (Context(sink=3, window=12), (12, 15), [0, 1, 2], range(6, 15)),  # LongLive: 12 = 3 sink + 9 with the chunk
        (Context(sink=1, window=9), (9, 13), [0], range(5, 13)),  # AAD-1: 9 = 1 sink + 4 + 4
        (Context(sink=1, window=14), (17, 21), [0], range(8, 21)),  # Eq. 1 literally: the sink, 9 before, 4
        (Context(sink=None, window=6), (6, 9), [], range(3, 9)),
    ],
)
def test_window_counts_sink_and_chunk(context, chunk, sink, local):
    seen = context.sees(*chunk)
    assert (list(seen[0]), list(seen[1])) == (list(sink), list(local))


@pytest.mark.parametrize("wrong", [{"window": 0}, {"sink": 3, "window": 3}, {"sink": -1}, {"rope": "learned"}])
def test_impossible_contexts_are_refused(wrong):
    with pytest.raises(ValueError, match="Context"):
        Context(**wrong)


def test_window_that_cannot_hold_sink_and_chunk_says_what_would():
    with pytest.raises(ValueError, match="window of at least 7"):
        Context(sink=3, window=6).sees(6, 10)


def test_room_is_asked_for_before_the_window_slides():
    Context(sink=3, window=6).require_room(3)
    Context().require_room(10_000)
    with pytest.raises(ValueError, match="window of at least 7"):
        Context(sink=3, window=6).require_room(4)


def test_a_first_chunk_has_nothing_before_it_and_needs_room_for_itself_alone():
    context = Context(sink=3, window=6)
    context.require_room(3, first=6)
    assert context.sees(0, 6) == (range(0), range(6))
    with pytest.raises(ValueError, match="window=6 cannot hold a first chunk of 7"):
        context.require_room(3, first=7)


def test_runs_join_neighbours():
    assert runs((0, 1, 2, 5)) == ((0, 3), (5, 6))
    assert runs(()) == ()


def test_append_keeps_what_the_chunk_saw_and_leaves_the_old_value_alone():
    context = Context(sink=1, window=6)
    before = filled(KVCache.empty(2), (3, 3), context)
    held = [k.clone() for k, _ in before.layers[0]]
    after = filled(KVCache.empty(2), (3, 3, 3), context)
    assert before.frames == (0, 1, 2, 3, 4, 5)
    assert all(torch.equal(k, was) for (k, _), was in zip(before.layers[0], held, strict=True))
    assert after.frames == (0, 4, 5, 6, 7, 8)
    assert [v.flatten().tolist() for _, v in after.layers[1]] == [[f] * TOKENS for f in after.frames]
    assert after.num_frames == 9


def test_seeking_back_forgets_and_seeking_on_leaves_a_gap():
    context = Context(sink=1, window=6)
    before = filled(KVCache.empty(2), (3, 3), context)
    assert before.seek(3).frames == (0, 1, 2)
    assert before.seek(0).layers == KVCache.empty(2).layers
    assert before.frames == (0, 1, 2, 3, 4, 5), "the old value is left alone"
    after = before.seek(1).seek(9).append([frame_kv(range(9, 12))] * 2, 3, context)
    assert (after.frames, after.num_frames) == ((0, 9, 10, 11), 12)
    plan, _ = after.open((3,), Context(sink=1, window=7, rope="relative"))
    assert plan.positions == (0, 1, 2, 3, 4, 5, 6), "the gap is closed as if its frames had been there and gone"


@pytest.mark.parametrize("context", [Context(0, 6), Context(1, 7), Context(1, 8, "relative")])
def test_a_ring_seeks_as_the_value_cache_does(context):
    value, in_place = KVCache.empty(2), ring(8)
    with torch.no_grad():
        value, in_place = (filled(cache, (3, 3, 3, 3), context).seek(0) for cache in (value, in_place))
        for start in (0, 6, 9):
            k, v = frame_kv(range(start, start + 3))
            value, in_place = (cache.seek(start).append([(k, v)] * 2, 3, context) for cache in (value, in_place))
    held = sorted(frame for frame in in_place.slots if frame >= 0)
    assert [frame for frame in held if frame in value.frames] == list(value.frames)
    shown = [cache.open((3,), context) for cache in (value, in_place)]
    k, v = frame_kv(range(12, 15))
    seen = []
    with torch.no_grad():
        for plan, pasts in shown:
            keys = pasts[0].extend(k, v)[0].flatten()[::TOKENS].tolist()
            places = [i for a, b in plan.views[0].keys for i in range(a, b)]
            seen.append(sorted((keys[i], plan.positions[i]) for i in places))
    assert seen[0] == seen[1]


def test_nothing_in_a_cache_carries_gradient():
    k, v = (x.requires_grad_() for x in frame_kv(range(3)))
    cache = KVCache.empty(1).append([(k, v)], 3, Context()).append([(k * 2, v * 2)], 3, Context())
    assert not any(x.requires_grad for kv in cache.layers[0] for x in kv)


def test_versions_of_a_cache_share_their_frames():
    before = KVCache.empty(1).append([frame_kv(range(3))], 3, Context())
    after = before.append([frame_kv(range(3, 6))], 3, Context())
    assert [k.data_ptr() for k, _ in after.layers[0][:3]] == [k.data_ptr() for k, _ in before.layers[0]]


def test_relative_positions_equal_absolute_ones_until_the_window_is_full():
    absolute, relative = Context(1, 6), Context(1, 6, "relative")
    for start in (0, 3):
        order = range(start + 3)
        assert plan_views(order, start, (3,), absolute) == plan_views(order, start, (3,), relative)


def test_relative_positions_put_sink_first_and_queries_last():
    plan = plan_views((0, 7, 8, 9, 10, 11), 9, (3,), Context(1, 6, "relative"))
    assert plan == Plan((0, 1, 2, 3, 4, 5), (3, 4, 5), (View((0, 3), ((0, 6),)),))


def test_later_chunks_of_one_pass_see_their_own_sink_positions():
    plan = plan_views(range(9), 0, (3, 3, 3), Context(1, 6, "relative"))
    assert plan.positions == tuple(range(9))
    assert plan.views[2] == View((6, 9), ((0, 1), (4, 9)), sink_positions=(3,))


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3, 3), (1, 4, 4, 4), (2, 1, 3, 2, 1, 3)])
@pytest.mark.parametrize("context", [Context(0, 6), Context(1, 7), Context(1, 7, "relative")])
@pytest.mark.parametrize("spare", [0, 3])
def test_ring_shows_every_chunk_the_frames_and_positions_of_the_value_cache(sizes, context, spare):
    value, in_place, start = KVCache.empty(2), ring(7 + spare if context.sink else 6 + spare), 0
    with torch.no_grad():
        for size in sizes:
            k, v = frame_kv(range(start, start + size))
            shown = []
            for cache in (value, in_place):
                plan, pasts = cache.open((size,), context)
                keys = pasts[0].extend(k, v)[0].flatten()[::TOKENS].tolist()
                seen = [i for a, b in plan.views[0].keys for i in range(a, b)]
                shown.append((sorted((keys[i], plan.positions[i]) for i in seen), plan.query_positions))
            assert shown[0] == shown[1]
            value = value.append([(k, v)] * 2, size, context)
            in_place = in_place.append([(k, v)] * 2, size, context)
            start += size


def test_ring_memory_never_moves():
    cache, context = ring(6), Context(0, 6)
    places = [x.data_ptr() for layer in cache.layers for x in layer]
    with torch.no_grad():
        filled(cache, (3, 3, 3, 3), context)
    assert [x.data_ptr() for layer in cache.layers for x in layer] == places
    assert sorted(cache.slots) == [6, 7, 8, 9, 10, 11]


def test_ring_refuses_training_and_overflow():
    with pytest.raises(ValueError, match="inference only"):
        ring(6).append([frame_kv(range(3))] * 2, 3, Context())
    with torch.no_grad(), pytest.raises(ValueError, match="6 slots, 0 of them free"):
        filled(ring(6), (3, 3, 3), Context())
