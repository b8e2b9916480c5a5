"""What a training run is, as values: a recipe of stages, found by name, written beside its checkpoints as text."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from fewstep.diffusion.rng import Rng
from fewstep.diffusion.steps import Schedule
from fewstep.hardware import Precision
from fewstep.methods.base import Method
from fewstep.models.cache import Context
from fewstep.models.layout import ChunkLayout
from fewstep.sampling import LARGEST_SEED, require_whole

if TYPE_CHECKING:
    from fewstep.training.data import Source
    from fewstep.training.materials import Materials
    from fewstep.training.networks import RecipeNetworks

RECIPES = "fewstep.recipes"
"""Package whose modules short recipe names refer to."""

FREE = re.compile(r"stages\.\d+\.steps|runtime\.(offload_teacher|checkpoint_every|keep|sample_every|log_seconds)")
"""Fields that may change between a run and its resumption without changing what is learned."""


class RecipeError(ValueError):
    """A recipe that does not exist, cannot be built, or is not the one that a folder was trained with."""


@runtime_checkable
class StageMethod(Protocol):
    """A frozen dataclass that can make its method from what training provides (`fewstep.methods.base.MethodConfig`)."""

    def build(self, networks: RecipeNetworks, rng: Rng) -> Method: ...


@runtime_checkable
class DataConfig(Protocol):
    """A frozen dataclass that can open its source of batches."""

    def open(self, materials: Materials) -> Source: ...


@runtime_checkable
class Chunkwise(Protocol):
    """The config of a method whose generator makes clips chunk by chunk."""

    layout: ChunkLayout
    context: Context
    latent_shape: tuple[int, int, int, int]


@runtime_checkable
class Streaming(Chunkwise, Protocol):
    """The config of a method whose generator makes clips chunk by chunk, in few steps."""

    levels: tuple[float, ...]


@runtime_checkable
class Beginning(Protocol):
    """The config of a method that says where the first latent frame of its clips comes from."""

    first_frame: str
    """"given" is a real clip's; all else is the student's own."""


@runtime_checkable
class Respaceable(Protocol):
    """The config of a method that says how fewer steps are cut from its levels."""

    sampling: Schedule


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a run computes and reports. Nothing here is part of a method."""

    device: str = "auto"
    """cpu, cuda or cuda:N; auto is the first GPU, else the CPU."""
    precision: Precision = "auto"
    """Of matrix products; weights stay float32. auto is bfloat16 where the device multiplies it natively."""
    compile: bool = False
    """Compile each transformer block; worth it from a few hundred cycles on."""
    gradient_checkpointing: bool = False
    """Recompute block activations in the backward pass: less memory, about a third more time."""
    offload_teacher: bool = False
    """Keep the frozen teacher's blocks in host memory, each on the GPU in its turn: less memory, hidden by its work."""
    checkpoint_every: int = 50
    """Cycles between checkpoints."""
    keep: int = 2
    """Newest checkpoints kept."""
    sample_every: int = 0
    """Cycles between sample clips and motion checks; 0 makes none."""
    log_seconds: float = 15.0
    """Seconds between progress lines where there is no terminal to draw on."""

    def __post_init__(self) -> None:
        for name, least in (("checkpoint_every", 1), ("keep", 1), ("sample_every", 0)):
            if getattr(self, name) < least:
                raise RecipeError(f"Runtime.{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One method on one kind of data for a number of cycles."""

    name: str
    """Its folder in the run; later stages may start from it by this name."""
    method: StageMethod
    """The method and its hyper-parameters."""
    data: DataConfig
    """Where its batches come from."""
    steps: int
    """Cycles: passes over the method's turns. One cycle of ASD is six optimiser updates."""
    batch: int
    """Clips per batch."""
    accumulate: int = 1
    """Batches per optimiser update."""
    init: str | None = None
    """Where the student starts: a model name or folder, an earlier stage's name, or None for untrained weights."""
    keep_motion: float | None = None
    """Stop once sampled clips move less than this share of the most that they did, or of what real ones do where that
    is less; the result is from the last look before. None: never."""
    look_every: int = 10
    """Cycles between the looks that decide it."""

    def __post_init__(self) -> None:
        if self.keep_motion is not None and not (0 < self.keep_motion <= 1 and isinstance(self.method, Streaming)):
            raise RecipeError(
                f"Stage.keep_motion is a share in (0, 1] of the motion of a causal student's clips, got "
                f"{self.keep_motion} for stage {self.name!r}"
            )
        for name in ("steps", "batch", "accumulate", "look_every"):
            if getattr(self, name) < 1:
                raise RecipeError(f"Stage.{name} of stage {self.name!r} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """The clips that the result makes, as its passport will say."""

    fps: float = 16.0
    """Pixel frames a second (Wan: 16)."""
    height: int = 64
    """Pixels."""
    width: int = 64
    """Pixels."""
    latent_frames: int = 9
    """Of a whole clip."""
    shift: float = 5.0
    """Warp of a teacher's sampling grid."""
    guidance: float = 1.0
    """Of a teacher's samples, in the usual convention; 1 is none."""
    negative_prompt: str = ""
    """The unconditional branch of guidance."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a run learns."""

    name: str
    """As it is called on the command line, such as asd.shapes."""
    stages: tuple[Stage, ...]
    """In order; the last one's generator is the result."""
    preset: str = "shapes"
    """Size of networks that start untrained (`fewstep.models.presets`)."""
    components: str | None = "shapes-base"
    """A model name or folder with vae, text_encoder and tokenizer; None makes untrained tiny ones, for tests."""
    teacher: str | None = None
    """A model name or folder, or an earlier stage's name; None is untrained."""
    fake_score: str | None = None
    """The same for the fake score; None starts it as a copy of the teacher."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """The clips that the result makes."""
    storage: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the exported weights."""
    seed: int = 0
    """Of weights, noise and the order of data."""
    runtime: Runtime = field(default_factory=Runtime)
    """How it computes and reports."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) != len(names):
            raise RecipeError(f"a recipe needs one or more stages with names of their own, got {names}")
        require_whole("Recipe.seed", self.seed, 0, LARGEST_SEED)


def describe(value: Any) -> Any:
    """A recipe, or any part of one, as plain JSON values; every dataclass says its type."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"type": kind} | {f.name: describe(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [describe(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, PurePath) else value


def changes(before: Any, after: Any, name: str = "") -> Iterator[str]:
    """`field: old -> new` for every field in which two described recipes differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from changes(before.get(key), after.get(key), f"{name}.{key}" if name else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from changes(*pair, f"{name}.{index}")
    elif before != after:
        yield f"{name}: {before} -> {after}"


def completed(before: Any, after: Any) -> Any:
    """A recipe that an older version described, with the fields that have come since at their defaults."""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [completed(*pair) for pair in zip(before, after, strict=True)]
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return before
    known = {key: completed(value, after.get(key)) for key, value in before.items()}
    if after.keys() <= before.keys() or "type" not in after or before.get("type") != after["type"]:
        return known
    module, _, name = after["type"].rpartition(".")
    since = [f for f in fields(getattr(importlib.import_module(module), name)) if f.name not in before]
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in since}
    return known | {key: describe(value) for key, value in defaults.items() if value is not MISSING}


def require_same(before: Any, after: Any, where: object) -> None:
    """Raise RecipeError unless two described recipes learn the same thing; stages may have more steps than before."""
    found = changes(completed(before, after), after)
    differing = [line for line in found if not FREE.fullmatch(line.split(": ", 1)[0])]
    if differing:
        raise RecipeError(
            f"{where} was trained with another recipe; these fields changed:\n  "
            + "\n  ".join(differing)
            + "\nset them back to resume, or choose another folder to start anew"
        )


def available() -> list[str]:
    """Names of the recipes that the package brings."""
    return sorted(
        f"{module.name}.{name}"
        for module in pkgutil.iter_modules(importlib.import_module(RECIPES).__path__)
        for name in _functions(importlib.import_module(f"{RECIPES}.{module.name}"))
    )


def resolve(name: str) -> Callable[[], Recipe]:
    """The recipe function called `name`: `asd.shapes` from the package, or any importable dotted function.

    Raises RecipeError, with the nearest names, when there is none.
    """
    module_name, _, function_name = name.rpartition(".")
    if not module_name:
        raise RecipeError(_unknown(name, available()))
    for candidate in (f"{RECIPES}.{module_name}", module_name):
        try:
            module = importlib.import_module(candidate)
        except ModuleNotFoundError as error:
            if error.name and not f"{candidate}.".startswith(f"{error.name}."):
                raise RecipeError(f"recipe {name!r} imports {error.name}, which is not installed") from error
            continue
        function = getattr(module, function_name, None)
        if callable(function) and not isinstance(function, type):
            return function
    raise RecipeError(_unknown(name, available()))


def _functions(module: Any) -> list[str]:
    """Public functions of a module that say they return a recipe."""
    found = inspect.getmembers(module, inspect.isfunction)
    return [name for name, f in found if not name.startswith("_") and f.__annotations__.get("return") == "Recipe"]


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"perhaps you meant {' or '.join(near)}" if near else f"the package has {', '.join(known)}"
    return (
        f"no recipe is called {name!r}: {hint}; a recipe of your own is named by its importable path, such as "
        "my_lab.runs.trial7"
    )
