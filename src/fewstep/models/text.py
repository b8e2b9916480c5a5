"""The text encoder: transformers' UMT5 at any size, a tokenizer for any script, and Wan's way of preparing prompts."""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ftfy
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel
from transformers.utils import logging as hf_logging

from fewstep.models.weights import WeightsError
from fewstep.shapes.caption import vocabulary
from fewstep.types import TextEmbeds

# fmt: off
TEXT_PRESETS: dict[str, dict[str, Any]] = {
    "tiny":   {"d_model": 32,  "num_layers": 1, "num_heads": 2, "d_kv": 16, "d_ff": 64,  "truncate_prompts": True},
    "shapes": {"d_model": 128, "num_layers": 3, "num_heads": 4, "d_kv": 32, "d_ff": 256, "truncate_prompts": False},
}
# fmt: on
"""UMT5 sizes; `tiny` is for tests and cuts prompts to its few tokens instead of refusing them."""

TEXT_LENGTHS = {"tiny": 8, "shapes": 64}
"""Tokens of a prompt, the end token included, as the DiT preset of the same name takes them."""

WAN_TEXT_LEN = 512
"""Tokens of a Wan prompt; its tokenizer itself knows no limit."""

VOCAB_SIZE = 1024
"""Upper bound of a trained tokenizer's vocabulary; 256 entries are single bytes."""

PAD, EOS, MASK = "<pad>", "</s>", "<mask>"


class PromptError(ValueError):
    """A prompt that cannot be encoded as it is."""


class LongPromptError(PromptError):
    """A prompt with more tokens than the text encoder reads."""


class TextEncoder(nn.Module):
    """Prompts to embeddings `b text_len d`, with exact zeros past each prompt's end token."""

    def __init__(self, model: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.text_len = min(tokenizer.model_max_length, WAN_TEXT_LEN)
        self.truncate = bool(getattr(model.config, "truncate_prompts", False))

    @classmethod
    def from_preset(cls, name: str, tokenizer: PreTrainedTokenizerBase | None = None) -> TextEncoder:
        """An untrained encoder of one of `TEXT_PRESETS`, by default with a tokenizer of ShapeWorld's words."""
        if name not in TEXT_PRESETS:
            raise ValueError(f"text encoder preset must be one of {sorted(TEXT_PRESETS)}, got {name!r}")
        if tokenizer is None:
            tokenizer = build_tokenizer([" ".join(vocabulary())] * 2, text_len=TEXT_LENGTHS[name])
        shape = {**TEXT_PRESETS[name], "vocab_size": len(tokenizer), "dropout_rate": 0.0}
        tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        model = UMT5EncoderModel(UMT5Config(**shape, **tokens))
        _attend_nearby(model)
        return cls(model, tokenizer)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        tokenizer: Path | str | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> TextEncoder:
        """The encoder of a model folder: its `text_encoder/` and `tokenizer/`, or `folder` itself and `tokenizer`.

        Raises WeightsError for folders that are missing, damaged or foreign.
        """
        weights = Path(folder) / "text_encoder" if tokenizer is None else Path(folder)
        words = Path(folder) / "tokenizer" if tokenizer is None else Path(tokenizer)
        encoder = cls(_load_model(weights, dtype or torch.float32), load_tokenizer(words))
        return encoder.to(device).eval()

    def save(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write `text_encoder/`, stored in `dtype`, and `tokenizer/` into a model folder, in diffusers layout."""
        model = copy.deepcopy(self.model).to(dtype or self.model.dtype)
        with _quiet():
            model.save_pretrained(Path(folder) / "text_encoder")
            self.tokenizer.save_pretrained(Path(folder) / "tokenizer")

    @property
    def width(self) -> int:
        """Embedding width d."""
        return self.model.config.d_model

    def tokenize(self, prompts: Sequence[str], *, truncate: bool | None = None) -> Tensor:
        """Token ids `b l`, each row ended and then padded to the longest.

        Raises PromptError for a prompt that is no text, is empty, or has more than `text_len` tokens; the last not when
        `truncate` (by default as the preset says).
        """
        cut = self.truncate if truncate is None else truncate
        return self._pad([self._ids(prompt, cut) for prompt in prompts])

    def encode(self, prompts: Sequence[str], *, truncate: bool | None = None) -> TextEmbeds:
        """Embeddings of the prompts, in the weights' dtype. Raises PromptError as `tokenize` does."""
        return self._padded(self.embed(self.tokenize(prompts, truncate=truncate)))

    def null(self, negative_prompt: str = "") -> TextEmbeds:
        """`1 text_len d`: the unconditional embedding, that of no text, or of what guidance should lead away from."""
        if clean(negative_prompt):
            return self.encode([negative_prompt], truncate=True)
        return self._padded(self.embed(self._pad([[self.tokenizer.eos_token_id]])))

    def embed(self, tokens: Tensor) -> TextEmbeds:
        """Embeddings `b l d` of padded token ids."""
        tokens = tokens.to(self.model.device)
        real = tokens != self.tokenizer.pad_token_id
        hidden = self.model(input_ids=tokens, attention_mask=real.long()).last_hidden_state
        return hidden * real[..., None]

    def forward(self, tokens: Tensor) -> TextEmbeds:
        return self.embed(tokens)

    def _ids(self, prompt: str, truncate: bool) -> list[int]:
        if not isinstance(prompt, str):
            raise PromptError(f"a prompt must be text, got {prompt!r}")
        text = clean(prompt)
        if not text:
            raise PromptError(f"a prompt must say something, got {prompt!r}: describe what the clip shows")
        ids = self.tokenizer(text, verbose=False)["input_ids"]  # lengths are our affair: no warning besides the error
        if len(ids) > self.text_len and not truncate:
            shown = text if len(text) <= 60 else f"{text[:60]}..."
            raise LongPromptError(
                f"a prompt must fit in {self.text_len} tokens, got {len(ids)} from {shown!r}: shorten it "
                "(words that the tokenizer does not know take a token per letter)"
            )
        return ids if len(ids) <= self.text_len else [*ids[: self.text_len - 1], self.tokenizer.eos_token_id]

    def _pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        longest = max(map(len, rows), default=0)
        return torch.tensor([[*row, *[self.tokenizer.pad_token_id] * (longest - len(row))] for row in rows])

    def _padded(self, embeds: TextEmbeds) -> TextEmbeds:
        return nn.functional.pad(embeds, (0, 0, 0, self.text_len - embeds.shape[1]))


def clean(prompt: str) -> str:
    """Wan's preparation: repair mis-decoded characters, resolve HTML entities (even doubled), collapse white space."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", text).strip()


def build_tokenizer(
    captions: Iterable[str], *, vocab_size: int = VOCAB_SIZE, text_len: int = TEXT_LENGTHS["shapes"]
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on captions: their words are single tokens, any other script is bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS, MASK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    end = (EOS, tokenizer.token_to_id(EOS))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[end])
    names = {"pad_token": PAD, "eos_token": EOS, "mask_token": MASK}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=text_len, clean_up_tokenization_spaces=False, **names
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and warnings of transformers: what matters in them is raised as an error here."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def _load_model(folder: Path, dtype: torch.dtype) -> UMT5EncoderModel:
    if not (folder / "config.json").is_file():
        raise WeightsError(f"no config.json in {folder}: expected a UMT5 text encoder in diffusers layout")
    options = {"dtype": dtype, "local_files_only": True, "output_loading_info": True}
    try:
        with _quiet():
            model, found = UMT5EncoderModel.from_pretrained(folder, **options)
    except Exception as error:  # transformers raises many kinds for damaged folders
        raise WeightsError(f"the text encoder in {folder} cannot be read: {error}; fetch or save it again") from error
    problems = {kind: sorted(map(str, names)) for kind, names in found.items() if kind.endswith("_keys") and names}
    if model.config.model_type != "umt5" or problems:
        raise WeightsError(
            f"{folder} does not hold a whole UMT5 encoder, but {model.config.model_type} with {problems}"
        )
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder. Raises WeightsError."""
    if not folder.is_dir():
        raise WeightsError(f"no tokenizer folder at {folder}: expected a model folder in diffusers layout")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise many kinds for damaged files
        raise WeightsError(f"the tokenizer in {folder} cannot be read: {error}; fetch or save it again") from error
    if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
        raise WeightsError(f"the tokenizer in {folder} must have a pad and an end token")
    return tokenizer


LOCALITY = ((1.0, 1.0), (0.35, 2.0), (2.0, 0.35), (0.2, 0.2))
"""How fast the attention of each head (they repeat) falls off per token behind and per token ahead, at the start."""


@torch.no_grad()
def _attend_nearby(model: UMT5EncoderModel) -> None:
    """Start with heads that look near, behind and ahead, over quieter word embeddings.

    UMT5's own start attends evenly and adds little to the embeddings: in 500 updates a small encoder stayed a bag of
    words (the colour of one object of two was a guess); from this start it binds words to objects within 100.
    """
    model.get_input_embeddings().weight.mul_(0.3)
    for block in model.encoder.block:
        bias = block.layer[0].SelfAttention.relative_attention_bias.weight
        half, exact = bias.shape[0] // 2, bias.shape[0] // 4
        growth = (model.config.relative_attention_max_distance / exact) ** (1 / exact)
        distance = torch.tensor([float(d) if d < exact else exact * growth ** (d - exact) for d in range(half)])
        for head in range(bias.shape[1]):
            behind, ahead = LOCALITY[head % len(LOCALITY)]
            bias[:half, head], bias[half:, head] = -behind * distance, -ahead * distance
