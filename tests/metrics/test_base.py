from __future__ import annotations

import gc
import weakref

import numpy as np

from fewstep.metrics.base import Clip, Estimate, once_per_clip


def test_what_was_found_of_a_clip_is_found_once_and_goes_with_it():
    calls = []

    class Found:
        pass

    @once_per_clip
    def find(clip: Clip, stride: int) -> Found:
        calls.append(stride)
        return Found()

    one, two = (Clip(np.zeros((2, 4, 4, 3), np.uint8), 8.0) for _ in range(2))
    assert find(one, 1) is find(one, 1)
    assert find(one, 1) is not find(two, 1)
    find(one, 2)
    assert calls == [1, 1, 2]
    kept = weakref.ref(find(one, 1))
    del one
    gc.collect()
    assert kept() is None


def test_an_estimate_reads_as_its_interval_and_as_a_dash_where_unknown():
    known, unknown = Estimate(81.26, 80.0, 82.4, 50), Estimate(*[float("nan")] * 3, 0)
    assert (str(known), known.short) == ("81.3 [80.0, 82.4]", "81.3 ±1.2")
    assert str(unknown) == unknown.short == "–"
