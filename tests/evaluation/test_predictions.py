from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fewstep.diffusion.steps import shifted_levels
from fewstep.evaluation.predictions import VIEWS, decode_steps, record_steps, similarity_views
from fewstep.models.checkpoint_dir import Passport
from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.text import TextEncoder, build_tokenizer
from fewstep.models.vae import VideoVAE
from fewstep.pipeline import Pipeline

PROMPTS = ["a red ball", "a blue square", "a red square"]
SIZE = {"latent_frames": 3, "height": 32, "width": 16}


def pipeline(**passport) -> Pipeline:
    torch.manual_seed(0)
    net = VideoDiT(DiTConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=2, text_dim=32, text_len=64, freq_dim=32))
    nn.init.normal_(net.head.head.weight, std=0.1)
    text = TextEncoder.from_preset("tiny", build_tokenizer(PROMPTS * 2, text_len=64))
    text.model.config.truncate_prompts = False
    return Pipeline(net, VideoVAE.from_preset("tiny"), text, Passport(name="toy", **SIZE, **passport))


@pytest.fixture(scope="module")
def student() -> Pipeline:
    return pipeline(kind="student", levels=shifted_levels(), layout=ChunkLayout(1))


def test_every_step_of_every_chunk_of_every_clip_is_kept(student):
    chunks = record_steps(student, PROMPTS, "4", batch=2)
    assert [chunk.shape for chunk in chunks] == [(3, 4, 1, 16, 4, 2)] * 3
    starred = record_steps(student, PROMPTS, "1*", batch=2)
    assert [chunk.shape[1] for chunk in starred] == [4, 1, 1]


def test_the_last_predictions_decode_to_the_clip_itself(student):
    made = student.generate(PROMPTS[:2], steps=4, seed=5).frames
    pictures = decode_steps(student.vae, record_steps(student, PROMPTS[:2], "4", seed=5))
    assert [chunk.shape[2] for chunk in pictures] == [1, 4, 4]
    last = np.concatenate([chunk[:, -1] for chunk in pictures], axis=1)
    # recorded latents are fp16
    assert np.abs(last.astype(int) - made).max() <= 2


def test_every_view_has_matrices_of_every_block(student):
    views = similarity_views(student.vae, record_steps(student, PROMPTS, "4"))
    assert tuple(views) == VIEWS
    for similarity in views.values():
        assert [matrix.shape for matrix in similarity.matrices] == [(4, 4)] * 3
        assert np.isfinite(similarity.first_last).all()
    frames = similarity_views(student.vae, record_steps(student, PROMPTS, "4"), by="frame")
    assert len(frames["latents"].blocks) == 3
    assert len(frames["pictures"].blocks) == 9


def test_students_of_one_seed_start_from_the_same_noise(student):
    one, other = (record_steps(student, PROMPTS, plan, seed=3)[0][:, 0] for plan in ("4", "2"))
    assert np.array_equal(one, other)


def test_a_teacher_has_no_steps_of_chunks():
    with pytest.raises(ValueError, match="'toy' is a teacher: name a student"):
        record_steps(pipeline(kind="teacher"), PROMPTS, "4")
