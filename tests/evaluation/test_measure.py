from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewstep.evaluation.entries import serves
from fewstep.evaluation.measure import Prompts, measure, measure_round_trip, measure_truth, round_trip, world_of
from fewstep.evaluation.provenance import fingerprint
from fewstep.evaluation.results import ResultsError
from fewstep.evaluation.scores import COLUMNS, values_of
from fewstep.models.checkpoint_dir import Passport
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline
from fewstep.shapes.render import render
from fewstep.shapes.scene import World

LEVELS = (1.0, 0.9, 0.75, 0.5)


def passport(kind: str = "student", levels: tuple[float, ...] = LEVELS) -> Passport:
    options = {"layout": ChunkLayout(1), "levels": levels} if kind == "student" else {"guidance": 2.0}
    return Passport(name=f"tiny-{kind}", kind=kind, height=64, width=64, latent_frames=3, **options)


def make(kind: str = "student", levels: tuple[float, ...] = LEVELS) -> Pipeline:
    torch.manual_seed(0)
    parts = VideoDiT(PRESETS["tiny"]), VideoVAE.from_preset("tiny"), TextEncoder.from_preset("tiny")
    return Pipeline(*parts, passport(kind, levels))


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return make()


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts.sample(World(frames=9), count=3)


def test_prompts_are_the_same_every_time_and_a_shorter_list_starts_a_longer_one(prompts: Prompts):
    again, longer = (Prompts.sample(World(frames=9), count=count) for count in (3, 5))
    assert again == prompts
    assert again.hash == prompts.hash != longer.hash
    assert longer.captions[:3] == prompts.captions


def test_held_out_prompts_are_others(prompts: Prompts):
    assert not set(Prompts.sample(World(frames=9), "heldout", 3).captions) & set(prompts.captions)
    with pytest.raises(ValueError, match="test, heldout"):
        Prompts.sample(World(), "train")


def test_a_model_is_scored_clip_by_clip_and_timed_alone(pipe: Pipeline, prompts: Prompts):
    heard: list[int] = []
    found = measure(pipe, "1*", prompts, batch=2, timed=2, shown=2, advance=heard.append)
    assert [clip["index"] for clip in found.clips] == [0, 1, 2]
    assert [clip["caption"] for clip in found.clips] == list(prompts.captions)
    assert values_of(found.clips).shape == (3, len(COLUMNS))
    assert heard == [1, 1, 1]
    assert [clip.shape for clip in found.shown] == [(9, 64, 64, 3)] * 2
    assert (found.evaluations, found.commits) == (4 + 1 + 1, 2)
    assert found.timing.clips == 2
    assert found.timing.seconds > max(found.timing.denoise, found.timing.decode) > 0


def test_every_plan_starts_from_the_same_noise(pipe: Pipeline, prompts: Prompts, monkeypatch: pytest.MonkeyPatch):
    seen: list[torch.Tensor] = []
    pieces = pipe.pieces

    def watch(chunk: int, step: int, x0: torch.Tensor) -> None:
        if chunk == step == 0:
            seen.append(x0)

    monkeypatch.setattr(pipe, "pieces", lambda *args, **options: pieces(*args, **{**options, "on_step": watch}))
    for plan in ("4", "1"):
        measure(pipe, plan, prompts, timed=0)
    assert torch.equal(*seen)


def test_a_clip_is_the_one_that_the_pipeline_makes(pipe: Pipeline, prompts: Prompts):
    found = measure(pipe, "2*", prompts, seed=7, batch=2, timed=0)
    made = pipe.generate(prompts.captions[:2], steps=2, first=4, seed=7, batch=2)
    assert np.array_equal(np.stack(found.shown[:2]), made.frames)
    assert (found.evaluations, found.commits) == (made.network_evaluations, made.commits)


def test_a_model_that_goes_on_from_pictures_gets_the_first_frame_of_each_scene(pipe: Pipeline, prompts: Prompts):
    student = Pipeline(pipe.net, pipe.vae, pipe.text, replace(pipe.passport, begins_with="image"))
    found = measure(student, "1", prompts, batch=2, timed=1)
    for scene, clip in zip(prompts.scenes, found.shown, strict=True):
        given = round_trip(pipe.vae, render(scene, prompts.world, 1)[None])[0]
        assert np.abs(clip[:1].astype(int) - given).max() <= 1
    assert (found.evaluations, found.commits) == (2, 2)
    assert found.timing.clips == 1


def test_a_teacher_takes_euler_steps_and_counts_guidance_twice(prompts: Prompts):
    found = measure(make("teacher"), "2", prompts, timed=0)
    assert (found.evaluations, found.commits, found.timing) == (4, 0, None)
    with pytest.raises(ValueError, match="Euler"):
        measure(make("teacher"), "2*", prompts)


def test_short_lists_of_levels_serve_short_plans_without_stars():
    asked = ("4", "2*", "2", "1*", "1")
    served = {count: [plan for plan in asked if serves(passport(levels=LEVELS[:count]), plan)] for count in (1, 2, 4)}
    assert served == {1: ["1"], 2: ["2", "1"], 4: list(asked)}


def test_a_plan_without_levels_and_a_name_that_is_no_plan_are_refused(prompts: Prompts):
    with pytest.raises(ResultsError, match="needs 4 noise levels, 'tiny-student' has 2"):
        measure(make(levels=LEVELS[:2]), "1*", prompts)
    for name in ("0", "x", "4*", "-1", "1**", ""):
        with pytest.raises(ValueError, match="a plan is a number"):
            serves(passport(), name)


def test_the_ground_truth_scores_nearly_everything_and_noise_next_to_nothing(pipe: Pipeline):
    prompts = Prompts.sample(World(), count=2)
    truth = [clip["color"] for clip in measure_truth(prompts).clips]
    untrained = measure_round_trip(pipe.vae, prompts, shown=1)
    assert min(truth) > 0.95
    assert np.mean([clip["color"] for clip in untrained.clips]) < 0.2
    assert untrained.shown[0].shape == (33, 64, 64, 3)


def test_the_fingerprint_changes_with_weights_and_with_levels(pipe: Pipeline):
    assert fingerprint(pipe) == fingerprint(make())
    assert fingerprint(make(levels=LEVELS[:2])) != fingerprint(pipe)
    other = make()
    with torch.no_grad():
        other.net.blocks[0].modulation[0, 0, 0] += 1
    assert fingerprint(other) != fingerprint(pipe)


def test_the_clips_have_the_models_format(pipe: Pipeline):
    assert world_of(pipe) == World(size=64, frames=9, fps=16)
