from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fewstep.metrics.base import Clip
from fewstep.metrics.extractors import I3DFeatures, open_extractor, random_features, trained_features
from fewstep.metrics.features import FeatureError, InputFormat, extract
from fewstep.metrics.frechet import frechet_distance

SMALL = InputFormat(frames=4, size=32)


def clips(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 32, 32, 3)).astype(np.uint8)


def test_random_features_are_the_same_for_the_same_seed_and_others_for_another():
    one, again, other = random_features(0, SMALL), random_features(0, SMALL), random_features(1, SMALL)
    assert one.id == again.id != other.id
    assert np.array_equal(one.extract(clips(0)), again.extract(clips(0)))
    assert not np.allclose(one.extract(clips(0)), other.extract(clips(0)))


def test_an_id_names_the_preparation_too():
    assert random_features(0, SMALL).id != random_features(0, InputFormat(frames=5, size=32)).id


def test_a_clips_features_do_not_depend_on_its_neighbours():
    features, batch = random_features(0, SMALL), clips(0)
    alone = np.concatenate([features.extract(batch[i : i + 1]) for i in range(3)])
    assert np.allclose(features.extract(batch), alone, atol=1e-5)


def bars(positions: np.ndarray, pace: int) -> np.ndarray:
    """Clips of a white bar that starts at each position and moves by `pace` pixels a frame."""
    made = np.zeros((len(positions), 4, 32, 32, 3), np.uint8)
    for clip, start in zip(made, positions, strict=True):
        for i, frame in enumerate(clip):
            frame[:, (start + pace * i + np.arange(8)) % 32] = 255
    return made


def test_random_features_tell_still_from_moving_and_white_from_black():
    features = random_features(0, SMALL, dim=8)
    starts = np.random.default_rng(0).integers(0, 32, 32)
    halves = starts[:16], starts[16:]
    one, other = (features.extract(bars(half, 0)) for half in halves)
    moving = features.extract(bars(halves[1], 8))
    floor = frechet_distance(one, other)
    assert frechet_distance(one, moving) > 2 * floor
    assert frechet_distance(one, features.extract(255 - bars(starts[16:], 0))) > 2 * floor


class Detector(nn.Module):
    """Takes what StyleGAN-V's I3D takes."""

    def forward(self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = True):
        assert rescale
        assert resize
        assert return_features
        assert x.size(1) == 3
        level = x.mean((1, 2, 3, 4)) / 255
        return level[:, None].repeat(1, 400)


def test_i3d_is_read_from_the_users_file_and_named_by_its_hash(tmp_path):
    path = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(Detector()).save(str(path))
    features = open_extractor(f"i3d:{path}")
    white = Clip(np.full((16, 20, 30, 3), 255, np.uint8), 24)
    found = extract(features, [white])
    assert found.values.shape == (1, 400)
    assert np.allclose(found.values, 1)
    assert features.id == I3DFeatures(path).id
    assert features.id.startswith("i3d-")
    assert len(features.id) == len("i3d-") + 12


def test_a_file_that_is_not_i3d_is_refused(tmp_path):
    path = tmp_path / "i3d.pt"
    path.write_bytes(b"nothing")
    for missing in (path, tmp_path / "none.pt"):
        with pytest.raises(FeatureError, match=r"needs i3d_torchscript\.pt as published"):
            open_extractor(f"i3d:{missing}")


@pytest.mark.parametrize("words", ["i3d", "i3d:", "random:x", "shapes:3", "dino"])
def test_a_name_that_is_no_extractor_is_refused(words):
    with pytest.raises(FeatureError, match="an extractor is called shapes, random"):
        open_extractor(words)


def test_the_trained_extractor_comes_with_the_package():
    features = trained_features()
    assert features.dim == 64
    assert features.id == open_extractor("shapes").id
    assert features.id.startswith("shapes-")


def test_a_missing_trained_extractor_says_what_to_do(tmp_path):
    with pytest.raises(FeatureError, match="train it again"):
        trained_features(tmp_path / "model.safetensors")
