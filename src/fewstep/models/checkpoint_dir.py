"""The model folder: diffusers' layout and a passport, `fewstep.json`, that says how the model is meant to be used."""

from __future__ import annotations

import difflib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Literal, get_args

import torch
from safetensors import SafetensorError

from fewstep.diffusion.steps import Schedule, named_plan
from fewstep.files import OutputError
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import save_transformer

PASSPORT = "fewstep.json"
PARTS = ("transformer", "vae", "text_encoder", "tokenizer")
PIPELINE = ("model_index.json", "scheduler")
"""What makes a model folder one of diffusers' pipelines besides."""
ASSETS = Path(__file__).parents[1] / "assets"
FROM_TEXT, FROM_IMAGE = "shapes-asd", "shapes-i2v"
"""The bundled students that commands take when none is named: the second where a picture begins the clip."""
BUNDLED = ("shapes-teacher", "shapes-init", FROM_TEXT, FROM_IMAGE)
"""Models that come with the package, in the order of the lessons; `shapes-base` holds the parts that they share."""

BeginsWith = Literal["text", "image", "either"]
"""What a student's clips began with in training: a first chunk of its own, a given image, or one or the other."""
BEGINNINGS: Mapping[BeginsWith, str] = {"text": "text", "image": "an image", "either": "text or an image"}
"""As users are told."""


class ModelError(ValueError):
    """A model that is missing, damaged, or not one of ours."""


@dataclass(frozen=True, kw_only=True)
class Passport:
    """How a model was made and how it is meant to be sampled. Raises ValueError for values that contradict."""

    name: str
    """What the model is called in tables and messages."""
    kind: Literal["teacher", "student"]
    """A teacher samples a clip in many steps under guidance, a student chunk by chunk in few."""
    latent_frames: int
    """Length of the clips that it was trained on."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: float = 16.0
    """Pixel frames per second (Wan: 16)."""
    shift: float = 5.0
    """Warp of the teacher's sampling grid (Wan: 5)."""
    guidance: float = 1.0
    """Of a teacher, in the usual convention; 1 is none. A student has it distilled in."""
    negative_prompt: str = ""
    """The unconditional branch of guidance."""
    causal_teacher: bool = False
    """Whether a teacher makes its clips chunk by chunk too, as `layout` and `context` say."""
    layout: ChunkLayout = field(default_factory=ChunkLayout)
    """A student's chunks."""
    levels: tuple[float, ...] = ()
    """A student's noise levels, from 1 down."""
    schedule: Schedule = "prefix"
    """How fewer steps are cut from `levels`."""
    context: Context = field(default_factory=Context)
    """What a student's chunk sees of earlier ones."""
    plan: str | None = None
    """A student's usual steps as the tables name them ("1*"); None is all levels for all chunks."""
    begins_with: BeginsWith | None = None
    """What a student's clips may begin with, because they did in training; None, not known, refuses nothing."""
    components: Mapping[str, str] = field(default_factory=dict)
    """Part -> folder relative to the model's, for parts that it shares with other models."""
    trained_by: str | None = None
    """The recipe, such as asd.shapes."""
    seed: int | None = None
    """Of the recipe."""
    steps: int | None = None
    """Cycles of training."""
    commit: str | None = None
    """Of the code that trained it."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """What it was measured to reach."""

    def __post_init__(self) -> None:
        for name, words in (("kind", ("teacher", "student")), ("schedule", get_args(Schedule))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be {' or '.join(words)}, got {getattr(self, name)!r}")
        self._require_texts_and_numbers()
        if unknown := sorted(self.components.keys() - set(PARTS)):
            raise ValueError(f"components must be among {', '.join(PARTS)}, got {', '.join(unknown)}")
        if self.begins_with not in (None, *BEGINNINGS):
            raise ValueError(f"begins_with must be {', '.join(BEGINNINGS)} or not there, got {self.begins_with!r}")
        if self.kind == "student":
            named_plan(self.levels, self.plan or f"{len(self.levels)}", self.schedule)
        if self.is_causal:
            self.context.require_room(self.layout.chunk, self.layout.first)
            self.layout.sizes(self.latent_frames)

    def _require_texts_and_numbers(self) -> None:
        for name in ("name", "negative_prompt", "trained_by", "commit"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("name", "negative_prompt")):
                raise ValueError(f"{name} must be a text, got {value!r}")
        if not self.name:
            raise ValueError("name must be a text, got none")
        above_zero, from_zero = ("latent_frames", "height", "width", "fps", "shift"), ("guidance", "seed", "steps")
        for name in (*above_zero, *from_zero):
            value = getattr(self, name)
            if value is None and name in ("seed", "steps"):
                continue
            whole = name not in ("fps", "shift", "guidance")
            if not _is_number(value, int if whole else int | float) or value < 0 or (name in above_zero and value == 0):
                asked = f"{'whole' if whole else 'finite'} number {'above 0' if name in above_zero else 'of 0 or more'}"
                raise ValueError(f"{name} must be a {asked}, got {value!r}")
        if not isinstance(self.scores, Mapping) or not all(_is_number(score) for score in self.scores.values()):
            raise ValueError(f"scores must be a number for each name, got {self.scores!r}")

    @property
    def is_causal(self) -> bool:
        """Whether clips are made chunk by chunk, each behind the clean ones before it."""
        return self.kind == "student" or self.causal_teacher

    def to_json(self) -> str:
        """Readable JSON with every field."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Passport:
        """Inverse of `to_json`. Raises ValueError for fields that are missing, unknown or of the wrong kind."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"it must hold an object with the fields of a passport, got {type(values).__name__}")
        known = {each.name: each for each in fields(cls)}
        if unknown := sorted(values.keys() - known.keys()):
            near = difflib.get_close_matches(unknown[0], known, 1)
            raise ValueError(f"unknown field {unknown[0]!r}" + (f"; perhaps you meant {near[0]!r}" if near else ""))
        required = {n for n, each in known.items() if each.default is MISSING and each.default_factory is MISSING}
        if missing := sorted(required - values.keys()):
            raise ValueError(f"missing field{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
        try:
            for name, build in (("layout", ChunkLayout), ("context", Context)):
                if name in values:
                    values[name] = build(**values[name])
            return cls(**{**values, "levels": tuple(values.get("levels", ()))})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"a field is of the wrong kind: {error}") from error


def _is_number(value: object, kind: type | UnionType = int | float) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]


def read_passport(folder: Path | str) -> Passport:
    """The passport of a model folder. Raises ModelError for a folder without a readable one."""
    file = Path(folder) / PASSPORT
    try:
        return Passport.from_json(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"{folder} is no model folder: it holds no {PASSPORT}; give the folder that a training run wrote as "
            "its model, or the name of a bundled model"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not a passport: {error}; save or fetch the model again") from error


def save_model(
    folder: Path | str,
    passport: Passport | None,
    *,
    transformer: VideoDiT | None = None,
    vae: VideoVAE | None = None,
    text_encoder: TextEncoder | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a model folder whole or not at all; an older model of that path is replaced. `dtype` is that of storage.

    Without a passport the folder only holds parts that other models share.

    Raises OutputError when it cannot be written, or when the path holds something that is no model.
    """
    with atomic_folder(folder) as scratch:
        if transformer is not None:
            save_transformer(transformer, scratch / "transformer", dtype)
        if vae is not None:
            vae.save(scratch / "vae", dtype)
        if text_encoder is not None:
            text_encoder.save(scratch, dtype)
        if passport is not None:
            (scratch / PASSPORT).write_text(passport.to_json(), encoding="utf-8")
    return Path(folder)


@contextmanager
def atomic_folder(folder: Path | str) -> Iterator[Path]:
    """A scratch folder beside `folder` that takes its place when the body ends, and vanishes if it fails."""
    folder = Path(folder)
    scratch: Path | None = None
    try:
        if folder.exists() and not _replaceable(folder):
            raise OutputError(f"cannot write the model {folder}: something else is there; choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        new = scratch / "new"
        new.mkdir()
        yield new
        old = scratch / "old"
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot write the model {folder}: {reason}; free some space or choose another folder"
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _replaceable(folder: Path) -> bool:
    """Whether all that is there is a model of ours; a pipeline of diffusers is one only with a passport."""
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {"a file"}
    return there <= {PASSPORT, *PARTS, *(PIPELINE if PASSPORT in there else ())}


def shared_parts(folder: Path | str, places: Mapping[str, Path]) -> dict[str, str]:
    """`Passport.components` of a model at `folder` whose parts, but for the transformer, are at `places`."""
    return {part: Path(os.path.relpath(places[part], folder)).as_posix() for part in PARTS[1:]}


def bundled_models() -> tuple[Path, ...]:
    """Folders of the models that came with the package."""
    return tuple(ASSETS / name for name in BUNDLED if (ASSETS / name / PASSPORT).is_file())


def resolve_model(name_or_dir: str | Path) -> Path:
    """A model folder by path, or a bundled model (or the parts that they share) by name. Raises ModelError."""
    path, bundled = Path(name_or_dir), ASSETS / str(name_or_dir)
    is_name = path.name == str(name_or_dir)
    if path.is_dir() and ((path / PASSPORT).is_file() or not (is_name and bundled.is_dir())):
        return path
    if is_name and bundled.is_dir():
        return bundled
    if str(name_or_dir) in BUNDLED:
        raise ModelError(
            f"the model '{name_or_dir}' is not in this installation: run `make embedded`, or name a folder"
        )
    near = difflib.get_close_matches(str(name_or_dir), BUNDLED, 1)
    advice = f"perhaps you meant '{near[0]}'" if near else f"choose one of {', '.join(BUNDLED)}, or a model folder"
    raise ModelError(f"no model is called or at '{name_or_dir}': {advice}")
