"""A model as files: how it is meant to be sampled, where its parts are, and its parts when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from fewstep.checkpoints.folders import INDEXES, existing, find_parts, is_original, is_pipeline, part_path, read_json
from fewstep.checkpoints.hub import fetch, fetch_weights
from fewstep.checkpoints.keys import Weights
from fewstep.checkpoints.lineage import FAMILY, CheckpointInfo, Sampling, identify, sampling_told_by
from fewstep.checkpoints.open import open_text_encoder, open_transformer, open_vae, transformer_config_of
from fewstep.models.checkpoint_dir import PASSPORT, ModelError, Passport, read_passport
from fewstep.models.dit import DiTConfig, VideoDiT
from fewstep.models.presets import NEGATIVE_PROMPT
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import CONFIG, ORIGINAL_CLASSES, WeightsError

WAN_TEACHER: Mapping[str, Any] = {
    "latent_frames": 21,
    "height": 480,
    "width": 832,
    "fps": 16.0,
    "shift": 5.0,
    "guidance": 5.0,
    "negative_prompt": NEGATIVE_PROMPT,
}
"""81 pictures at 480p, which every published Wan 2.1 knows, and Wan's own settings of its text-to-video models."""

STUDENTS_OWN = frozenset(each.name for each in fields(Sampling))
"""Fields of a passport that say how a student is sampled."""


@dataclass(frozen=True)
class ModelFiles:
    """A model that is not loaded yet."""

    path: Path
    """The folder that holds it, or that a student's file is used with."""
    passport: Passport
    parts: Mapping[str, Path] = field(repr=False)
    """File or folder of each of `PARTS`, whether it is there or not."""
    weights: Weights = "auto"
    """Which network of the transformer's file."""
    shape: DiTConfig | None = None
    """Of the transformer, where its own file does not tell it."""

    @property
    def size(self) -> int:
        """Bytes of the folder's own files; shared parts are not counted."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def part(self, name: str) -> Path:
        """File or folder of one of `PARTS`. Raises ModelError where there is none."""
        return existing(self.parts, name, self.path)

    def transformer(self, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> VideoDiT:
        """In eval mode. Raises WeightsError."""
        path = self.part("transformer")
        return open_transformer(path, weights=self.weights, cfg=self.shape, dtype=dtype, device=device)

    def vae(self, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> VideoVAE:
        """In eval mode. Raises WeightsError."""
        return open_vae(self.part("vae"), dtype=dtype, device=device)

    def text_encoder(self, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> TextEncoder:
        """With its tokenizer, in eval mode. Raises WeightsError."""
        words = self.part("tokenizer")
        return open_text_encoder(self.part("text_encoder"), tokenizer=words, dtype=dtype, device=device)

    def changed(self, changes: Mapping[str, Any]) -> ModelFiles:
        """With other values in fields of the passport. Raises ModelError for unknown fields and contradictions."""
        if self.passport.kind == "teacher" and (of_students := changes.keys() & STUDENTS_OWN):
            raise ModelError(f"{' and '.join(sorted(of_students))} are a student's, {self.passport.name} is a teacher")
        try:
            return replace(self, passport=replace(self.passport, **changes))
        except (TypeError, ValueError) as error:
            raise ModelError(f"{self.passport.name} cannot be sampled with {dict(changes)}: {error}") from error

    def with_student(self, student: Path | str, weights: Weights = "auto") -> ModelFiles:
        """With the transformer of a causal student in place of its own; autoencoder and text encoder stay.

        The passport is the student's own where its folder or metadata has one, else what its lineage is known for.
        Raises WeightsError for a file that holds no transformer, or one that this model's text encoder cannot serve.
        """
        student = Path(student)
        info = identify(student)
        if info.network != "transformer":
            raise WeightsError(f"a student is a transformer, {student} is {info.network}: see `fewstep inspect`")
        passport = info.passport or _student(self.passport, student.stem, info.sampling or Sampling(), info.lineage)
        if info.kind == "untold" and self.passport.kind == "student":
            passport = replace(self.passport, name=student.stem)
        shape = self._shape_for(info)
        parts = {**self.parts, "transformer": part_path(student, "transformer")}
        return replace(self, passport=replace(passport, components={}), parts=parts, weights=weights, shape=shape)

    def _shape_for(self, student: CheckpointInfo) -> DiTConfig | None:
        """The shape of a student in this model's place; of heads, which its tensors do not tell, this model knows."""
        base = self.parts.get("transformer")
        if student.shape is None or base is None or not base.exists():
            return None
        own = transformer_config_of(base)
        if student.shape.text_dim != own.text_dim:
            raise WeightsError(
                f"{student.path} ({student.size}) reads text of width {student.shape.text_dim}, the text encoder of "
                f"{self.passport.name} writes {own.text_dim}: name the model that the student was made from"
            )
        ignored = {"num_heads", "text_len"}
        same = _without(student.shape, ignored) == _without(own, ignored)
        return own if same and not student.has_config else None


def find_model(
    name_or_dir: str | Path,
    *,
    revision: str | None = None,
    student: str | Path | None = None,
    weights: Weights = "auto",
    changes: Mapping[str, Any] | None = None,
) -> ModelFiles:
    """The files of a model by bundled name, folder or hub id, with `student`'s transformer where one is named.

    A student is a file or folder, or a file on the hub as `owner/name/path/in/it.pt`. `changes` are fields of the
    passport. Raises ModelError and WeightsError.
    """
    files = replace(read_model(fetch(name_or_dir, revision)), weights=weights)
    if student is not None:
        files = files.with_student(fetch_weights(student), weights)
    return files.changed(changes) if changes else files


def find_weights(path: Path | str, weights: Weights = "auto") -> ModelFiles:
    """A transformer's file as a model without the other parts, a student unless its passport says otherwise.

    Raises WeightsError for a file that holds no transformer.
    """
    path = Path(path)
    nothing = ModelFiles(path.parent, Passport(name=path.stem, kind="teacher", **WAN_TEACHER), {})
    return nothing.with_student(path, weights)


def read_model(folder: Path | str) -> ModelFiles:
    """A model folder of ours, of diffusers or of Wan; nothing but its small JSON files is read.

    A folder without a passport gets one: a teacher with Wan's defaults, or a student as its lineage is known.
    Raises ModelError for a folder that is none of these.
    """
    folder = Path(folder)
    if (folder / PASSPORT).is_file():
        return ModelFiles(folder, read_passport(folder), find_parts(folder))
    if not (is_pipeline(folder) or is_original(folder)):
        raise ModelError(
            f"{folder} is no model folder: it holds no {PASSPORT} (ours), no {INDEXES[0]} (diffusers') and no "
            f"{CONFIG} of a {ORIGINAL_CLASSES[0]} (Wan's own); give the folder of a whole model, or a bundled name"
        )
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    facts = {**WAN_TEACHER, "shift": float(scheduler.get("flow_shift") or WAN_TEACHER["shift"])}
    passport = Passport(name=folder.resolve().name, kind="teacher", **facts)
    classes = [read_json(folder / file).get("_class_name", "") for file in (*INDEXES, f"transformer/{CONFIG}", CONFIG)]
    words = " ".join([*map(str, classes), str(scheduler.get("_class_name", ""))])
    lineage, sampling = sampling_told_by(f"{folder.resolve().name} {words}")
    if "causal" in words.lower() or lineage is not FAMILY:
        passport = _student(passport, passport.name, sampling, lineage.name)
    return ModelFiles(folder, passport, find_parts(folder))


def _student(base: Passport, name: str, sampling: Sampling, lineage: str) -> Passport:
    """The passport of a student that makes clips of the base's size."""
    told: dict[str, Any] = {key: getattr(sampling, key) for key in STUDENTS_OWN}
    told |= {"trained_by": lineage, "seed": None, "steps": None, "commit": None, "scores": {}}
    return replace(base, name=name, kind="student", guidance=1.0, **told)


def _without(shape: DiTConfig, names: Set[str]) -> dict[str, Any]:
    return {name: value for name, value in asdict(shape).items() if name not in names}
