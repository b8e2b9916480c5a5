from __future__ import annotations

import numpy as np
import pytest

from fewstep.metrics.imaging import noise_level, sharp_share, sharpness


def test_a_step_within_one_pixel_is_perfectly_sharp_and_one_over_four_is_not():
    hard, soft = (np.zeros((1, 32, 32, 3), np.uint8) for _ in range(2))
    hard[:, :, 16:] = 200
    soft[:, :, 14:] = 50
    for i, value in enumerate((100, 150, 200)):
        soft[:, :, 15 + i :] = value
    assert sharpness(hard) == pytest.approx([1.0])
    assert 0.25 <= sharpness(soft)[0] < 0.4
    assert sharp_share(hard) == pytest.approx([1.0])


def test_a_flat_picture_has_no_sharp_edge_and_no_noise():
    flat = np.full((1, 16, 16, 3), 90, np.uint8)
    assert sharpness(flat) == noise_level(flat) == 0


@pytest.mark.parametrize("sigma", [4, 12])
def test_the_noise_level_is_the_noises_deviation_whatever_the_picture_shows(sigma):
    picture = np.full((1, 96, 96, 3), 128.0)
    picture[:, 30:60, 20:70] = 40
    noise = np.random.default_rng(0).normal(0, sigma, picture.shape)
    noisy = np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)
    assert noise_level(noisy) == pytest.approx([sigma], abs=0.5)  # levels are whole
    assert noise_level(picture.astype(np.uint8)) == 0
