"""Prompts encoded once: a folder of safetensors shards that training and serving read instead of the text encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fewstep.files import write_text
from fewstep.models.shards import tensor_output
from fewstep.models.text import TextEncoder, clean

LABEL = "prompts.json"
SHARD = "shard-*.safetensors"
SHARD_SIZE = 64
"""Prompts of a shard; also those that an interruption loses."""
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class StoreError(ValueError):
    """A prompt store that is missing, damaged, or made by another text encoder."""


@dataclass(frozen=True, kw_only=True)
class StoreLabel:
    """What all embeddings of a store have in common."""

    encoder: str
    """Fingerprint of the text encoder's weights."""
    text_len: int
    """Rows that an embedding has once it is padded."""
    width: int
    """Columns of an embedding."""
    dtype: str
    """Number format of the rows."""


class PromptStore:
    """Embeddings by cleaned prompt, each trimmed to its prompt's tokens and checked against its checksum when read.

    Raises StoreError for a folder that is no store or has a shard that cannot be read.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.label = _read_label(self.folder)
        self._places: dict[str, tuple[Path, int, str]] = {}
        self._open: dict[Path, Any] = {}
        for path in sorted(self.folder.glob(SHARD)):
            for number, (prompt, checksum) in enumerate(_contents(path, self.label)):
                self._places[prompt] = (path, number, checksum)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, prompt: str) -> bool:
        return clean(prompt) in self._places

    def missing(self, prompts: Iterable[str]) -> list[str]:
        """The prompts that are not in the store, one of those that are the same once cleaned."""
        return [prompt for key, prompt in _by_key(prompts).items() if key not in self._places]

    def read(self, prompt: str) -> Tensor:
        """Rows `l d` of a prompt of the store; "" is the unconditional one. Raises StoreError for damaged rows."""
        key = clean(prompt)
        if key not in self._places:
            raise StoreError(f"the prompt store {self.folder} does not hold {key!r}: add it, `fewstep encode`")
        path, number, checksum = self._places[key]
        try:
            if path not in self._open:
                self._open[path] = safe_open(str(path), framework="pt")
            rows = self._open[path].get_tensor(_name(number))
        except (SafetensorError, OSError) as error:
            raise StoreError(_damaged(path, str(error))) from error
        if _checksum(rows) != checksum:
            raise StoreError(_damaged(path, "its content does not match its checksum"))
        return rows

    def padded(self, prompt: str) -> Tensor:
        """`text_len d`: the rows of a prompt and zeros, in fp32."""
        return padded(self.read(prompt), self.label.text_len)

    def require(self, encoder: str | None) -> None:
        """Raise StoreError unless the store was made by the text encoder of this fingerprint; None cannot be told."""
        if encoder not in (None, self.label.encoder):
            raise StoreError(
                f"the prompt store {self.folder} was made by text encoder {self.label.encoder}, the model's is "
                f"{encoder}: encode the prompts again with this model, `fewstep encode`"
            )


def build_store(
    folder: Path | str,
    prompts: Sequence[str],
    load: Callable[[], TextEncoder],
    *,
    fingerprint: str | None = None,
    dtype: torch.dtype | None = None,
    truncate: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PromptStore:
    """The store at `folder`, with all `prompts` in it; those that are there stay, damaged shards are made again.

    `load` is called only when something is to be encoded. `fingerprint` is the text encoder's, where it is known
    before. `dtype` of a new store is by default the encoder's. "" is the unconditional embedding; `truncate` cuts
    prompts that are too long instead of refusing them. `on_progress(done, total)` counts prompts. Interrupted, it goes
    on where it stopped. Raises StoreError, PromptError and OutputError.
    """
    folder, store = Path(folder), None
    if (folder / LABEL).is_file():
        _drop_damaged(folder)
        store = PromptStore(folder)
        store.require(fingerprint)
        if dtype not in (None, FORMATS[store.label.dtype]):
            raise StoreError(f"{folder} holds {store.label.dtype}, {dtype} was asked for: choose a new folder")
    wanted = list(_by_key(prompts).values())
    missing = wanted if store is None else store.missing(wanted)
    if missing:
        encoder = load()
        label = _label(encoder, dtype)
        if store is None:
            write_text(folder / LABEL, json.dumps(asdict(label), indent=2) + "\n")
        else:
            store.require(label.encoder)
            label = store.label
        # every prompt is checked before the first one is encoded
        encoder.tokenize(list(filter(clean, missing)), truncate=truncate)
        for start in range(0, len(missing), SHARD_SIZE):
            _write_shard(folder, missing[start : start + SHARD_SIZE], encoder, label, truncate)
            if on_progress is not None:
                on_progress(len(wanted) - len(missing) + min(start + SHARD_SIZE, len(missing)), len(wanted))
    return PromptStore(folder)


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """Twelve hexadecimal digits that name a UMT5 encoder by some of its tensors, read in bf16, as any copy has them.

    Norms and position tables of all blocks and the first block's attention: a hundredth of the weights, so that a
    file's can be told without loading it. Whether the weights are stored or held in fp32 or bf16 makes no difference.
    """
    total = hashlib.sha256()
    for name in sorted(filter(is_telling, tensors)):
        total.update(f"{name} {_checksum(tensors[name].detach().to('cpu', torch.bfloat16))}".encode())
    return total.hexdigest()[:12]


def is_telling(name: str) -> bool:
    """Whether `fingerprint_of` reads the tensor of this name."""
    return "norm" in name or "relative_attention_bias" in name or name.startswith("encoder.block.0.layer.0.")


def trimmed(embedding: Tensor) -> Tensor:
    """An `l d` embedding without the rows past its last one that is not zero."""
    filled = embedding.abs().sum(-1).nonzero()
    return embedding[: int(filled[-1]) + 1 if len(filled) else 1]


def padded(rows: Tensor, text_len: int) -> Tensor:
    """`l d` rows in fp32, with rows of zeros up to `text_len`."""
    return torch.nn.functional.pad(rows.float(), (0, 0, 0, text_len - len(rows)))


@torch.no_grad()
def embed_alone(encoder: TextEncoder, prompt: str, *, truncate: bool | None = None) -> Tensor:
    """Rows `l d` of one prompt on the CPU, "" being the unconditional one; company in a batch could change them."""
    embeds = encoder.encode([prompt], truncate=truncate) if clean(prompt) else encoder.null()
    return trimmed(embeds[0].cpu())


def _by_key(prompts: Iterable[str]) -> dict[str, str]:
    """Prompts by what they are once cleaned; cleaning them again could change them (`&amp;amp;amp;`)."""
    found: dict[str, str] = {}
    for prompt in prompts:
        found.setdefault(clean(prompt), prompt)
    return found


def _label(encoder: TextEncoder, dtype: torch.dtype | None) -> StoreLabel:
    stored = dtype or next(encoder.parameters()).dtype
    name = next((name for name, each in FORMATS.items() if each == stored), None)
    if name is None:
        raise StoreError(f"a prompt store holds {', '.join(FORMATS)}, got {stored}")
    fingerprint = fingerprint_of(encoder.model.state_dict())
    return StoreLabel(encoder=fingerprint, text_len=encoder.text_len, width=encoder.width, dtype=name)


def _write_shard(folder: Path, prompts: list[str], encoder: TextEncoder, label: StoreLabel, truncate: bool) -> None:
    rows = [embed_alone(encoder, prompt, truncate=truncate).to(FORMATS[label.dtype]).contiguous() for prompt in prompts]
    metadata = {
        "prompts": json.dumps([clean(prompt) for prompt in prompts], ensure_ascii=False),
        "sha256": json.dumps([_checksum(each) for each in rows]),
        "encoder": label.encoder,
    }
    name = hashlib.sha256(metadata["prompts"].encode()).hexdigest()[:16]
    with tensor_output(folder / SHARD.replace("*", name)) as scratch:
        save_file({_name(number): each for number, each in enumerate(rows)}, scratch, metadata)


def _contents(path: Path, label: StoreLabel) -> list[tuple[str, str]]:
    """Prompts of a shard with their checksums, from its header."""
    try:
        with safe_open(str(path), framework="pt") as shard:
            facts = shard.metadata()
            prompts, checksums = json.loads(facts["prompts"]), json.loads(facts["sha256"])
            if facts["encoder"] != label.encoder:
                raise StoreError(_damaged(path, f"its text encoder is {facts['encoder']}, not {label.encoder}"))
            return list(zip(prompts, checksums, strict=True))
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise StoreError(_damaged(path, str(error))) from error


def _drop_damaged(folder: Path) -> None:
    """Remove shards whose header or content is damaged, so that their prompts count as missing."""
    label = _read_label(folder)
    for path in folder.glob(SHARD):
        try:
            checksums = [checksum for _, checksum in _contents(path, label)]
            with safe_open(str(path), framework="pt") as shard:
                whole = checksums == [_checksum(shard.get_tensor(_name(number))) for number in range(len(checksums))]
        except (StoreError, SafetensorError, OSError):
            whole = False
        if not whole:
            path.unlink()


def _read_label(folder: Path) -> StoreLabel:
    try:
        return StoreLabel(**json.loads((folder / LABEL).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{folder} is no prompt store, it holds no {LABEL}: make it with `fewstep encode`") from error
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{folder / LABEL} cannot be read ({error}): make the store again") from error


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged: {why}; run the `fewstep encode` that made it again, which replaces it"


def _name(number: int) -> str:
    return f"{number:05d}"


def _checksum(tensor: Tensor) -> str:
    head = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    return hashlib.sha256(head + tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
