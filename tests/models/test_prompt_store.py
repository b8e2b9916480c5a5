"""Prompts encoded once: exact rows, found by what they say, checked when read, completed after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fewstep.models.prompt_store import LABEL, PromptStore, StoreError, build_store, fingerprint_of, trimmed
from fewstep.models.text import PromptError, TextEncoder, build_tokenizer, clean

CAPTIONS = ["a small red circle moves left", "a large blue star stays still", "the camera pans left"] * 3
PROMPTS = ["a red circle", "a large blue star stays still", "", "the camera pans"]


def make_encoder(seed: int = 0) -> TextEncoder:
    torch.manual_seed(seed)
    encoder = TextEncoder.from_preset("tiny", build_tokenizer(CAPTIONS, text_len=12)).eval().requires_grad_(False)
    encoder.truncate = False
    return encoder


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return make_encoder()


def never() -> TextEncoder:
    raise AssertionError("the text encoder was loaded")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.safetensors"))


def test_rows_are_the_encoders_own_bit_for_bit_and_trimmed(encoder, tmp_path):
    store = build_store(tmp_path, PROMPTS, lambda: encoder)
    assert len(store) == 4
    assert store.read("a red circle").shape == (4, 32)  # three words and the end
    for prompt in filter(None, PROMPTS):
        assert torch.equal(store.padded(prompt), encoder.encode([prompt])[0])
    assert torch.equal(store.padded(""), encoder.null()[0])


def test_prompts_are_found_by_what_they_are_once_cleaned(encoder, tmp_path):
    store = build_store(tmp_path, ["a  red\ncircle ", "a &amp;amp; b"], lambda: encoder)
    assert "a red circle" in store
    assert "a & b" in store
    assert store.missing(["a red circle", " a red   circle", "a star", "a  star"]) == ["a star"]
    # cleaning is not idempotent: what is encoded is the prompt as it was given
    thrice = "a <b> &amp;amp;amp;"
    assert clean(clean(thrice)) != clean(thrice)
    store = build_store(tmp_path, [thrice], lambda: encoder, truncate=True)
    assert torch.equal(store.padded(thrice), encoder.encode([thrice], truncate=True)[0])
    assert clean(thrice) not in store


def test_a_whole_store_needs_no_encoder_and_more_prompts_only_what_is_missing(encoder, tmp_path):
    build_store(tmp_path, PROMPTS[:2], lambda: encoder)
    before = shards(tmp_path)
    build_store(tmp_path, PROMPTS[:2], never)
    store = build_store(tmp_path, PROMPTS, lambda: encoder)
    assert set(before) < set(shards(tmp_path))
    assert store.missing(PROMPTS) == []


def test_an_interrupted_build_goes_on_where_it_stopped(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("fewstep.models.prompt_store.SHARD_SIZE", 2)

    def stop(done: int, total: int) -> None:
        assert total == 4
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(tmp_path, PROMPTS, lambda: encoder, on_progress=stop)
    assert len(PromptStore(tmp_path)) == 2
    seen: list[int] = []
    store = build_store(tmp_path, PROMPTS, lambda: encoder, on_progress=lambda done, total: seen.append(done))
    assert seen == [4]
    assert store.missing(PROMPTS) == []


@pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
def test_a_damaged_shard_is_told_when_read_and_made_again(encoder, tmp_path, harm):
    build_store(tmp_path, PROMPTS, lambda: encoder)
    (path,) = shards(tmp_path)
    whole = path.read_bytes()
    path.write_bytes({"flip": whole[:-1] + bytes([whole[-1] ^ 1]), "cut": whole[:-40], "empty": b""}[harm])
    with pytest.raises(StoreError, match=rf"{path.name} is damaged"):
        [PromptStore(tmp_path).read(prompt) for prompt in PROMPTS]
    store = build_store(tmp_path, PROMPTS, lambda: encoder)
    assert shards(tmp_path) == [path]
    for prompt in filter(None, PROMPTS):
        assert torch.equal(store.padded(prompt), encoder.encode([prompt])[0])


def test_another_text_encoders_store_is_refused(encoder, tmp_path):
    store = build_store(tmp_path, PROMPTS, lambda: encoder)
    mine, other = (fingerprint_of(each.model.state_dict()) for each in (encoder, make_encoder(1)))
    store.require(mine)
    store.require(None)
    with pytest.raises(StoreError, match=f"made by text encoder {mine}, the model's is {other}"):
        store.require(other)
    with pytest.raises(StoreError, match="made by text encoder"):
        build_store(tmp_path, ["a star"], lambda: make_encoder(1))


def test_the_fingerprint_is_the_same_in_any_number_format(encoder):
    assert fingerprint_of(encoder.model.state_dict()) == fingerprint_of(make_encoder().bfloat16().model.state_dict())
    changed = make_encoder()
    changed.model.encoder.final_layer_norm.weight.data[0] = 0.5
    assert fingerprint_of(changed.model.state_dict()) != fingerprint_of(encoder.model.state_dict())


def test_rows_are_kept_in_the_format_asked_for_and_no_other_is_added(encoder, tmp_path):
    store = build_store(tmp_path, ["a red circle"], lambda: encoder, dtype=torch.bfloat16)
    assert store.read("a red circle").dtype == torch.bfloat16
    assert torch.equal(store.padded("a red circle"), encoder.encode(["a red circle"])[0].bfloat16().float())
    assert build_store(tmp_path, ["a star"], lambda: encoder).read("a star").dtype == torch.bfloat16
    with pytest.raises(StoreError, match="holds bfloat16"):
        build_store(tmp_path, ["a star"], lambda: encoder, dtype=torch.float32)


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_encoded_or_cut(encoder, tmp_path):
    long = "a red circle " * 10
    with pytest.raises(PromptError, match="must fit in 12 tokens"):
        build_store(tmp_path, ["a star", long], lambda: encoder)
    assert not shards(tmp_path)
    store = build_store(tmp_path, ["a star", long], lambda: encoder, truncate=True)
    assert torch.equal(store.padded(long), encoder.encode([long], truncate=True)[0])


def test_a_prompt_that_is_not_there_and_a_folder_that_is_no_store_are_refused(encoder, tmp_path):
    with pytest.raises(StoreError, match="no prompt store"):
        PromptStore(tmp_path)
    store = build_store(tmp_path, PROMPTS, lambda: encoder)
    with pytest.raises(StoreError, match="does not hold 'a fox'"):
        store.read("a fox")
    (tmp_path / LABEL).write_text(json.dumps({"encoder": "x"}))
    with pytest.raises(StoreError, match="cannot be read"):
        PromptStore(tmp_path)


def test_trimming_keeps_zero_rows_inside_and_at_least_one_row():
    rows = torch.tensor([[1.0], [0.0], [2.0], [0.0]])
    assert trimmed(rows).tolist() == [[1.0], [0.0], [2.0]]
    assert len(trimmed(torch.zeros(3, 2))) == 1
