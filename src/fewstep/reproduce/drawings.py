"""Figures from our data, for print and for every eye: eight colours that differ in lightness too, marks and dashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from fewstep.evaluation.shapebench import DIMENSIONS
from fewstep.metrics.dynamics import Series
from fewstep.metrics.seeds import Missing, half_width, standard_error
from fewstep.reproduce.evidence import ON_FRAMES, Evidence, Samples, difference, similarity_matrices
from fewstep.reproduce.logs import DMD, series_of
from fewstep.reproduce.paper import Arm, Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[[Evidence], Figure]
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7f7f7f")
"""Okabe and Ito's, in an order of falling contrast."""
MARKS, DASHES = "osD^vPX*", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), "-", "--")
SMOOTHING = 0.9
INK = "#333333"


def panels(count: int, *, width: float = 3.6, height: float = 3.0, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure of `count` plain panels."""
    rows = -(-count // columns)
    across = min(count, columns)
    figure = Figure(figsize=(width * across, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, across, index + 1) for index in range(count)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK, labelsize=8)
        for text in (axis.xaxis.label, axis.yaxis.label):
            text.set_fontsize(9)
    return figure, axes


def present(evidence: Evidence, arms: Sequence[Arm]) -> list[Samples]:
    """Those arms that were measured. Raises Missing where none was."""
    found = [evidence.samples[arm] for arm in arms if arm in evidence.samples]
    if not found:
        evidence.of(arms[0])
    return found


def totals_by_cost(groups: Mapping[str, Sequence[Arm]], measure: str = "total") -> Draw:
    """A measure against network evaluations per clip, with intervals."""

    def draw(evidence: Evidence) -> Figure:
        figure, (axis,) = panels(1, width=6.2, height=3.8)
        costs: set[int] = set()
        for place, (name, arms) in enumerate(groups.items()):
            found = [evidence.samples[arm] for arm in arms if arm in evidence.samples]
            found = [samples for samples in found if samples.evaluations is not None]
            if not found:
                continue
            _with_bars(axis, [(s.evaluations or 0, s.estimate(measure)) for s in found], place, name)
            # neighbours at the same cost have their labels on either side
            beside: dict[str, Any] = {"xytext": (-5, 5), "ha": "right"} if place % 2 else {"xytext": (5, 5)}
            costs |= {samples.evaluations or 0 for samples in found}
            for samples in found:
                at = (samples.evaluations or 0, samples.estimate(measure).value)
                axis.annotate(samples.arm.plan, at, textcoords="offset points", fontsize=8, color=INK, **beside)
        if not costs:
            evidence.of(next(iter(groups.values()))[0])
        axis.set(xscale="log", xlabel="network evaluations a clip", ylabel=f"ShapeBench {measure}")
        axis.set_xticks(sorted(costs))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.legend(frameon=False, fontsize=8)
        return figure

    return draw


def factorial(sides: Mapping[str, Mapping[str, Arm]], steps: Sequence[str]) -> Draw:
    """Total of each side, plain, with the first chunk enhanced, and with the second."""

    def draw(evidence: Evidence) -> Figure:
        figure, axes = panels(len(steps))
        marks = {"": "plain", "*": "first chunk", "+": "second chunk"}
        for axis, count in zip(axes, steps, strict=True):
            for place, (name, arms) in enumerate(sides.items()):
                found = [
                    (at, arms[count + mark]) for at, mark in enumerate(marks) if arms[count + mark] in evidence.samples
                ]
                points = [(at + 0.08 * place, evidence.of(arm).estimate("total")) for at, arm in found]
                if points:
                    _with_bars(axis, points, place, name)
            axis.set(xticks=range(3), xticklabels=marks.values(), ylabel="Total")
            axis.set_title(f"{count} step{'s' * (count != '1')}", fontsize=9)
        if not axes[0].lines:
            evidence.of(next(iter(sides.values()))[steps[0]])
        axes[0].legend(frameon=False, fontsize=8)
        return figure

    return draw


def along_time(arms: Sequence[Arm]) -> Draw:
    """Mean imaging quality of each frame along long clips, with its interval, seeds being the unit."""

    def draw(evidence: Evidence) -> Figure:
        found = present(evidence, arms)
        figure, (axis,) = panels(1, width=7.0, height=3.4)
        for place, samples in enumerate(found):
            films = np.stack(samples.array("imaging"))
            seconds = np.arange(films.shape[2]) / 16.0
            mean, by_clip = films.mean((0, 1)), films.mean(0)
            reach = half_width(standard_error(films.mean(1), 0), standard_error(by_clip, 0), len(films))
            name = samples.arm.title if samples.moves else f"{samples.arm.title} (hardly moves)"
            axis.plot(seconds, mean, color=COLOURS[place], ls=DASHES[place], label=name, lw=1.5)
            axis.fill_between(seconds, mean - reach, mean + reach, color=COLOURS[place], alpha=0.15, lw=0)
        axis.set(xlabel="seconds", ylabel="imaging quality, 0 to 100")
        axis.legend(frameon=False, fontsize=8)
        return figure

    return draw


def similarities(arms: Sequence[Arm], reading: str) -> Draw:
    """Matrices of each block, a row of panels for each arm."""

    def draw(evidence: Evidence) -> Figure:
        found = [(samples, similarity_matrices(samples, reading)) for samples in present(evidence, arms)]
        blocks = max(len(matrices) for _, matrices in found)
        figure, axes = panels(len(found) * blocks, width=2.2, height=2.3, columns=blocks)
        lowest = min(matrix.min() for _, matrices in found for matrix in matrices)
        for place, (samples, matrices) in enumerate(found):
            for block, matrix in enumerate(matrices):
                axis = axes[place * blocks + block]
                axis.imshow(matrix, vmin=lowest, vmax=1.0, cmap="cividis")
                for (row, column), value in np.ndenumerate(matrix):
                    dark = value < (lowest + 1) / 2
                    axis.text(
                        column,
                        row,
                        f"{value:.2f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color="white" if dark else "black",
                    )
                names = [str(step + 1) for step in range(len(matrix))]
                axis.set_title(f"{samples.arm.title}: chunk {block + 1}", fontsize=9)
                axis.set(
                    xticks=range(len(names)),
                    yticks=range(len(names)),
                    xticklabels=names,
                    yticklabels=names,
                )
        return figure

    return draw


def forest(pairs: Mapping[str, tuple[Arm, Arm]], measures: Sequence[str] = DIMENSIONS) -> Draw:
    """Differences of every measure, by default ShapeBench's dimensions, with intervals."""

    def draw(evidence: Evidence) -> Figure:
        figure, (axis,) = panels(1, width=6.4, height=0.9 + 0.26 * len(measures))
        for place, (name, (ours, theirs)) in enumerate(pairs.items()):
            if ours not in evidence.samples or theirs not in evidence.samples:
                continue
            found = [difference(ours, theirs, each)(evidence).estimate() for each in measures]
            heights = len(measures) - 1 - np.arange(len(measures)) + 0.18 * (place - 0.5)
            values = np.array([each.value for each in found])
            reach = np.abs(np.array([[each.low, each.high] for each in found]).T - values)
            axis.errorbar(values, heights, xerr=reach, fmt=MARKS[place], color=COLOURS[place], ms=4, lw=1, label=name)
        if not axis.containers:
            for arm in (arm for pair in pairs.values() for arm in pair):
                evidence.of(arm)
        axis.axvline(0, color=INK, lw=0.8)
        names = [each.removeprefix(ON_FRAMES).replace("_", " ") for each in reversed(measures)]
        axis.set(yticks=range(len(measures)), yticklabels=names, xlabel="difference in points")
        axis.legend(frameon=False, fontsize=8)
        return figure

    return draw


def sweep(arms: Mapping[tuple[float, str], Arm], name: str, measure: str = "total") -> Draw:
    """A measure by a parameter, a line for each plan. The values are spaced evenly, for 0 has no logarithm."""

    def draw(evidence: Evidence) -> Figure:
        figure, (axis,) = panels(1, width=5.6, height=3.4)
        values = sorted({value for value, _ in arms})
        for place, plan in enumerate(dict.fromkeys(plan for _, plan in arms)):
            found = [
                (at, arms[value, plan]) for at, value in enumerate(values) if arms[value, plan] in evidence.samples
            ]
            if len(found) > 1:
                points = [(at, evidence.of(arm).estimate(measure)) for at, arm in found]
                _with_bars(axis, points, place, f"{plan} steps", line=True)
        if not axis.containers:
            raise Missing(_first_absence(evidence, list(arms.values())))
        axis.set(xticks=range(len(values)), xticklabels=[f"{value:g}" for value in values], xlabel=name, ylabel=measure)
        axis.legend(frameon=False, fontsize=8)
        return figure

    return draw


def losses(runs: Mapping[str, Training]) -> Draw:
    """The DMD loss of every seed, faint, and smoothed."""

    def draw(evidence: Evidence) -> Figure:
        return _curves(evidence, [(name, training, DMD) for name, training in runs.items()], "DMD loss")

    return draw


def gaps(training: Training, counts: Sequence[int]) -> Draw:
    """The logit gap of every n."""

    def draw(evidence: Evidence) -> Figure:
        signals = [(f"n = {n}", training, f"discriminator/gap_n{n}") for n in counts]
        figure = _curves(evidence, signals, "logit gap")
        figure.axes[0].axhline(0, color=INK, lw=0.8)
        return figure

    return draw


def _curves(evidence: Evidence, signals: Sequence[tuple[str, Training, str]], label: str) -> Figure:
    figure, (axis,) = panels(1, width=7.0, height=3.2)
    for place, (name, training, signal) in enumerate(signals):
        for number, series in enumerate(series_of(evidence, training, signal).values()):
            style: dict[str, Any] = {"color": COLOURS[place], "ls": DASHES[place]}
            axis.plot(series.cycles, series.values, alpha=0.2, lw=0.8, **style)
            axis.plot(series.cycles, _smoothed(series), lw=1.5, label=None if number else name, **style)
    axis.set(xlabel="cycle", ylabel=label)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _smoothed(series: Series) -> np.ndarray:
    """Exponential moving average without the start's bias."""
    mean, weight, result = 0.0, 0.0, []
    for value in series.values:
        mean, weight = SMOOTHING * mean + (1 - SMOOTHING) * value, SMOOTHING * weight + (1 - SMOOTHING)
        result.append(mean / weight)
    return np.array(result)


def _with_bars(axis: Axes, points: Sequence[tuple[float, Any]], place: int, name: str, *, line: bool = False) -> None:
    x, estimates = zip(*points, strict=True)
    values = np.array([each.value for each in estimates])
    reach = np.abs(np.array([[each.low, each.high] for each in estimates]).T - values)
    style = DASHES[place] if line else ""
    axis.errorbar(
        x, values, yerr=reach, fmt=MARKS[place], ls=style, color=COLOURS[place], ms=5, lw=1, capsize=2, label=name
    )


def _first_absence(evidence: Evidence, arms: Sequence[Arm]) -> str:
    return next((evidence.absent[arm] for arm in arms if arm in evidence.absent), "fewer than two values were measured")
