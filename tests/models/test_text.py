"""The text encoder: prompts in, embeddings with exact zeros past their end out."""

from __future__ import annotations

import hashlib
import logging

import pytest
import torch
from diffusers.pipelines.wan.pipeline_wan import prompt_clean

from fewstep.models.presets import NEGATIVE_PROMPT
from fewstep.models.text import PromptError, TextEncoder, build_tokenizer, clean
from fewstep.models.weights import WeightsError

CAPTIONS = ["a small red circle moves left", "a large blue star stays still", "the camera pans left"] * 3


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    encoder = TextEncoder.from_preset("tiny", build_tokenizer(CAPTIONS, text_len=12)).eval().requires_grad_(False)
    encoder.truncate = False
    return encoder


def test_rows_past_the_end_are_exactly_zero_and_rows_before_are_not(encoder):
    embeds = encoder.encode(["a red circle", "a large blue star stays still"])
    assert embeds.shape == (2, encoder.text_len, encoder.width) == (2, 12, 32)
    lengths = [(row != 0).any(-1).nonzero().max().item() + 1 for row in embeds]
    assert lengths == [4, 7]  # words and the end token
    assert bool((embeds[0, 4:] == 0).all())


def test_a_prompts_embedding_does_not_depend_on_its_neighbours(encoder):
    alone = encoder.encode(["a red circle"])
    beside = encoder.encode(["a red circle", "the camera pans left"])[:1]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=0)


def test_prompts_that_mean_the_same_bytes_are_the_same(encoder):
    assert clean("  a &amp;amp; b\n\tc ") == "a & b c"
    assert clean("schÃ¶n") == "schön"
    torch.testing.assert_close(encoder.encode(["a  red\ncircle "]), encoder.encode(["a red circle"]))


@pytest.mark.parametrize(
    "text", ["a red circle", "日本語のテスト", "emoji 🦊 and العربية", "tabs don't survive, Ünïcödé does"]
)
def test_every_script_survives_the_tokenizer(text):
    tokenizer = build_tokenizer(CAPTIONS)
    ids = tokenizer(text)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_words_of_the_captions_are_single_tokens():
    tokenizer = build_tokenizer(CAPTIONS)
    assert len(tokenizer("a small red circle moves left")["input_ids"]) == 7


@pytest.mark.parametrize("prompt", ["", "  \n", "&nbsp;"])
def test_an_empty_prompt_is_refused(encoder, prompt):
    with pytest.raises(PromptError, match="must say something"):
        encoder.encode([prompt])


def test_a_prompt_that_is_no_text_is_refused(encoder):
    with pytest.raises(PromptError, match="must be text, got 3"):
        encoder.encode([3])


def test_a_prompt_that_is_too_long_is_refused_or_cut(encoder):
    long = "a red circle " * 10
    with pytest.raises(PromptError, match="must fit in 12 tokens, got 31"):
        encoder.encode([long])
    tokens = encoder.tokenize([long], truncate=True)
    assert tokens.shape == (1, 12)
    assert int(tokens[0, -1]) == encoder.tokenizer.eos_token_id


def test_a_long_prompt_is_one_error_and_no_warning(caplog):
    encoder = TextEncoder.from_preset("tiny")  # a tokenizer warns only once
    encoder.truncate = False
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(PromptError, match="must fit in 8 tokens"):
            encoder.encode(["a red circle " * 10])
        encoder.encode(["a red circle " * 10], truncate=True)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.messages


def test_null_is_the_embedding_of_no_text_or_of_the_negative_prompt(encoder):
    null = encoder.null()
    assert null.shape == (1, 12, 32)
    assert bool(null[:, 0].any())
    assert not bool(null[:, 1:].any())
    torch.testing.assert_close(encoder.null("a red circle"), encoder.encode(["a red circle"]))
    assert encoder.null("a red circle " * 10).shape == (1, 12, 32)


@pytest.mark.parametrize("prompts", [["a red circle"], ["a red circle", "a large blue star stays still"]])
def test_it_equals_transformers_on_prompts_padded_to_the_full_length(encoder, prompts):
    """As Wan does it: all 512 (here 12) positions through the encoder under a mask, then rows past the end zeroed."""
    batch = encoder.tokenizer(prompts, padding="max_length", max_length=12, truncation=True, return_tensors="pt")
    mask = batch.attention_mask
    hidden = encoder.model(input_ids=batch.input_ids, attention_mask=mask).last_hidden_state
    expected = torch.stack([row * kept[:, None] for row, kept in zip(hidden, mask, strict=True)])
    torch.testing.assert_close(encoder.encode(prompts), expected, atol=1e-5, rtol=0)
    assert mask.sum(1).tolist() == [int((row != 0).any(-1).sum()) for row in encoder.encode(prompts)]


def test_a_cut_prompt_has_the_tokens_that_transformers_gives_it(encoder):
    long = "a red circle " * 10
    theirs = encoder.tokenizer([long], max_length=12, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(encoder.tokenize([long], truncate=True), theirs)


@pytest.mark.parametrize(
    "text",
    [
        "  two  spaces\tand\nlines ",
        "schÃ¶n",
        "a &lt;b&gt; &amp;amp;amp; c",
        "“quotes” — ﬁ",
        "日本語　テスト",
        "x\u200by\xa0z",
    ],
)
def test_prompts_are_cleaned_as_diffusers_cleans_them(text):
    assert clean(text) == prompt_clean(text)


def test_the_negative_prompt_is_wans_to_the_byte():
    assert len(NEGATIVE_PROMPT) == 137
    digest = hashlib.sha256(NEGATIVE_PROMPT.encode()).hexdigest()
    assert digest == "ce96e0324e4b54ce4b6e867f669ca520952e1a34cc116543516b1897f0d3c47e"


def test_a_saved_folder_loads_to_the_same_embeddings(encoder, tmp_path):
    encoder.save(tmp_path)
    again = TextEncoder.load(tmp_path)
    torch.testing.assert_close(again.encode(["a red circle"]), encoder.encode(["a red circle"]))
    apart = TextEncoder.load(tmp_path / "text_encoder", tokenizer=tmp_path / "tokenizer", dtype=torch.bfloat16)
    assert apart.encode(["a red circle"]).dtype == torch.bfloat16
    assert apart.text_len == 12


def test_the_untrained_tiny_preset_knows_the_worlds_words_and_cuts_captions(tmp_path):
    encoder = TextEncoder.from_preset("tiny")
    assert encoder.tokenize(["a small striped turquoise triangle drifts gently to the bottom"]).shape == (1, 8)
    encoder.save(tmp_path)
    assert TextEncoder.load(tmp_path).truncate
    assert len(encoder.tokenizer("violet")["input_ids"]) == 2
    with pytest.raises(ValueError, match="'shapes', 'tiny'"):
        TextEncoder.from_preset("huge")


def test_untrained_heads_look_near_behind_and_ahead():
    torch.manual_seed(0)
    encoder = TextEncoder.from_preset("shapes")
    bias = encoder.model.encoder.block[0].layer[0].SelfAttention.compute_bias(5, 5)[0].detach()
    assert torch.equal(bias[0], bias[0].T)
    assert bool((bias[0].diagonal() == 0).all())
    assert bias[1, 3, 1] > bias[1, 1, 3]  # the second head prefers what came before,
    assert bias[2, 3, 1] < bias[2, 1, 3]  # the third what comes after


def test_damaged_folders_are_refused_with_the_reason(encoder, tmp_path):
    with pytest.raises(WeightsError, match=r"no config\.json"):
        TextEncoder.load(tmp_path / "missing")
    encoder.save(tmp_path)
    weights = tmp_path / "text_encoder" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        TextEncoder.load(tmp_path)
    weights.write_bytes(whole)
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match=r"tokenizer in .* cannot be read"):
        TextEncoder.load(tmp_path)


def test_missing_and_reshaped_tensors_are_refused(encoder, tmp_path):
    encoder.save(tmp_path)
    config = tmp_path / "text_encoder" / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"num_layers": 1', '"num_layers": 2'))
    with pytest.raises(WeightsError, match="missing_keys"):
        TextEncoder.load(tmp_path)
    config.write_text(text.replace('"d_ff": 64', '"d_ff": 32'))
    with pytest.raises(WeightsError):
        TextEncoder.load(tmp_path)
