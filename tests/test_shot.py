from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewstep.diffusion.steps import shifted_levels
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import Passport
from fewstep.models.layout import ChunkLayout
from fewstep.models.vae import VideoVAE, from_uint8
from fewstep.sampling import Causal, CausalManySteps, ManySteps
from fewstep.shot import Shot, begin_with, choose_sampling, count_frames, pixel_size, rolling_context

STUDENT = Passport(name="s", kind="student", latent_frames=21, height=480, width=832, levels=shifted_levels())
AAD = replace(STUDENT, layout=ChunkLayout(4, first=1))
TEACHER = Passport(name="t", kind="teacher", latent_frames=21, height=480, width=832, guidance=5.0)


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(0)
    return VideoVAE.from_preset("tiny").eval()


@pytest.mark.parametrize(
    ("passport", "given", "latents"),
    [(STUDENT, 0, 21), (STUDENT, 1, 19), (STUDENT, 3, 21), (AAD, 0, 21), (AAD, 1, 21), (AAD, 4, 20), (TEACHER, 0, 21)],
)
def test_a_clip_is_as_long_as_the_trained_one_or_what_fits_into_it_behind_a_prefix(vae, passport, given, latents):
    assert count_frames(passport, vae, None, given) == latents


def test_a_prefix_is_followed_by_one_chunk_at_least(vae):
    short = replace(STUDENT, latent_frames=3)
    assert count_frames(short, vae, None, 3) == 6
    assert count_frames(STUDENT, vae, 13, 1) == 4
    with pytest.raises(ValueError, match="the nearest are 13"):
        count_frames(STUDENT, vae, 1, 1)


@pytest.mark.parametrize("frames", [81, 9, 405])
def test_lengths_beyond_the_trained_one_are_served(vae, frames: int):
    assert vae.pixel_frames(count_frames(STUDENT, vae, frames)) == frames


@pytest.mark.parametrize(
    ("passport", "given", "frames", "nearest"),
    [(STUDENT, 0, 80, "69 and 81"), (STUDENT, 1, 81, "73 and 85"), (AAD, 1, 80, "65 and 81"), (TEACHER, 0, 80, "77")],
)
def test_lengths_that_leave_a_chunk_unfilled_name_the_nearest(vae, passport, given, frames, nearest):
    with pytest.raises(ValueError, match=nearest):
        count_frames(passport, vae, frames, given)


def test_sizes_are_the_passports_or_any_that_tokens_tile():
    assert pixel_size(STUDENT, (16, 16), None, None) == (480, 832)
    assert pixel_size(STUDENT, (16, 16), 720, 1280) == (720, 1280)
    for height, message in ((500, "nearest are 496 and 512"), (5, "nearest is 16"), (0, "height must be")):
        with pytest.raises(ValueError, match=message):
            pixel_size(STUDENT, (16, 16), height, 832)


def test_a_prefix_takes_the_place_of_the_first_chunk():
    behind = choose_sampling(AAD, 2, None, None, behind_prefix=True)
    assert isinstance(behind, Causal)
    assert behind.layout == ChunkLayout(4)
    with pytest.raises(ValueError, match="'t' is a teacher: choose a student"):
        choose_sampling(TEACHER, None, None, None, behind_prefix=True)


def test_a_causal_teacher_solves_each_chunks_ode_and_goes_on_from_a_prefix(vae):
    teacher = replace(TEACHER, causal_teacher=True, layout=ChunkLayout(4, first=1))
    alone = choose_sampling(teacher, 48, None, None)
    assert alone == CausalManySteps(ManySteps(48, 5.0, 5.0), ChunkLayout(4, first=1), Context())
    behind = choose_sampling(teacher, 48, None, None, behind_prefix=True)
    assert behind.layout == ChunkLayout(4)
    assert count_frames(teacher, vae, None) == count_frames(teacher, vae, None, 1) == 21
    shot = Shot(behind, 9, (16, 4, 4), 36, prefix=torch.zeros(1, 1, 16, 4, 4))
    assert shot.cost == (2 * 2 * 48, 2 * 2), "guidance doubles the commits of the image and of the first chunk too"
    with pytest.raises(ValueError, match="as many steps for every part"):
        choose_sampling(teacher, 48, 4, None)
    with pytest.raises(ValueError, match="whole chunks"):
        replace(teacher, latent_frames=20)


def test_costs_count_the_commit_of_a_prefix():
    sampling = choose_sampling(STUDENT, 2, None, None, behind_prefix=True)
    shot = Shot(sampling, 7, (16, 4, 4), 28, prefix=torch.zeros(1, 1, 16, 4, 4))
    assert shot.new_frames == 6
    assert shot.num_steps == 4
    assert shot.cost == (4, 2)
    assert Shot(ManySteps(50, 5.0, 5.0), 21, (16, 60, 104), 32_760).cost == (100, 0)


def test_an_enhanced_second_chunk_needs_a_second_chunk():
    named = replace(STUDENT, plan="1+")
    for sampling in (choose_sampling(STUDENT, 1, None, None, second=4), choose_sampling(named, None, None, None)):
        assert Shot(sampling, 6, (16, 4, 4), 24).num_steps == 5
        with pytest.raises(ValueError, match=r"\(the plan N\+\) needs two chunks or more, the clip has 1"):
            Shot(sampling, 3, (16, 4, 4), 12)
        with pytest.raises(ValueError, match="the clip has 1"):
            Shot(sampling, 6, (16, 4, 4), 24, prefix=torch.zeros(1, 3, 16, 4, 4))


@pytest.mark.parametrize(("tokens", "batch"), [(144, 8), (2048, 8), (8192, 2), (32_760, 1), (75_600, 1)])
def test_many_small_clips_are_made_at_once_and_large_ones_alone(tokens: int, batch: int):
    assert Shot(ManySteps(50, 5.0, 5.0), 21, (16, 60, 104), tokens).batch == batch


def ramp(frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (frames, height, width, 3), dtype=np.uint8)


@torch.inference_mode()
def test_a_picture_is_one_latent_frame_and_a_video_its_last_chunk(vae):
    toy = replace(STUDENT, height=32, width=48)
    clip = ramp(15)

    def encoded(frames: np.ndarray) -> torch.Tensor:
        return vae.encode(from_uint8(torch.from_numpy(frames).movedim(-1, 1)[None]))

    assert torch.equal(begin_with(toy, vae, clip[0], None, (32, 48)), encoded(clip[:1]))
    assert torch.equal(begin_with(toy, vae, None, clip, (32, 48)), encoded(clip[-9:]))
    # shorter than a chunk: as many latent frames as there are, and no picture before them
    assert torch.equal(begin_with(toy, vae, None, clip[:7], (32, 48)), encoded(clip[2:7]))
    assert begin_with(toy, vae, None, clip[:3], (32, 48)).shape[1] == 1
    assert begin_with(toy, vae, None, ramp(9, 100, 60), (32, 48)).shape == (1, 3, 16, 4, 6)


def test_a_student_trained_from_text_alone_goes_on_from_whole_chunks_only(vae):
    toy = replace(STUDENT, height=32, width=48, begins_with="text")
    assert begin_with(toy, vae, None, None, (32, 48)) is None
    assert begin_with(toy, vae, None, ramp(9), (32, 48)).shape[1] == 3
    with pytest.raises(ValueError, match=r"'s' was trained from text alone: leave the image out"):
        begin_with(toy, vae, ramp(1)[0], None, (32, 48))
    with pytest.raises(ValueError, match="must fill a chunk, 9 pictures at 16 a second, got 8"):
        begin_with(toy, vae, None, ramp(8), (32, 48))


def test_a_student_trained_from_images_needs_one_or_a_clip(vae):
    toy = replace(AAD, height=32, width=48, begins_with="image")
    assert begin_with(toy, vae, ramp(1)[0], None, (32, 48)).shape[1] == 1
    assert begin_with(toy, vae, None, ramp(13), (32, 48)).shape[1] == 4
    with pytest.raises(ValueError, match=r"an image is required, for 's' was trained to go on from one, got none"):
        begin_with(toy, vae, None, None, (32, 48))


@pytest.mark.parametrize("known", [None, "either"])
def test_others_begin_with_anything(vae, known):
    toy = replace(STUDENT, height=32, width=48, begins_with=known)
    assert begin_with(toy, vae, None, None, (32, 48)) is None
    assert begin_with(toy, vae, ramp(1)[0], None, (32, 48)).shape[1] == 1
    assert begin_with(toy, vae, None, ramp(3), (32, 48)).shape[1] == 1


def test_a_clip_without_end_sees_as_much_as_a_trained_one():
    assert rolling_context(STUDENT) == Context(3, 21, "relative")
    assert rolling_context(AAD) == Context(1, 21, "relative")
    assert rolling_context(replace(STUDENT, latent_frames=3)) == Context(3, 6, "relative")
    own = Context(1, 9, "relative")
    assert rolling_context(replace(AAD, context=own)) == own


def test_what_a_clip_begins_with_is_one_thing_of_the_right_kind(vae):
    with pytest.raises(ValueError, match="got both"):
        begin_with(STUDENT, vae, ramp(1)[0], ramp(9), (32, 48))
    with pytest.raises(ValueError, match="uint8 array"):
        begin_with(STUDENT, vae, None, ramp(1)[0], (32, 48))
