from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fewstep
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.pipeline import Pipeline
from fewstep.sampling import require_room


@pytest.fixture(scope="module")
def pipe(student: Path) -> Pipeline:
    return fewstep.load(str(student), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def teaching(teacher: Path) -> Pipeline:
    return fewstep.load(str(teacher), dtype="float32", device="cpu")


def test_a_clip_has_the_passports_size_rate_and_length(pipe: Pipeline):
    made = pipe.generate("a red ball")
    passport = pipe.passport
    assert made.frames.shape == (1, pipe.pixel_frames, passport.height, passport.width, 3)
    assert made.frames.dtype == np.uint8
    assert made.fps == passport.fps
    assert np.array_equal(np.asarray(made), made.frames)


def test_evaluations_count_every_denoising_pass_and_no_commit(pipe: Pipeline):
    seen: list[tuple[int, int]] = []
    made = pipe.generate("a red ball", steps=1, first=4, on_step=lambda chunk, step, x0: seen.append((chunk, step)))
    assert made.network_evaluations == len(seen) == 4 + 1 + 1
    assert made.commits == 2
    assert set(made.seconds) == {"text", "denoise", "decode", "total"}


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_every_step_count_of_the_plan_is_served(pipe: Pipeline, steps: int):
    plan = pipe.plan(steps)
    assert plan.first == plan.rest == tuple(pipe.passport.levels)[:steps]
    assert pipe.plan(steps, first=4).first == tuple(pipe.passport.levels)


def test_first_equal_to_steps_changes_nothing(pipe: Pipeline):
    one, same = (pipe.generate("a red ball", steps=2, **options).frames for options in ({}, {"first": 2}))
    assert np.array_equal(one, same)


def test_a_seed_makes_the_same_clip_again_and_another_seed_another(pipe: Pipeline):
    one, again, other = (pipe.generate("a red ball", steps=1, seed=seed).frames for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_plans_start_from_the_same_noise(pipe: Pipeline):
    first_x0 = {}
    for steps in (1, 4):
        seen = []
        pipe.generate("a red ball", steps=steps, seed=5, on_step=lambda c, s, x0, seen=seen: seen.append(x0))
        first_x0[steps] = seen[0]
    assert torch.equal(first_x0[1], first_x0[4])


@pytest.mark.parametrize("plan", [{"steps": 1}, {"steps": 2}, {"steps": 4}, {"steps": 1, "first": 4}, {"second": 4}])
def test_a_clip_is_the_same_alone_and_in_any_batch(pipe: Pipeline, plan: dict[str, int]):
    prompts, plan = ["a red ball", "a blue square", "a red square"], {"steps": 1} | plan
    together = pipe.generate(prompts, seed=1, **plan).frames.astype(int)
    split = pipe.generate(prompts, seed=1, batch=2, **plan).frames
    alone = [pipe.generate(prompt, seed=1, index=i, **plan).frames[0] for i, prompt in enumerate(prompts)]
    # products of a batch are summed in another order: the last bits differ, and a picture by one level at most
    assert np.abs(together - split).max() <= 1
    assert np.abs(together - np.stack(alone)).max() <= 1
    assert np.abs(together - pipe.generate(prompts, seed=1, index=1, **plan).frames).max() > 1


def test_a_teachers_clip_is_the_same_alone_and_in_any_batch(teaching: Pipeline):
    together = teaching.generate(["a red ball", "a blue square"], steps=4, seed=1).frames.astype(int)
    alone = teaching.generate("a blue square", steps=4, seed=1, index=1).frames[0]
    assert np.abs(together[1] - alone).max() <= 1


def test_a_clip_whose_past_no_memory_holds_is_refused_before_anything_is_made(pipe: Pipeline):
    shot = pipe.shot()
    endless = replace(shot, frames=10**10, tokens=shot.tokens // shot.frames * 10**10)
    with pytest.raises(ValueError, match=r"of 10000000000 latent frames takes \d+ GB.* or behind a window"):
        next(pipe.pieces(endless, ["a red ball"], seed=0))
    behind = replace(endless.sampling, context=Context(sink=3, window=9))
    require_room(pipe.net, behind, endless.frames, endless.tokens)


def test_a_shorter_clip_is_the_start_of_a_longer_one(pipe: Pipeline):
    short, long = (pipe.generate("a red ball", steps=2, frames=frames).frames for frames in (9, 21))
    # a renoising draw takes the whole chunk, and chunk 1 is the same in both
    assert np.abs(short[0].astype(int) - long[0, :9]).max() <= 1


def test_streamed_frames_are_those_of_generate(pipe: Pipeline):
    with pipe.stream("a red ball", steps=2, seed=7) as session:
        chunks = list(session)
    assert [len(chunk) for chunk in chunks] == [9, 12, 12]
    assert len(session.seconds) == 3
    whole = pipe.generate("a red ball", steps=2, seed=7).frames[0]
    assert np.abs(np.concatenate(chunks).astype(int) - whole).max() <= 1


def test_the_prompt_can_change_between_chunks(pipe: Pipeline):
    same = np.concatenate(list(pipe.stream("a red ball", steps=1)))
    with pipe.stream("a red ball", steps=1) as session:
        chunks = []
        for frames in session:
            chunks.append(frames)
            session.prompt = "a blue square"
    changed = np.concatenate(chunks)
    assert np.array_equal(changed[:9], same[:9])
    assert not np.array_equal(changed[9:], same[9:])
    scripted = np.concatenate(list(pipe.stream(iter(["a red ball", "a blue square"]), steps=1)))
    assert np.array_equal(scripted, changed)


def test_recaching_tells_the_past_the_new_prompt_too(pipe: Pipeline):
    script = ["a red ball", "a red ball", "a blue square"]
    kept, anew = (np.concatenate(list(pipe.stream(iter(script), steps=1, recache=on))) for on in (False, True))
    assert np.array_equal(kept[:21], anew[:21])
    assert not np.array_equal(kept[21:], anew[21:])


def test_a_window_without_room_is_refused_before_anything_is_made(pipe: Pipeline):
    with pytest.raises(ValueError, match="cannot hold sink=3 and a chunk of 3 frames; use a window of at least 6"):
        pipe.stream("a red ball", context=Context(sink=3, window=5))
    own = replace(pipe.passport, layout=ChunkLayout(3, first=6))
    wide = Pipeline(pipe.net, pipe.vae, pipe.text, own)
    with pytest.raises(ValueError, match="window=5 cannot hold a first chunk of 6 frames"):
        wide.stream("a red ball", context=Context(window=5))


def test_a_bad_prompt_leaves_the_stream_as_it_was(pipe: Pipeline):
    session = pipe.stream("a red ball", steps=1)
    next(session)
    with pytest.raises(ValueError, match="prompt"):
        session.prompt = ""
    assert session.prompt == "a red ball"
    assert len(list(session)) == 2


def test_a_closed_stream_ends(pipe: Pipeline):
    with pipe.stream("a red ball", steps=1) as session:
        next(session)
    assert list(session) == []


def test_an_endless_stream_needs_a_window_and_then_goes_on(pipe: Pipeline):
    with pytest.raises(ValueError, match="window"):
        pipe.stream("a red ball", endless=True)
    session = pipe.stream("a red ball", steps=1, endless=True, context=Context(sink=3, window=9, rope="relative"))
    assert [len(next(session)) for _ in range(6)] == [9, 12, 12, 12, 12, 12]


def test_a_teacher_samples_by_ode_and_counts_guidance_twice(teaching: Pipeline):
    made = teaching.generate("a red ball", steps=3, guidance=4.0)
    assert (made.network_evaluations, made.commits) == (6, 0)
    assert teaching.generate("a red ball", steps=3, guidance=1).network_evaluations == 3
    for call in (
        lambda: teaching.generate("x", first=2),
        lambda: teaching.stream("x"),
        lambda: teaching.generate("x", steps=0),
    ):
        with pytest.raises(ValueError, match=r"teacher|steps"):
            call()


@pytest.mark.parametrize(
    "options", [{"steps": True}, {"steps": 2.0}, {"frames": "9"}, {"seed": 1.5}, {"guidance": 2.0}]
)
def test_values_of_the_wrong_kind_are_refused(pipe: Pipeline, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        pipe.generate("a red ball", **options)


@pytest.mark.parametrize("prompts", [[], [1], None, ["a red ball", None]])
def test_prompts_of_the_wrong_kind_are_refused(pipe: Pipeline, prompts):
    with pytest.raises(ValueError, match="prompts"):
        pipe.generate(prompts)


def test_bfloat16_makes_nearly_the_same_clip(student: Path, pipe: Pipeline):
    half = Pipeline.load(student, dtype="bfloat16", device="cpu").generate("a red ball", steps=1).frames
    full = pipe.generate("a red ball", steps=1).frames
    assert np.abs(half.astype(int) - full).mean() < 8
