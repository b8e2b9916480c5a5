"""Step plans: at which noise levels the student is evaluated, for the first chunk and for the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

from fewstep.diffusion.flow import shift_sigma

Schedule = Literal["prefix", "respaced"]
"""How an n-step sampler is cut from a longer one: its first n levels, or n levels spread over all of them."""


@dataclass(frozen=True)
class StepPlan:
    """Noise levels of the evaluations that make one chunk, from 1.0 (pure noise) downwards.

    Raises `ValueError` when a list is empty, does not start at 1.0, or does not descend strictly to above 0.
    """

    first: tuple[float, ...]
    """Levels of the enhanced chunk: the first one, which has no context (ASD Alg. 2: t_1..t_T), or the second."""
    rest: tuple[float, ...]
    """Levels of every other chunk (ASD Alg. 2: t_1..t_R)."""
    enhanced: int = 0
    """Number of the chunk that takes `first`; a later one is the control of First-Frame Enhancement at equal cost."""

    def __post_init__(self) -> None:
        for name in ("first", "rest"):
            sigmas = tuple(float(sigma) for sigma in getattr(self, name))
            object.__setattr__(self, name, sigmas)
            descends = all(high > low for high, low in pairwise(sigmas))
            if not (sigmas and sigmas[0] == 1.0 and sigmas[-1] > 0.0 and descends):
                raise ValueError(
                    f"noise levels must descend strictly from 1.0 to above 0, got {sigmas}: give those that the "
                    "student was trained at; shifted_levels() makes them of a published step list"
                )

    @classmethod
    def uniform(cls, sigmas: Sequence[float]) -> StepPlan:
        """The same levels for every chunk."""
        return cls(tuple(sigmas), tuple(sigmas))

    @property
    def steps(self) -> int:
        """Evaluations of an ordinary chunk."""
        return len(self.rest)

    def enhance_first(self, sigmas: Sequence[float]) -> StepPlan:
        """First-Frame Enhancement: the first chunk gets `sigmas`, the others keep theirs (ASD 3.3)."""
        return StepPlan(tuple(sigmas), self.rest)

    def enhance_second(self, sigmas: Sequence[float]) -> StepPlan:
        """The same evaluations at another place: the second chunk gets `sigmas`."""
        return StepPlan(tuple(sigmas), self.rest, enhanced=1)

    def truncate(self, n: int) -> StepPlan:
        """The n-step sampler G^n that stops after the first n levels: Self Forcing's random exit at step n."""
        return replace(self, first=self.first[: self._checked(n)], rest=self.rest[:n])

    def respace(self, n: int) -> StepPlan:
        """The n-step sampler whose levels spread over the whole list: of four levels, the first and third for n = 2."""
        self._checked(n)
        return replace(self, first=_spread_over(self.first, n), rest=_spread_over(self.rest, n))

    def shorten(self, n: int, schedule: Schedule) -> StepPlan:
        """`truncate` or `respace`, by name. Raises ValueError for another name."""
        if schedule not in get_args(Schedule):
            raise ValueError(f"a schedule must be {' or '.join(get_args(Schedule))}, got {schedule!r}")
        return self.truncate(n) if schedule == "prefix" else self.respace(n)

    def sigmas(self, chunk_index: int) -> tuple[float, ...]:
        """Levels of the chunk with this 0-based index."""
        return self.first if chunk_index == self.enhanced else self.rest

    def num_evaluations(self, num_chunks: int) -> int:
        """Denoising passes for a clip of `num_chunks` chunks; commits of clean context are not counted."""
        return sum(len(self.sigmas(index)) for index in range(num_chunks))

    def _checked(self, n: int) -> int:
        if not 1 <= n <= self.steps:
            raise ValueError(f"a plan of {self.steps} steps can be cut to 1..{self.steps} steps, got n={n}")
        return n


def _spread_over(sigmas: tuple[float, ...], n: int) -> tuple[float, ...]:
    """At most n members of `sigmas`, evenly spaced by position from the first; a network knows only its own levels."""
    count = min(n, len(sigmas))
    return tuple(sigmas[int(i * len(sigmas) / count + 0.5)] for i in range(count))


def shifted_levels(raw: Sequence[int | float] = (1000, 750, 500, 250), shift: float = 5.0) -> tuple[float, ...]:
    """A published step list as sigmas: each entry r becomes shift(r / 1000). A trailing 0, the clean end, is dropped.

    (1000, 750, 500, 250) at shift 5 is (1, .9375, .8333, .625), the list of Self Forcing and ASD.
    """
    entries = tuple(raw[:-1] if raw and raw[-1] == 0 else raw)
    if not all(0 < entry <= 1000 for entry in entries):
        raise ValueError(f"raw step entries must lie in (0, 1000], with at most a trailing 0, got {tuple(raw)}")
    return tuple(shift_sigma(entry / 1000, shift) for entry in entries)


def read_plan_name(name: str) -> tuple[int, str] | None:
    """Steps of a plan's name and its mark: "2*" is (2, "*"), "4" is (4, ""). None for what is no plan's name."""
    match = re.fullmatch(r"([1-9]\d*)([*+]?)", name)
    return None if match is None else (int(match[1]), match[2])


def named_plan(levels: Sequence[float], name: str, schedule: Schedule = "prefix") -> StepPlan:
    """The plan that the tables call "4", "2", "2*", "1", "1*" or "1+" for a student with these `levels`.

    A star gives the first chunk all levels (First-Frame Enhancement, ASD Table 1), a plus the second one, the control
    at equal cost; the number counts the steps of the other chunks, cut from the list by `schedule`.
    """
    full = StepPlan.uniform(levels)
    found = read_plan_name(name.strip())
    if found is None or found[0] > full.steps:
        raise ValueError(
            f"a step plan is named by a count from 1 to {full.steps}, the levels of this model, with an optional star "
            f'for an enhanced first chunk or plus for an enhanced second one, such as "{full.steps}", "1*" or "1+"; '
            f'got "{name}"'
        )
    steps, mark = found
    plan = full.shorten(steps, schedule)
    if not mark:
        return plan
    return plan.enhance_first(full.rest) if mark == "*" else plan.enhance_second(full.rest)
