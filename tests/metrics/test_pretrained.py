from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, ViTConfig, ViTImageProcessor, ViTModel

from fewstep.metrics.pretrained import PretrainedFrames
from fewstep.metrics.registry import clip_metrics

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_dino_gives_its_class_token(dino, clips):
    extractor = PretrainedFrames(dino)
    frames = clips[0].frames
    found = extractor(frames)
    assert found.shape == (len(frames), 16)
    inputs = extractor.processor(images=[frames[3]], return_tensors="pt")
    expected = extractor.network(**inputs).last_hidden_state[0, 0].numpy()
    assert found[3] == pytest.approx(expected, abs=1e-5)


def test_clip_gives_its_image_projection(tmp_path, clips):
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=SMALL, vision_config=SMALL | {"image_size": 32, "patch_size": 16}, projection_dim=12
    )
    CLIPModel(config).save_pretrained(tmp_path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    extractor = PretrainedFrames(tmp_path)
    assert extractor(clips[0].frames[:3]).shape == (3, 12)
    assert extractor.id.startswith("clip:")


def test_the_id_follows_the_weights(dino, tmp_path):
    torch.manual_seed(1)
    ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8), add_pooling_layer=False).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert PretrainedFrames(dino).id == PretrainedFrames(dino).id != PretrainedFrames(tmp_path).id


def test_metrics_rest_on_the_features_they_are_given(dino, clips):
    extractor = PretrainedFrames(dino)
    metrics = clip_metrics(subject=extractor, background=extractor)
    metric = metrics["subject_consistency"]
    assert metric.extractor == extractor.id
    frozen = type(clips[0])(np.repeat(clips[0].frames[:1], 3, axis=0), 16.0)
    assert metric.measure(frozen) == pytest.approx(1)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is no image model.*preprocessor_config\.json"):
        PretrainedFrames(tmp_path)
