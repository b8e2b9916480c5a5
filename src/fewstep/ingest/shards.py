"""Shards: tar files in WebDataset layout, each sample a clip's latents with its caption, embedding and origin."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from fewstep.files import atomic_output
from fewstep.models.vae import VideoVAE

LABEL = "shards.json"
SHARD = "shard-{:06d}.tar"
PROMPTS = "prompts"
"""Folder of the prompt store that belongs to the shards; it holds the unconditional embedding."""
PARTS = ("safetensors", "txt", "json")
"""Endings of a sample's files: tensors `latents` and `text`, the caption, and where they come from."""


class ShardError(ValueError):
    """Shards that are missing or damaged, or were made for something else."""


@dataclass(frozen=True, kw_only=True)
class ShardLabel:
    """What all clips of a folder of shards have in common."""

    vae: str
    """Fingerprint of what encodes the pictures."""
    text_encoder: str
    """Fingerprint of the text encoder."""
    text_len: int
    """Rows that an embedding has once it is padded."""
    latent_shape: tuple[int, int, int, int]
    """Frames, channels, rows and columns of a clip."""
    frames: int
    """Pictures of a clip."""
    fps: float
    """Pictures per second."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    jump: float
    """How cuts were told; see CutFinder."""
    repeats: float = 1.0
    """Share of a clip's pictures that may be repeated; 1 of folders whose label does not say."""

    def differences(self, other: ShardLabel) -> list[str]:
        """The fields in which the two differ, with both values."""
        pairs = [(each.name, getattr(self, each.name), getattr(other, each.name)) for each in fields(self)]
        return [f"{name} {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs]


@dataclass(frozen=True)
class Sample:
    """One clip."""

    key: str
    latents: Tensor
    """`t c h w`, normalised."""
    text: Tensor
    """`l d`: the caption's rows, without padding."""
    caption: str
    facts: dict[str, Any]
    """Where it comes from, and how it became what it is."""


@dataclass(frozen=True)
class Place:
    """Where a sample lies."""

    path: Path
    key: str
    offsets: dict[str, tuple[int, int]]
    """First byte and length of each of `PARTS`."""

    def read(self) -> Sample:
        """The sample. Raises ShardError for damage."""
        try:
            with self.path.open("rb") as file:
                content = {part: _bytes(file, *self.offsets[part]) for part in PARTS}
            facts = json.loads(content["json"])
            if facts["sha256"] != hashlib.sha256(content["safetensors"] + content["txt"]).hexdigest():
                raise ShardError(_damaged(self.path, f"sample {self.key} does not match its checksum"))
            tensors = load_tensors(content["safetensors"])
            return Sample(self.key, tensors["latents"], tensors["text"], content["txt"].decode(), facts)
        except (OSError, KeyError, SafetensorError) as error:
            raise ShardError(_damaged(self.path, f"sample {self.key}: {error}")) from error


class Shards:
    """All samples of some folders of shards, in order; only headers are read before a sample is asked for.

    Raises ShardError for folders without shards, for those whose labels differ, and for damaged shards.
    """

    def __init__(self, folders: Sequence[Path | str]):
        if not folders:
            raise ShardError("one folder of shards or more is required, got none")
        self.folders = [Path(folder) for folder in folders]
        self.label = read_label(self.folders[0])
        self.places: list[Place] = []
        for folder in self.folders:
            # which clips were taken may differ, not what they are
            label = replace(read_label(folder), jump=self.label.jump, repeats=self.label.repeats)
            if differing := self.label.differences(label):
                raise ShardError(f"{self.folders[0]} and {folder} cannot be read together: {'; '.join(differing)}")
            for path in shard_files(folder):
                places = read_index(path)
                _require_origin(places[0], self.label)
                self.places += places
        if not self.places:
            raise ShardError(f"no shard in {', '.join(map(str, folders))}: make some with `fewstep data ingest`")

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> Sample:
        """A sample by its number. Raises ShardError for damage."""
        return self.places[index].read()


def shard_files(folder: Path) -> list[Path]:
    """The shards of a folder, in order."""
    return sorted(folder.glob(SHARD.replace("{:06d}", "*")))


def write_shard(path: Path, samples: Iterable[Sample], label: ShardLabel) -> None:
    """Write a shard, whole or not at all; the same samples make the same bytes. Raises OutputError."""
    with atomic_output(path) as scratch, tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT) as shard:
        for sample in samples:
            tensors = {"latents": sample.latents.contiguous(), "text": sample.text.contiguous()}
            content = {"safetensors": save_tensors(tensors), "txt": sample.caption.encode()}
            checksum = hashlib.sha256(content["safetensors"] + content["txt"]).hexdigest()
            facts = {**sample.facts, "sha256": checksum, "vae": label.vae, "text_encoder": label.text_encoder}
            content["json"] = json.dumps(facts, ensure_ascii=False).encode()
            for part in PARTS:
                member = tarfile.TarInfo(f"{sample.key}.{part}")
                member.size = len(content[part])
                shard.addfile(member, io.BytesIO(content[part]))


def read_index(path: Path) -> list[Place]:
    """Where the samples of a shard lie. Raises ShardError for a shard that is cut off, empty or not one of ours."""
    offsets: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                key, _, part = member.name.partition(".")
                offsets.setdefault(key, {})[part] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ShardError(_damaged(path, str(error))) from error
    if not offsets or any(set(parts) != set(PARTS) for parts in offsets.values()):
        raise ShardError(_damaged(path, f"each sample must have {', '.join(PARTS)}"))
    if max(start + size for parts in offsets.values() for start, size in parts.values()) > path.stat().st_size:
        raise ShardError(_damaged(path, "it is cut off"))
    return [Place(path, key, parts) for key, parts in offsets.items()]


def read_label(folder: Path) -> ShardLabel:
    """What a folder's shards have in common. Raises ShardError for a folder that is none of ours."""
    try:
        plain = json.loads((folder / LABEL).read_text(encoding="utf-8"))
        return ShardLabel(**{**plain, "latent_shape": tuple(plain["latent_shape"])})
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ShardError(f"{folder} holds no {LABEL}: make shards with `fewstep data ingest`") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{folder / LABEL} cannot be read ({error}): make the shards again") from error


def label_text(label: ShardLabel) -> str:
    """The label's file."""
    return json.dumps(asdict(label), indent=2) + "\n"


def vae_fingerprint(vae: VideoVAE) -> str:
    """Twelve hexadecimal digits that name what turns pictures into latents: encoder and normalisation, not the decoder.

    Weights are read in bf16, as any copy has them: their number format makes no difference.
    """
    total = hashlib.sha256(repr([vae.model.config.latents_mean, vae.model.config.latents_std]).encode())
    for module in (vae.model.encoder, vae.model.quant_conv):
        for name, value in sorted(module.state_dict().items()):
            total.update(f"{name} {tuple(value.shape)}".encode())
            plain = value.detach().to("cpu", torch.bfloat16).contiguous().reshape(-1)
            total.update(plain.view(torch.uint8).numpy())
    return total.hexdigest()[:12]


def _require_origin(place: Place, label: ShardLabel) -> None:
    """Raise ShardError for a shard that was brought here from another folder."""
    facts = place.read().facts
    if found := [
        f"{name} {facts.get(name)}" for name in ("vae", "text_encoder") if facts.get(name) != getattr(label, name)
    ]:
        raise ShardError(f"{place.path} was made by {' and '.join(found)}, unlike its folder's label: take it out")


def _bytes(file: Any, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged: {why}; run the `fewstep data ingest` that made it again, which replaces it"
