"""What prompts mean to a model: its prompt store, and its text encoder only where that does not do."""

from __future__ import annotations

from pathlib import Path

import torch

from fewstep.checkpoints.keys import t5_to_transformers
from fewstep.checkpoints.model_files import ModelFiles
from fewstep.checkpoints.tensors import PICKLES, open_tensors
from fewstep.models.embeddings import PromptEmbeddings
from fewstep.models.offload import offload_layers
from fewstep.models.prompt_store import PromptStore, fingerprint_of, is_telling
from fewstep.models.text import TextEncoder


def prompt_embeddings(
    files: ModelFiles,
    *,
    store: Path | str | None = None,
    keep: bool | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    offload: bool = False,
) -> PromptEmbeddings:
    """A model's embeddings of prompts; nothing is loaded before a prompt comes that `store` does not hold.

    `keep` is as in PromptEmbeddings; with `offload` the encoder lives in host memory, and only the layer that computes
    is on the device. Raises StoreError for a store that is damaged or of another text encoder.
    """
    stored = None if store is None else PromptStore(store)
    if stored is not None:
        stored.require(encoder_fingerprint(files.parts.get("text_encoder")))

    def load() -> TextEncoder:
        if not offload:
            return files.text_encoder(dtype=dtype, device=device)
        encoder = files.text_encoder(dtype=dtype, device="cpu")
        offload_layers(list(encoder.model.encoder.block), torch.device(device))
        return encoder

    return PromptEmbeddings(load, store=stored, keep=keep)


def encoder_fingerprint(path: Path | None) -> str | None:
    """The fingerprint of the text encoder in a folder or file, from the few tensors that it takes.

    None where there are no weights: a machine that works from a prompt store need not have the encoder at all. Raises
    WeightsError for damaged files.
    """
    if path is None or not path.exists() or (path.is_dir() and not any(path.glob("*.safetensors*"))):
        return None
    source = open_tensors(path)
    rename = t5_to_transformers if path.suffix in PICKLES else str
    return fingerprint_of(source.renamed({new: old for old in source if is_telling(new := rename(old))}))
