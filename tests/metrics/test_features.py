from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.base import Clip
from fewstep.metrics.features import FeatureCache, FeatureError, FeatureSet, InputFormat, clip_hash, extract
from fewstep.metrics.sets import compare_sets, set_metrics


def noise(seed: int, frames: int = 8, fps: float = 8, size: int = 6) -> Clip:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3))
    return Clip(pixels.astype(np.uint8), fps)


class Colours:
    """Mean colour of each frame; counts the clips that it was shown."""

    id, dim, takes = "colours-0", 12, InputFormat(frames=4)

    def __init__(self):
        self.shown = 0

    def extract(self, clips):
        self.shown += len(clips)
        return clips.mean((2, 3)).reshape(len(clips), -1).astype(np.float32)


def test_pictures_are_taken_at_the_rate_that_features_want():
    frames = np.arange(33, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    taken = InputFormat(frames=16, fps=8).fit(Clip(frames, 16))
    assert taken[:, 0, 0, 0].tolist() == list(range(0, 32, 2))
    assert InputFormat(frames=5, fps=10).fit(Clip(frames, 15))[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 6]
    assert InputFormat(frames=3).fit(Clip(frames, 16))[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_pictures_are_resized_to_the_square_that_features_want():
    clip = Clip(np.full((2, 10, 20, 3), 77, np.uint8), 8)
    assert InputFormat(frames=2, size=5).fit(clip).shape == (2, 5, 5, 3)
    assert (InputFormat(frames=2, size=40).fit(clip) == 77).all()


def test_clips_that_are_too_short_or_too_slow_are_refused():
    with pytest.raises(FeatureError, match="need a clip of 31 frames at 16 fps, got 30"):
        InputFormat(frames=16, fps=8).fit(noise(0, frames=30, fps=16))
    with pytest.raises(FeatureError, match="need a clip of that rate or more, got 4 fps"):
        InputFormat(frames=2, fps=8).fit(noise(0, fps=4))


def test_features_come_in_the_order_of_the_clips_whatever_their_sizes():
    clips = [noise(i, size=6 if i % 3 else 7) for i in range(40)]
    found = extract(Colours(), clips)
    alone = np.concatenate([extract(Colours(), [clip]).values for clip in clips])
    assert np.array_equal(found.values, alone)


def test_progress_counts_every_clip_once(tmp_path):
    clips, heard = [noise(i) for i in range(20)], []
    extract(Colours(), clips[:5], FeatureCache(tmp_path))
    extract(Colours(), clips, FeatureCache(tmp_path), advance=heard.append)
    assert sum(heard) == 20


def test_a_known_clip_is_read_from_the_cache_and_another_extractor_does_not_read_it(tmp_path):
    clips, cache, extractor = [noise(i) for i in range(3)], FeatureCache(tmp_path), Colours()
    first = extract(extractor, clips, cache)
    again = extract(extractor, clips, cache)
    assert extractor.shown == 3
    assert np.array_equal(first.values, again.values)
    other = Colours()
    other.id = "colours-1"
    extract(other, clips, cache)
    assert other.shown == 3


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path):
    cache, extractor, clip = FeatureCache(tmp_path), Colours(), noise(0)
    first = extract(extractor, [clip], cache)
    cache.path(extractor.id, clip_hash(clip)).write_bytes(b"\x93NUMPY")
    assert np.array_equal(extract(extractor, [clip], cache).values, first.values)
    assert extractor.shown == 2


def test_a_hash_names_pixels_size_and_rate():
    clip = noise(0)
    assert clip_hash(clip) == clip_hash(Clip(clip.frames.copy(), 8, prompt="another"))
    turned = Clip(clip.frames.reshape(8, 4, 9, 3), 8)
    assert len({clip_hash(clip), clip_hash(noise(1)), clip_hash(Clip(clip.frames, 16)), clip_hash(turned)}) == 4


def test_features_of_two_extractors_are_never_compared():
    values = np.random.default_rng(0).normal(size=(20, 3))
    one, other = FeatureSet("i3d-1", values), FeatureSet("i3d-2", values)
    for metric in set_metrics().values():
        with pytest.raises(FeatureError, match="one extractor can be compared, got 'i3d-1' and 'i3d-2'"):
            compare_sets(metric, one, other)


def test_fewer_clips_than_a_metric_needs_are_refused():
    few, many = (FeatureSet("i3d-1", np.random.default_rng(0).normal(size=(n, 3))) for n in (50, 200))
    with pytest.raises(FeatureError, match="fvd_infinity needs 96 clips or more on both sides, got 50"):
        compare_sets(set_metrics()["fvd_infinity"], few, many)


def test_every_metric_of_sets_grows_with_the_distance():
    rng = np.random.default_rng(0)
    one = FeatureSet("x", rng.normal(size=(120, 4)))
    for metric in set_metrics().values():
        near, far = (compare_sets(metric, one, FeatureSet("x", rng.normal(size=(120, 4)) + s)) for s in (0.2, 2.0))
        assert near.low < near.value < near.high < far.low < far.value < far.high
        assert far.samples == 120


def test_features_that_are_no_numbers_are_refused():
    extractor = Colours()
    extractor.extract = lambda clips: np.full((len(clips), 12), np.nan)
    with pytest.raises(FeatureError, match="not all numbers"):
        extract(extractor, [noise(0)])
