"""Validity gates: truth scores near 100, controls where theory puts them, and every damage lowers its own dimension."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fewstep.evaluation import quality
from fewstep.evaluation.semantics import SEMANTIC, judge, semantic_scores
from fewstep.evaluation.shapebench import (
    DIMENSIONS,
    QUALITY_WEIGHTS,
    ClipScores,
    Normalisation,
    ShapeScores,
    fit_normalisation,
    frozen_normalisation,
    score,
    score_verdict,
)
from fewstep.metrics.base import Clip
from fewstep.metrics.drift import drift
from fewstep.metrics.flow import flow_pairs
from fewstep.metrics.temporal import motion_smoothness
from fewstep.shapes.dataset import ShapeWorld
from fewstep.shapes.recognise import recognise
from fewstep.shapes.render import render
from fewstep.video import read_video, write_video

SEED = 8101
"""Not the seed of the frozen limits."""
CLIPS, FEW = 56, 12


@pytest.fixture(scope="module")
def clips():
    return [ShapeWorld(SEED).clip(index) for index in range(CLIPS)]


@pytest.fixture(scope="module")
def scenes(clips):
    return [scene for *_, scene in clips]


@pytest.fixture(scope="module")
def verdicts(clips):
    return [recognise(frames) for frames, *_ in clips]


@pytest.fixture(scope="module")
def truth(clips, verdicts, scenes) -> ShapeScores:
    rows = [
        score_verdict(v, Clip(frames, 16), scene)
        for v, (frames, *_), scene in zip(verdicts, clips, scenes, strict=True)
    ]
    return ShapeScores(tuple(rows), frozen_normalisation())


@pytest.fixture(scope="module")
def noise(scenes) -> ShapeScores:
    rng = np.random.default_rng(SEED)
    videos = (rng.integers(0, 256, (33, 64, 64, 3)).astype(np.uint8) for _ in range(FEW))
    return score(videos, scenes[:FEW])


def blur(frames: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]) if sigma else frames


def test_ground_truth_scores_near_100_on_everything(truth):
    assert {name: truth.dimensions[name] for name in SEMANTIC if truth.dimensions[name] < 99} == {}
    assert truth.semantic > 99
    assert truth.total >= 98
    assert truth.recognition_rate > 99
    assert truth.dynamic_tracked == pytest.approx(100 * np.mean([np.isfinite(v) for v in truth.raw[:, 4]]))


def test_tracking_and_flow_agree_on_what_moves(clips, truth):
    moving = np.array([scene.moving for *_, scene in clips])
    flow = np.array([row.moves_flow for row in truth.rows])
    assert flow[moving].mean() > 0.9
    assert flow[~moving].mean() < 0.15


def test_captions_of_other_clips_score_at_chance(verdicts, scenes):
    """Captions rotated within each number of objects: chance for a colour is n / 6, for its shape then 1 / 5."""
    hits, tries, expected = 0.0, 0, 0.0
    for number in (1, 2, 3):
        group = [i for i, scene in enumerate(scenes) if len(scene.objects) == number]
        for shift in range(1, len(group)):
            for i, j in zip(group, group[shift:] + group[:shift], strict=True):
                hits += semantic_scores(verdicts[i], scenes[j])["color"] * number
                tries += number
                expected += number * (number / 6) / 5
        # Objects of one clip serve in many pairs: the effective number of tries is about that of the objects.
    objects = sum(len(scene.objects) for scene in scenes)
    rate = expected / tries
    assert abs(hits / tries - rate) < 2.58 * np.sqrt(rate * (1 - rate) / objects)


INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def says_shape(shown, said):
    return shown.objects[0].shape == said.objects[0].shape


def says_motion(shown, said):
    """A motion counts where it is that of the object of the stated colour."""
    return all(getattr(shown.objects[0], name) == getattr(said.objects[0], name) for name in ("colour", "motion"))


def says_relation(shown, said):
    colours, stated = ([obj.colour for obj in scene.objects] for scene in (shown, said))
    return set(colours) == set(stated) and said.relation == (
        shown.relation if colours == stated else INVERSE[shown.relation]
    )


@pytest.mark.parametrize(
    ("name", "number", "says", "chance"),
    [
        ("object_class", 1, says_shape, 1 / 5),
        ("human_action", 1, says_motion, None),
        ("spatial_relationship", 2, says_relation, 1 / 60),  # one pair of 15, and one sign of four
    ],
)
def test_a_caption_of_another_clip_scores_where_it_happens_to_be_true(verdicts, scenes, name, number, says, chance):
    group = [i for i, scene in enumerate(scenes) if len(scene.objects) == number]
    pairs = [(i, j) for i in group for j in group if i != j]
    found = np.mean([semantic_scores(verdicts[i], scenes[j])[name] for i, j in pairs])
    true = np.mean([says(scenes[i], scenes[j]) for i, j in pairs])
    assert found == pytest.approx(true, abs=0.01)
    if chance is not None:
        assert abs(found - chance) < 2.58 * np.sqrt(chance * (1 - chance) / len(group))


def test_relations_need_both_objects_and_the_sign(verdicts, scenes):
    pairs = [i for i, scene in enumerate(scenes) if len(scene.objects) == 2]
    for i in pairs:
        wrong = replace(scenes[i], relation=INVERSE[scenes[i].relation])
        assert semantic_scores(verdicts[i], wrong)["spatial_relationship"] == 0
        assert semantic_scores(verdicts[i], scenes[i])["spatial_relationship"] == 1


def test_frozen_clips_lose_motion_and_only_motion(clips, truth):
    chosen = clips[:24]
    frozen = score((np.repeat(frames[:1], 33, axis=0) for frames, *_ in chosen), [scene for *_, scene in chosen])
    assert frozen.dynamic_tracked == frozen.dynamic_flow == 0
    assert frozen.quality <= 91
    still = np.mean([np.mean([obj.motion == "static" for obj in scene.objects]) for *_, scene in chosen])
    assert frozen.dimensions["human_action"] == pytest.approx(100 * still)
    assert frozen.dimensions["color"] > 99
    assert frozen.total < truth.total - 5


def test_pure_noise_scores_nothing(noise):
    assert np.nanmean([noise.dimensions[name] for name in SEMANTIC]) <= 1
    above = {name: noise.dimensions[name] for name in SEMANTIC if noise.dimensions[name] > 1}
    assert above.keys() == {"appearance_style", "overall_consistency"}, "a fill, or a camera at rest, is met by chance"
    assert max(above.values()) < 5
    assert noise.dimensions["imaging_quality"] <= 5
    assert noise.dynamic_flow == noise.dynamic_tracked == 0
    assert max(noise.normalised[name] for name in DIMENSIONS if np.isfinite(noise.normalised[name])) < 5


@pytest.mark.parametrize(
    ("damage", "levels"),
    [
        (blur, (0, 0.6, 1.0, 1.5, 2.0)),
        (
            lambda f, s: np.clip(f + np.random.default_rng(1).normal(0, s, f.shape), 0, 255).astype(np.uint8),
            (0, 4, 8, 16, 32),
        ),
        (lambda f, s: cv2.addWeighted(f, 1 - s, np.full_like(f, 140), s, 0), (0, 0.6, 0.8, 0.95)),
    ],
    ids=["blur", "noise", "fade"],
)
def test_imaging_quality_falls_with_damage(clips, damage, levels):
    means = [
        np.mean([quality.imaging(Clip(damage(f[::8], level), 2)).mean() for f, *_ in clips[:FEW]]) for level in levels
    ]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.35 * means[0]


def test_smoothness_falls_with_jitter_and_shuffling(clips):
    rng = np.random.default_rng(2)

    def smoothness(change) -> float:
        changed = [change(frames) for frames, *_ in clips[:8]]
        return float(np.mean([motion_smoothness(f, flow_pairs(f, quality.FLOW_STRIDE)) for f in changed]))

    def jitter(reach: int):
        return lambda f: np.stack([np.roll(x, tuple(rng.integers(-reach, reach + 1, 2)), (0, 1)) for x in f])

    values = [smoothness(jitter(reach)) for reach in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert smoothness(lambda f: f[rng.permutation(len(f))]) < values[0] - 0.02


def test_drift_grows_with_a_blur_ramp():
    frames = np.concatenate([ShapeWorld(SEED, "long").clip(0)[0][:128]])
    ramps = [np.stack([blur(f[None], s * t / 127 + 1e-3)[0] for t, f in enumerate(frames)]) for s in (0.0, 0.7, 1.5)]
    found = [drift(quality.imaging(Clip(ramp, 16)), 32) for ramp in ramps]
    assert found[0].score < found[1].score < found[2].score
    assert found[0].slope > found[1].slope > found[2].slope


def test_a_change_of_colour_midway_lowers_subject_consistency(clips, truth):
    frames, _, scene = clips[0]
    other = next(c for c in ("red", "green", "blue", "yellow") if c not in {obj.colour for obj in scene.objects})
    swapped = replace(scene, objects=(replace(scene.objects[0], colour=other), *scene.objects[1:]))
    mixed = np.concatenate([frames[:16], render(swapped)[16:]])
    assert quality.subject_consistency(recognise(mixed)) < 0.8 < truth.rows[0].raw["subject_consistency"]


def test_scores_survive_the_codec(clips, truth, tmp_path):
    """H.264 with halved chroma as the package writes it, enlarged, or it would blur colours at 64 x 64."""
    chosen, worn = range(16), []
    for i in chosen:
        write_video(tmp_path / "clip.mp4", clips[i][0], 16, enlarge=4)
        large = read_video(tmp_path / "clip.mp4").frames
        worn.append(np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in large]))
    before, after = truth.select(chosen), score(worn, [clips[i][2] for i in chosen])
    assert abs(after.total - before.total) < 1
    for name in SEMANTIC:
        assert after.dimensions[name] == pytest.approx(before.dimensions[name], abs=1, nan_ok=True)


def test_totals_follow_vbenchs_formula_by_hand():
    unit = Normalisation(version=0, low=dict.fromkeys(DIMENSIONS, 0.0), high=dict.fromkeys(DIMENSIONS, 1.0))
    raw = dict.fromkeys(DIMENSIONS, 1.0) | {"dynamic_degree": 0.0, "scene": 0.1}
    row = ClipScores(
        scene="", raw=raw, atoms=(), moves_tracked=False, moves_flow=False, recognised=1.0, imaging=np.ones(33)
    )
    scores = ShapeScores((row,), unit)
    assert sum(QUALITY_WEIGHTS.values()) == 5.5
    assert scores.quality == pytest.approx(100 * 5 / 5.5)
    assert scores.semantic == pytest.approx(100 * 8.1 / 9)
    assert scores.total == pytest.approx((4 * 5 / 5.5 + 8.1 / 9) / 5 * 100)


def test_a_total_without_all_dimensions_is_refused(truth, scenes):
    alone = next(i for i, scene in enumerate(scenes) if len(scene.objects) == 1)
    with pytest.raises(ValueError, match=r"no clip's caption asks for .*spatial_relationship"):
        _ = truth.select([alone]).semantic


def test_clips_and_scenes_must_match(clips):
    with pytest.raises(ValueError, match="each scene needs its clip"):
        score([clips[0][0]], [clips[0][2], clips[1][2]])
    with pytest.raises(ValueError, match="each clip needs its scene"):
        score([clips[0][0]] * 2, [clips[0][2]])


def test_intervals_contain_the_estimate_and_shrink_with_clips(truth):
    def imaging(scores: ShapeScores) -> float:
        return scores.dimensions["imaging_quality"]

    low, high = truth.interval(imaging, draws=200)
    few_low, few_high = truth.select(range(8)).interval(imaging, draws=200)
    assert low < imaging(truth) < high
    assert high - low < few_high - few_low


def test_the_frozen_limits_are_those_of_truth_and_noise(truth, noise):
    """Refitted on other seeds, fewer clips: within what the sampling of scenes explains."""
    fitted, frozen = fit_normalisation(truth, noise, version=1), frozen_normalisation()
    for name in DIMENSIONS:
        assert fitted.low[name] == pytest.approx(frozen.low[name], abs=0.01)
        assert fitted.high[name] == pytest.approx(frozen.high[name], abs=0.015)


def test_judging_lists_every_stated_fact_and_finds_it(clips):
    frames, _, scene = clips[0]
    facts = judge(frames, scene)
    assert all(true for _, true in facts)
    blank = judge(np.full_like(frames, 140), scene)
    assert [label for label, _ in blank] == [label for label, _ in facts]
    assert not any(true for label, true in blank if "background" not in label and "camera" not in label)
