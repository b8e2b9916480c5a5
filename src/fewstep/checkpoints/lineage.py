"""What a checkpoint is, told from its header: whose it is, which stage, what is in it, and how it wants to be sampled.

Tensors tell the network, its size, the running average and discriminator heads; passports and configs tell the rest.
Repositories of this lineage share one format, so where neither is there, whose it is and how it was trained to be
sampled is read off its name; `CheckpointInfo.why` says from what each conclusion was drawn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from fewstep.checkpoints.folders import INDEXES, part_path, read_json
from fewstep.checkpoints.keys import GROUPS, HEADS, WRAPPERS, groups_of, plain, select
from fewstep.checkpoints.open import CONFIG_KEY, PASSPORT_KEY, infer_config
from fewstep.checkpoints.tensors import TensorSource, open_tensors
from fewstep.diffusion.steps import Schedule, shifted_levels
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import PASSPORT, BeginsWith, Passport, read_passport
from fewstep.models.dit import DiTConfig
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import preset_of
from fewstep.models.weights import CONFIG, WeightsError, read_transformer_config, transformer_config

Network = Literal["transformer", "autoencoder", "text encoder", "LoRA", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a causal student was trained to be sampled: fields of its passport."""

    layout: ChunkLayout = field(default_factory=ChunkLayout)
    """Three latent frames a chunk."""
    levels: tuple[float, ...] = shifted_levels()
    """(1, .9375, .8333, .625): raw 1000, 750, 500, 250 at shift 5."""
    context: Context = field(default_factory=Context)
    schedule: Schedule = "prefix"
    plan: str | None = None
    """Of the tables ("1*"), when it is not all levels for all chunks."""
    begins_with: BeginsWith | None = None
    """Not known of any lineage: students trained from text alone are given images too, as AAD-1's Table 1 does."""


@dataclass(frozen=True)
class Lineage:
    """A code base whose checkpoints are known."""

    name: str
    words: tuple[str, ...]
    """Any of them in a file, folder or class name, letters and digits only, tells it."""
    sampling: Sampling = Sampling()


LINEAGES: tuple[Lineage, ...] = (
    Lineage("CausVid", ("causvid",), Sampling(levels=(1.0, 0.757, 0.522))),
    Lineage("LongLive", ("longlive",), Sampling(context=Context(sink=3, window=12))),
    Lineage("Krea", ("krea",), Sampling(context=Context(window=6))),
    Lineage("One-Forcing", ("oneforcing",), Sampling(schedule="respaced", plan="1*")),
    Lineage("Causal-Forcing", ("causalforcing",), Sampling(schedule="respaced")),
    Lineage("Self Forcing", ("selfforcing", "sfwan")),
)
"""The first that fits wins. Krea keeps three frames of context beside its chunk; it also recomputes their keys, which
plain caching does not."""
FAMILY = Lineage("Self Forcing's family", ())
"""A training state in their common format that no name tells apart."""
WAN = Lineage("Wan 2.1", ())


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a file or folder of weights is."""

    path: Path
    format: str
    """Of the weights: safetensors, sharded safetensors, pickle."""
    network: Network
    lineage: str
    kind: Literal["teacher", "student", "untold"]
    stage: str
    groups: tuple[str, ...]
    """Networks and states of a training run in it; "" is a single network."""
    has_ema: bool
    heads: tuple[str, ...]
    """Kinds of discriminator heads in it."""
    wrappers: tuple[str, ...]
    """What training code left in the names."""
    naming: str
    """Whose names the tensors have."""
    size: str
    shape: DiTConfig | None
    """Of a transformer."""
    has_config: bool
    """Whether `shape` is told by a config, and not from the tensors."""
    dtypes: tuple[str, ...]
    parameters: int
    """Of the network that loading takes by default."""
    bytes: int
    """Of all tensors."""
    step: int | None
    """Of training, where the file says it."""
    sampling: Sampling | None
    """Of a student."""
    passport: Passport | None
    why: tuple[str, ...]
    """What the conclusions were drawn from."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `json.dumps`."""
        return json.loads(json.dumps(asdict(self), default=str))


def identify(path: Path | str) -> CheckpointInfo:
    """What the weights at `path` are; only headers and small JSON files are read.

    `path` is a file, a transformer's folder, or a model folder, whose transformer is looked at. Raises WeightsError
    for what is no checkpoint.
    """
    path = Path(path)
    weights = part_path(path, "transformer")
    source = open_tensors(weights)
    network = _network(source)
    facts: dict[str, Any] = _contents(source)
    why = [f"{network}: {_signature(network)}"]
    passport = _passport(path, source)
    if network != "transformer":
        facts |= {"lineage": WAN.name if network != "unknown" else "unknown", "kind": "untold", "stage": "-"}
        facts |= {"size": "-", "shape": None, "has_config": False, "sampling": None, "parameters": _count(source.specs)}
        return CheckpointInfo(path=path, network=network, passport=passport, why=tuple(why), **facts)
    facts |= _shape(weights, source, why)
    facts |= _origin(path, facts["groups"], passport, why)
    return CheckpointInfo(path=path, network=network, passport=passport, why=tuple(why), **facts)


def sampling_told_by(words: str, why: list[str] | None = None) -> tuple[Lineage, Sampling]:
    """The lineage that a name tells, and how its students are sampled; `FAMILY` where it tells none."""
    why = [] if why is None else why
    letters = re.sub(r"[^a-z0-9]", "", words.lower())
    lineage = next((each for each in LINEAGES if any(word in letters for word in each.words)), FAMILY)
    sampling = lineage.sampling
    if lineage is not FAMILY:
        why.append(f"{lineage.name}: its name says so")
    if "framewise" in letters:
        sampling = replace(sampling, layout=ChunkLayout(1))
        why.append("chunks of 1: 'framewise' in its name")
    if steps := re.search(r"([124])steps?(?![a-z0-9])", re.sub(r"[-_ ](?=step)", "", words.lower())):
        sampling = replace(sampling, plan=None if steps[1] == "4" else f"{steps[1]}*")
        why.append(f"{steps[1]} steps: '{steps[0]}' in its name")
    return lineage, sampling


def _network(source: TensorSource) -> Network:
    names = {plain(name) for name in source}
    if any(".lora_" in name or name.endswith(".alpha") for name in names):
        return "LoRA"
    if "patch_embedding.weight" in names:
        return "transformer"
    if names & {"encoder.conv1.weight", "encoder.conv_in.weight"} and names & {"conv1.weight", "quant_conv.weight"}:
        return "autoencoder"
    if names & {"token_embedding.weight", "shared.weight"}:
        return "text encoder"
    return "unknown"


def _signature(network: Network) -> str:
    return {
        "transformer": "it embeds patches",
        "autoencoder": "it encodes and decodes pixels",
        "text encoder": "it embeds tokens",
        "LoRA": "its tensors are low-rank factors",
        "unknown": "no tensor that a network of Wan would have",
    }[network]


def _contents(source: TensorSource) -> dict[str, Any]:
    """What the tensors tell whatever the network."""
    segments = {segment for name in source for segment in name.split(".")}
    groups = groups_of(source)
    steps = [value for name, value in source.metadata.items() if name in ("step", "global_step") and value]
    diffusers = segments & {"condition_embedder", "attn1", "down_blocks", "SelfAttention"}
    return {
        "format": source.format,
        "groups": groups,
        "has_ema": bool(set(groups) & set(GROUPS["ema"])),
        "heads": tuple(head for head in HEADS if head in segments),
        "wrappers": tuple(wrapper for wrapper in WRAPPERS if wrapper in segments),
        "naming": "diffusers'" if diffusers else "Wan's",
        "dtypes": tuple(sorted({str(spec.dtype).removeprefix("torch.") for spec in source.specs.values()})),
        "bytes": sum(spec.numel() * spec.element_size() for spec in source.specs.values()),
        "step": int(steps[0]) if steps else None,
    }


def _shape(weights: Path, source: TensorSource, why: list[str]) -> dict[str, Any]:
    chosen = source.renamed(select(source, where=str(source.path)).names)
    if weights.is_dir() and (weights / CONFIG).is_file():
        shape, has_config = read_transformer_config(weights / CONFIG), True
    elif CONFIG_KEY in source.metadata:
        shape, has_config = transformer_config(json.loads(source.metadata[CONFIG_KEY]), str(weights)), True
    else:
        shape, has_config = infer_config(chosen.specs, where=str(source.path)), False
    preset = preset_of(shape)
    size = preset or f"width {shape.dim}, {shape.num_layers} blocks, {shape.num_heads} heads"
    why.append(f"{size}: {'its config' if has_config else 'the shapes of its tensors, its heads by likeness'}")
    return {"shape": shape, "has_config": has_config, "size": size, "parameters": _count(chosen.specs)}


def _origin(path: Path, groups: Sequence[str], passport: Passport | None, why: list[str]) -> dict[str, Any]:
    """Lineage, kind, stage and sampling of a transformer."""
    if passport is not None:
        why.append(f"{passport.kind}: its passport")
        values = {each.name: getattr(passport, each.name) for each in fields(Sampling)}
        told = Sampling(**values) if passport.kind == "student" else None
        stage = f"trained by {passport.trained_by}" if passport.trained_by else "finished"
        return {"lineage": "fewstep", "kind": passport.kind, "stage": stage, "sampling": told}
    words = _words(path)
    lineage, sampling = sampling_told_by(words, why)
    kind, stage = _stage(path, groups, words, lineage is not FAMILY, why)
    name = WAN.name if lineage is FAMILY and kind != "student" else lineage.name
    return {"lineage": name, "kind": kind, "stage": stage, "sampling": None if kind == "teacher" else sampling}


def _stage(
    path: Path, groups: Sequence[str], words: str, known: bool, why: list[str]
) -> tuple[Literal["teacher", "student", "untold"], str]:
    there = " and ".join(each for each in groups if each)
    if there:
        why.append(f"student: it holds {there}")
        if "critic" in groups:
            average = "with its average" if "generator_ema" in groups else "before its average begins"
            return "student", f"training state of a distillation, {average}"
        if re.search(r"(?<![a-z])ode(?![a-z])", words.lower()):
            return "student", "ODE start: the regression before distillation"
        return "student", "distilled, or its ODE start: both are saved alike"
    if known or "causal" in words.lower():
        return "student", "distilled"
    if path.is_dir():
        why.append("teacher: a folder of Wan's bidirectional class")
        return "teacher", "pretrained"
    return "untold", "weights alone: those of teachers and students look the same"


def _words(path: Path) -> str:
    """The names that may tell where a checkpoint comes from: its own, its folders', and those of its classes."""
    resolved = path.resolve()
    words = [resolved.name, resolved.parent.name, resolved.parent.parent.name]
    for file in (*INDEXES, CONFIG, f"transformer/{CONFIG}", "scheduler/scheduler_config.json"):
        if path.is_dir():
            words.append(str(read_json(path / file).get("_class_name", "")))
    return " ".join(words)


def _passport(path: Path, source: TensorSource) -> Passport | None:
    if path.is_dir() and (path / PASSPORT).is_file():
        return read_passport(path)
    if PASSPORT_KEY not in source.metadata:
        return None
    try:
        return Passport.from_json(source.metadata[PASSPORT_KEY])
    except ValueError as error:
        raise WeightsError(f"the passport in {source.path} is damaged ({error}): export the model again") from error


def _count(specs: Mapping[str, Tensor]) -> int:
    return sum(spec.numel() for spec in specs.values())
