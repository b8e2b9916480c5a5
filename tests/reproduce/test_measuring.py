from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewstep.evaluation.measure import Prompts
from fewstep.evaluation.scores import row_of
from fewstep.evaluation.shapebench import score_clip
from fewstep.metrics.base import Clip
from fewstep.metrics.extractors import random_features
from fewstep.metrics.registry import clip_metrics
from fewstep.models.checkpoint_dir import Passport
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline
from fewstep.reproduce.measuring import CONTROLS, measure_arm, measure_control, measures_of, shot_of
from fewstep.reproduce.paper import Arm, Model
from fewstep.shapes.render import render
from fewstep.shapes.scene import World

EXTRACTOR = random_features()
LEVELS = (1.0, 0.9, 0.75, 0.5)


def arm(plan: str = "1", **special) -> Arm:
    return Arm(key="x@1", title="x", model=Model("tiny"), plan=plan, **special)


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    torch.manual_seed(0)
    parts = VideoDiT(PRESETS["tiny"]), VideoVAE.from_preset("tiny"), TextEncoder.from_preset("tiny")
    shape = {"height": 64, "width": 64, "latent_frames": 3}
    return Pipeline(*parts, Passport(name="tiny", kind="student", layout=ChunkLayout(1), levels=LEVELS, **shape))


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts.sample(World(frames=9), count=2)


def test_a_clip_of_four_times_the_length_sees_a_window_of_the_trained_one(pipe):
    shot = shot_of(pipe, arm(length=4), None)
    assert shot.frames == 12
    assert shot.sampling.context.window == 3
    assert shot.sampling.context.rope == "relative"
    assert shot_of(pipe, arm(), None).sampling.context == pipe.passport.context


def test_every_clip_of_a_batch_begins_with_its_own_picture(pipe):
    pictures = np.random.default_rng(0).integers(256, size=(2, 64, 64, 3)).astype(np.uint8)
    shot = shot_of(pipe, arm(from_picture=True), pictures)
    assert shot.prefix.shape[:2] == (2, 1)
    assert not torch.equal(shot.prefix[0], shot.prefix[1])


def test_the_control_of_the_enhanced_chunk_costs_the_same(pipe):
    assert shot_of(pipe, arm("1*"), None).cost == shot_of(pipe, arm("1+"), None).cost == (6, 2)


def test_an_observed_arm_keeps_rows_arrays_and_costs(pipe, prompts):
    found = measure_arm(pipe, arm("4", observe=True), prompts, batch=2, extractor=EXTRACTOR)
    assert [row["index"] for row in found.rows] == [0, 1]
    assert {"facts_true", "metrics"} <= found.rows[0].keys()
    assert "imaging_quality" in found.rows[0]["metrics"]
    assert "i2v_subject" not in found.rows[0]["metrics"]
    assert found.arrays["imaging"].shape == (2, 9)
    assert "features" not in found.arrays  # nine pictures are too few for the extractor
    for reading, blocks in (("chunk", 3), ("chunk.centred", 3), ("frame", 3), ("pixels", 3)):
        cosines = found.arrays[f"similarity.{reading}"]
        assert cosines.shape == (2, blocks, 4, 4)
        np.testing.assert_allclose(cosines[..., range(4), range(4)], 1.0, atol=1e-6)
    assert (found.evaluations, found.commits) == (12, 2)
    assert found.timing.clips == 2


def test_larger_clips_are_judged_at_the_worlds_size(pipe, prompts):
    found = measure_arm(pipe, arm(enlarge=2), prompts, batch=1, extractor=EXTRACTOR)
    assert found.shown[0].shape == (9, 128, 128, 3)
    assert len(found.rows) == 2


def test_controls_are_ordered_as_they_must_be(pipe, prompts):
    facts = {}
    for name in CONTROLS:
        found = measure_control(name, prompts, pipe.vae, 16.0, extractor=EXTRACTOR)
        facts[name] = np.mean([row["facts_true"] for row in found.rows])
    assert facts["truth"] > facts["noise"]
    assert facts["truth"] > facts["shuffled"]
    assert facts["truth"] >= facts["frozen"]


def test_the_floor_is_of_other_clips_than_the_truth_it_stands_beside():
    prompts = Prompts.sample(World(), count=2)
    found = measure_control("truth", prompts, None, 16.0, extractor=EXTRACTOR)
    mine, others = found.arrays["features"], found.arrays["features.others"]
    assert mine.shape == others.shape == (2, EXTRACTOR.dim)
    further = Prompts.sample(World(), count=4)
    assert len({*further.captions}) == 4
    clips = np.stack([EXTRACTOR.takes.fit(Clip(further.true_clip(index), 16.0)) for index in range(4)])
    np.testing.assert_allclose(np.concatenate([mine, others]), EXTRACTOR.extract(clips), rtol=1e-4, atol=1e-4)


def test_what_was_measured_names_its_extractor_and_every_metric_with_its_version():
    metrics = clip_metrics()
    name = measures_of(EXTRACTOR, metrics)
    assert EXTRACTOR.id in name
    assert name == measures_of(EXTRACTOR)
    assert measures_of(random_features(1)) != name
    newer = {**metrics, "drift": replace(metrics["drift"], version=metrics["drift"].version + 1)}
    assert measures_of(EXTRACTOR, newer) != name


def test_a_clip_scores_the_same_alone_and_beside_the_other_metrics():
    """Flow, noise and sharpness are found once for all that rest on them."""
    prompts = Prompts.sample(World(), count=2)
    found = measure_control("truth", prompts, None, 16.0, extractor=EXTRACTOR)
    for row, scene in zip(found.rows, prompts.scenes, strict=True):
        frames = render(scene, prompts.world, prompts.world.frames)
        alone = row_of(score_clip(frames, scene, prompts.world))
        assert {name: row[name] for name in alone if name != "missed"} == pytest.approx(
            {name: alone[name] for name in alone if name != "missed"}, nan_ok=True
        )
        for name, value in row["metrics"].items():
            metric = clip_metrics()[name]
            own = metric.measure(Clip(frames, 16.0, row["caption"]))
            assert value == pytest.approx(own, nan_ok=True), name
