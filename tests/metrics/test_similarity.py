from __future__ import annotations

import numpy as np
import pytest
import torch

from fewstep.metrics.similarity import StepRecorder, StepSimilarity, step_similarity


def predictions(*clips: list[list[float]]) -> np.ndarray:
    """One chunk of one frame: `clips[clip][step]` is a vector."""
    return np.array(clips, np.float32)[:, :, None]


def walk(seed: int, clips: int, noise: tuple[float, ...], steps: int = 4) -> list[np.ndarray]:
    """Chunks whose steps depart from each other by a noise of their own."""
    rng = np.random.default_rng(seed)
    found = []
    for level in noise:
        base = rng.normal(size=(clips, 1, 2, 30))
        found.append(base + level * rng.normal(size=(clips, steps, 2, 30)))
    return found


def test_a_cosine_by_hand():
    chunk = predictions([[1, 0], [1, 1]], [[2, 0], [0, 3]])
    found = step_similarity([chunk])
    assert found.blocks[0][:, 0, 1] == pytest.approx([np.sqrt(0.5), 0])
    assert found.matrices[0] == pytest.approx(np.array([[1, np.sqrt(0.5) / 2], [np.sqrt(0.5) / 2, 1]]))


def test_centring_takes_away_what_all_clips_share():
    chunk = predictions([[101, 0], [101, 0]], [[99, 0], [99, 0]])
    assert step_similarity([chunk]).blocks[0] == pytest.approx(np.ones((2, 2, 2)))
    opposite = predictions([[101, 0], [99, 0]], [[99, 0], [101, 0]])
    assert step_similarity([opposite]).first_last == pytest.approx(np.ones((2, 1)), abs=1e-3)
    assert step_similarity([opposite], centred=True).first_last == pytest.approx(-np.ones((2, 1)))


def test_scale_changes_no_cosine_and_matrices_are_symmetric_with_ones():
    chunks = walk(0, 5, (0.5, 0.2))
    one, other = step_similarity(chunks), step_similarity([7 * chunk for chunk in chunks])
    for mine, theirs in zip(one.blocks, other.blocks, strict=True):
        assert mine == pytest.approx(theirs)
        assert mine == pytest.approx(mine.swapaxes(1, 2))
        assert np.diagonal(mine, axis1=1, axis2=2) == pytest.approx(1)


def test_frames_are_blocks_of_their_own_when_asked():
    chunks = walk(0, 4, (0.5, 0.2))
    frames = step_similarity(chunks, by="frame")
    assert len(frames.blocks) == 4
    assert frames.blocks[1] == pytest.approx(step_similarity([chunks[0][:, :, 1:]]).blocks[0])


def test_scalars_are_of_each_clip_and_nothing_where_there_is_one_step():
    cosines = np.array([[[1, 0.5, 0.2], [0.5, 1, 0.8], [0.2, 0.8, 1]]])
    found = StepSimilarity((cosines, np.ones((1, 1, 1))))
    assert found.first_last[0, 0] == 0.2
    assert found.off_diagonal[0, 0] == pytest.approx(0.5)
    assert np.isnan([found.first_last[0, 1], found.off_diagonal[0, 1]]).all()


def test_a_recorder_keeps_batches_in_order_and_chunks_apart():
    recorder = StepRecorder()
    for batch in range(2):
        for chunk, (steps, frames) in enumerate(((2, 1), (1, 3))):
            for step in range(steps):
                recorder(chunk, step, torch.full((2, frames, 4, 5, 5), 100.0 * batch + 10 * chunk + step))
    first, second = recorder.chunks()
    assert first.shape == (4, 2, 1, 4, 5, 5)
    assert second.shape == (4, 1, 3, 4, 5, 5)
    assert first[:, :, 0, 0, 0, 0].tolist() == [[0, 1], [0, 1], [100, 101], [100, 101]]
    assert second[:, 0, 0, 0, 0, 0].tolist() == [10, 10, 110, 110]


def test_what_gives_no_matrix_is_refused():
    with pytest.raises(ValueError, match="no step was recorded"):
        StepRecorder().chunks()
    recorder = StepRecorder()
    recorder(0, 0, torch.zeros(2, 1, 1, 1, 1))
    recorder(0, 1, torch.zeros(1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match="let each rollout finish"):
        recorder.chunks()
    with pytest.raises(ValueError, match="record more"):
        step_similarity([predictions([[1, 2], [1, 2]])], centred=True)
