"""What the video methods ask for: transformers from training, and batches that hold what their losses read."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from fewstep.models.dit import VideoDiT


@runtime_checkable
class StudentNetworks(Protocol):
    """The network that a stage trains."""

    def student(self) -> VideoDiT: ...


@runtime_checkable
class ScoreNetworks(StudentNetworks, Protocol):
    """A student, and the two networks whose scores teach it."""

    def teacher(self) -> VideoDiT: ...

    def fake_score(self) -> VideoDiT: ...


def required(value: Tensor | None, field: str, source: str) -> Tensor:
    """A field of a batch that must be there.

    Raises:
        ValueError: it is None; the message says which kind of data provides it.
    """
    if value is None:
        raise ValueError(f"this method trains on Batch.{field}, got None; give its stage data with {field}: {source}")
    return value
