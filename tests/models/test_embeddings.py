"""Memory first, then the store, and only then the text encoder, which does not stay where it is not wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fewstep.models import embeddings
from fewstep.models.embeddings import PromptEmbeddings
from fewstep.models.prompt_store import build_store
from fewstep.models.text import PromptError, TextEncoder, build_tokenizer
from fewstep.models.weights import WeightsError

CAPTIONS = ["a small red circle moves left", "a large blue star stays still"] * 3


class Loader:
    """Loads the same encoder each time, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> TextEncoder:
        self.count += 1
        torch.manual_seed(0)
        encoder = TextEncoder.from_preset("tiny", build_tokenizer(CAPTIONS, text_len=12))
        encoder.truncate = False
        return encoder.eval().requires_grad_(False)


def test_the_encoder_is_loaded_at_the_first_prompt_and_asked_once_for_each():
    load = Loader()
    text = PromptEmbeddings(load)
    assert not text.is_loaded
    first = text.embed(["a red circle", "a star"])
    assert load.count == 1
    text._encoder = None  # were anything encoded again, it would be loaded again
    assert torch.equal(text.embed(["a star", "a red circle"]), first.flip(0))
    assert load.count == 1


def test_an_embedding_does_not_depend_on_its_company():
    alone = PromptEmbeddings(Loader()).embed(["a red circle"])
    together = PromptEmbeddings(Loader()).embed(["a large blue star stays still", "a red circle"])
    assert torch.equal(alone[0], together[1])
    assert torch.equal(alone, Loader()().encode(["a red circle"]))


def test_a_store_is_asked_before_the_encoder(tmp_path: Path):
    build_store(tmp_path, ["a red circle", "blurred", ""], Loader())
    load = Loader()
    store = build_store(tmp_path, [], load)
    text = PromptEmbeddings(load, store=store)
    assert torch.equal(text.embed(["a red  circle"]), Loader()().encode(["a red circle"]))
    assert torch.equal(text.null("blurred"), Loader()().null("blurred"))
    assert torch.equal(text.null(), Loader()().null())
    assert text.text_len == 12
    assert load.count == 0
    text.embed(["a star"])
    assert load.count == 1


def test_a_prompt_that_is_not_stored_where_there_is_no_encoder_says_what_to_do(tmp_path: Path):
    def missing() -> TextEncoder:
        raise WeightsError("no text encoder here")

    text = PromptEmbeddings(missing, store=build_store(tmp_path, ["a red circle"], Loader()))
    text.embed(["a red circle"])
    with pytest.raises(PromptError, match=r"'a star' is not in .*\(no text encoder here\).*fewstep encode"):
        text.embed(["a star"])


def test_an_encoder_that_is_not_kept_is_given_up_after_use_and_needed_once_for_prepared_prompts():
    load = Loader()
    text = PromptEmbeddings(load, keep=False)
    text.prepare(["a red circle", "a star"], "blurred")
    assert not text.is_loaded
    text.embed(["a red circle"])
    text.embed(["a star"])
    text.null("blurred")
    assert load.count == 1
    text.embed(["a blue star"])
    assert load.count == 2
    assert not text.is_loaded


def test_a_large_encoder_leaves_the_device_and_returns_when_needed(monkeypatch):
    monkeypatch.setattr(embeddings, "LARGE", 1000)
    text = PromptEmbeddings(Loader())
    assert next(text.encoder.parameters()).device.type == "cpu"
    moves: list[str] = []
    encoder = text.encoder
    original = encoder.to
    encoder.to = lambda place: moves.append(str(place)) or original("cpu")
    text._home = torch.device("cuda")  # as if it had been loaded there
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: moves.append("emptied"))
    text.embed(["a red circle"])
    assert moves == ["cuda", "cpu", "emptied"]
    text.keep = True
    text.embed(["a star"])
    assert moves[3:] == ["cuda"]


def test_the_oldest_prompts_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(embeddings, "CAPACITY", 2)
    load = Loader()
    text = PromptEmbeddings(load, keep=False)
    for prompts in (["a red circle"], ["a star"], ["a blue star"]):
        text.embed(prompts)
    text.embed(["a blue star", "a star"])
    assert load.count == 3
    text.embed(["a red circle"])
    assert load.count == 4
    assert text.embed(["a red circle", "a star", "a blue star"]).shape[0] == 3


def test_memory_in_half_precision_rounds_and_nothing_else():
    exact = PromptEmbeddings(Loader()).embed(["a red circle"])
    half = PromptEmbeddings(Loader(), memory=torch.float16).embed(["a red circle"])
    assert torch.equal(half, exact.half().float())


@pytest.mark.parametrize(("prompt", "message"), [("", "say something"), ("&nbsp;", "say something"), (3, "be text")])
def test_prompts_that_say_nothing_are_refused_even_when_no_text_is_known(prompt, message):
    text = PromptEmbeddings(Loader())
    text.null()
    with pytest.raises(PromptError, match=message):
        text.embed([prompt])
