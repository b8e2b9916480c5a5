"""A paper as values: which models it compares, what it printed, what it claims, and what each of that needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fewstep.metrics.seeds import Seeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from fewstep.reproduce.evidence import Evidence

Scale = Literal["shapes", "wan"]
Quantity = Callable[["Evidence"], Seeded]
"""Of every training seed, resampled. Raises Missing."""
Statistic = Callable[["Evidence"], Seeded | tuple[Seeded, ...]]
"""A quantity, or several, of which a claim says the same. Raises Missing."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A recipe that is trained once for each training seed."""

    recipe: str
    variant: str = ""
    """Name of its options, part of the folder's name."""
    options: tuple[str, ...] = ()
    """As they stand on the command line of `fewstep train`."""
    start: Model | None = None
    """A student of another run that its first stage starts from, of the same training seed."""

    @property
    def key(self) -> str:
        """`asd.shapes`, or `asd.shapes.alpha0.3`."""
        return f"{self.recipe}.{self.variant}" if self.variant else self.recipe

    def folder(self, runs: Path, seed: int) -> Path:
        """Where the run of a seed lies: seed 0 under the key, the others with their number behind it."""
        return runs / (self.key if seed == 0 else f"{self.key}.seed{seed}")


@dataclass(frozen=True)
class Model:
    """Weights: those of a run, of one of its stages, or of a bundled model."""

    source: Training | str
    part: str = "model"
    """Folder in the run's: `model` is its result, `warmup/model` that of a stage."""

    def where(self, runs: Path, seed: int) -> str:
        """Folder or bundled name."""
        return self.source if isinstance(self.source, str) else str(self.source.folder(runs, seed) / self.part)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of making clips: a model at a plan. Its training seeds are its repetitions."""

    key: str
    """`asd@2*`: a row and a plan, and what else is special."""
    title: str
    model: Model
    plan: str
    """`4`, `2*`, `1`; `1+` for the control of `1*` at equal cost; a teacher's Euler steps."""
    length: int = 1
    """Times the trained length."""
    enlarge: int = 1
    """Times the trained height and width."""
    from_picture: bool = False
    """Clips begin with the first picture of the true ones."""
    noise: int = 0
    """Seed of the noise. Arms that are compared clip by clip share it, independent sets do not."""
    observe: bool = False
    """Also record how alike the predictions of every step are."""

    @property
    def row(self) -> str:
        """`asd` of `asd@2*`."""
        return self.key.partition("@")[0]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table: what was printed, and the arm that stands for it here."""

    label: str
    published: Mapping[str, float] = field(default_factory=dict)
    """By measure, in percent where the paper's own scale is one."""
    arm: Arm | None = None
    values: Mapping[str, Quantity] = field(default_factory=dict)
    """Ours by measure, where it is no mean over an arm's clips."""
    note: str = ""
    """Why there is no arm, or how it differs."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Published rows beside ours."""

    measures: Mapping[str, str]
    """Measure of ours by its name, and the paper's heading."""
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of the paper, as a number that is above 0 if the sentence is true, or near 0."""

    says: str
    """As a reader would put it."""
    source: str
    """Where the paper says so."""
    statistic: Statistic
    needs: tuple[Arm, ...] = ()
    """Arms that it compares; none where it is read from logs."""
    kind: Literal["more", "same"] = "more"
    margin: float
    """Fixed in advance: for "more" the least difference that counts, for "same" the largest that does not."""
    unit: str = "points"
    published: float | None = None
    """The same quantity from the paper's numbers."""
    faults: Callable[[Evidence], Mapping[int, Sequence[str]]] | None = None
    """What else speaks against it, by training seed, whatever the number is."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing from our data."""

    name: str
    """File name without suffix."""
    title: str
    draw: Callable[[Evidence], Drawing]
    """Raises Missing."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or figure of the paper."""

    key: str
    """`table1`."""
    title: str
    about: str
    """What stands here for what the paper did, and where the two differ."""
    arms: tuple[Arm, ...] = ()
    trainings: tuple[Training, ...] = ()
    """Runs whose logs it reads, beside those of its arms' models."""
    tables: tuple[Table, ...] = ()
    claims: tuple[Claim, ...] = ()
    figures: tuple[Figure, ...] = ()
    absent: str = ""
    """Why the item as a whole cannot be made here, where it cannot."""

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model that it measures."""
        return tuple(dict.fromkeys(arm.model for arm in self.arms))


@dataclass(frozen=True, kw_only=True)
class Paper:
    """All of it."""

    key: str
    title: str
    reference: str
    items: tuple[Item, ...]
    controls: tuple[Arm, ...] = ()
    """Arms of the page of controls, beside ground truth and what is done to it."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """What the paper prints and no item has, and why."""

    def arms(self) -> list[Arm]:
        """Every arm once."""
        found = [arm for item in self.items for arm in item.arms] + list(self.controls)
        return list(dict.fromkeys(found))

    def trainings(self) -> list[Training]:
        """Every run that something needs, each after the one it starts from."""
        asked: list[Training] = []

        def add(training: Training | str) -> None:
            if isinstance(training, str) or training in asked:
                return
            if training.start is not None:
                add(training.start.source)
            asked.append(training)

        for item in self.items:
            for training in (*item.trainings, *(model.source for model in item.models)):
                add(training)
        for arm in self.controls:
            add(arm.model.source)
        return asked

    def select(self, keys: tuple[str, ...]) -> Paper:
        """The paper with these items only. Raises ValueError for one that it does not have."""
        known = [item.key for item in self.items]
        if unknown := [key for key in keys if key not in known]:
            raise ValueError(f"an item of {self.title} is required, got '{unknown[0]}': choose from {', '.join(known)}")
        return replace(self, items=tuple(item for item in self.items if item.key in keys)) if keys else self
