from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.consistency import consistency, faithfulness, faithfulness_of
from fewstep.metrics.frame_features import Appearance


def test_consistency_by_hand():
    """Cosines with the frame before: 0.6 and 0; with the first: 0.6 and -0.8, which counts as 0."""
    features = np.array([[1.0, 0.0], [1.2, 1.6], [-0.8, 0.6]])
    assert consistency(features) == pytest.approx((0.6 + 0.0 + 0.6 + 0.0) / 4)


def test_consistency_does_not_depend_on_the_lengths_of_vectors():
    features = np.abs(np.random.default_rng(0).normal(size=(6, 5)))
    assert consistency(features * np.arange(1, 7)[:, None]) == pytest.approx(consistency(features))


def test_a_frame_without_features_is_like_no_other():
    assert consistency(np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])) == pytest.approx(0.25)


def test_faithfulness_by_hand():
    """Best likeness 0.8, steps 0.6 and 1: 0.4 * 0.8 + 0.3 * 0.8 + 0.3 * 0.6."""
    clip = np.array([[0.8, 0.6], [0.0, 1.0], [0.0, 2.0]])
    assert faithfulness(np.array([3.0, 0.0]), clip) == pytest.approx(0.32 + 0.24 + 0.18)


def test_repeating_the_picture_is_faithful_and_another_picture_is_not(clips):
    clip, other = clips[0], clips[1]
    same = faithfulness_of(clip, Appearance())
    swapped = type(clip)(clip.frames, clip.fps, begins_with=other.frames[0])
    assert faithfulness_of(swapped, Appearance()) < same - 0.1
