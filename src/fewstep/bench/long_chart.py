"""What became of a long rollout, as one picture: time, memory, quality and motion along the clip."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewstep.bench.long import LongRollout
from fewstep.files import atomic_output

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"
"""Of Okabe and Ito's palette, which colour-blind readers can tell apart, and which differ in print."""
QUALITY = 2
"""The panel with room for words."""


def draw_long_rollout(made: LongRollout, path: Path) -> None:
    """Write the picture. Raises OutputError."""
    figure = Figure(figsize=(9, 8.5), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    draw = (_draw_time, _draw_memory, _draw_quality, _draw_motion)
    for axes, drawn in zip(panels, draw, strict=True):
        drawn(axes, made)
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    _mark_prompts(panels, made)
    panels[-1].set_xlabel("seconds of the clip")
    panels[-1].set_xlim(0, made.frames / made.settings.fps)
    title = f"{made.settings.model}, {made.settings.told_steps}: {made.frames} pictures on {made.settings.device}"
    figure.suptitle(title, fontsize=10)
    with atomic_output(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png", metadata={"Software": None})


def _draw_time(axes: Axes, made: LongRollout) -> None:
    starts = [chunk.start for chunk in made.chunks]
    for name, colour, values in (
        ("wall clock", BLUE, [1000 * chunk.seconds / chunk.frames for chunk in made.chunks]),
        ("processor, all threads", ORANGE, [1000 * chunk.processor_seconds / chunk.frames for chunk in made.chunks]),
    ):
        axes.plot(starts, values, color=colour, lw=1, marker="o" if colour == BLUE else "s", ms=3, label=name)
    axes.set_ylabel("ms per picture")
    axes.legend(loc="upper right", fontsize=8, ncols=2)
    axes.set_title(f"time per picture: {made.flat['time per picture']}", fontsize=9, loc="left")


def _draw_memory(axes: Axes, made: LongRollout) -> None:
    kinds = made.segments[0].memory_mb if made.segments else {}
    ends = _ends(made)
    for kind, colour, marker in zip(kinds, (BLUE, ORANGE), "os", strict=False):
        axes.plot(ends, [each.memory_mb[kind] for each in made.segments], color=colour, lw=1, marker=marker, ms=3)
        axes.annotate(
            kind, (ends[-1], made.segments[-1].memory_mb[kind]), (-4, -12), textcoords="offset points", ha="right"
        )
    axes.set_ylabel("MB")
    flat = {kind: made.flat[f"memory of the {kind}"] for kind in kinds}
    axes.set_title("; ".join(f"memory of the {kind}: {each}" for kind, each in flat.items()), fontsize=9, loc="left")


def _draw_quality(axes: Axes, made: LongRollout) -> None:
    fps = made.settings.fps
    axes.plot([i / fps for i in range(len(made.quality))], made.quality, color=GREY, lw=0.6)
    for segment, end in zip(made.segments, _ends(made), strict=True):
        axes.hlines(segment.quality, segment.start, end, color=BLUE, lw=1.8)
    axes.set_ylabel("imaging quality")
    told = (
        "too short for drift"
        if (found := made.drift) is None
        else (f"drift {found.score:.2f}, last minus first segment {found.slope:+.1f}, mean {found.quality:.1f}")
    )
    axes.set_title(f"each picture, and segments of 2 s: {told}", fontsize=9, loc="left")


def _draw_motion(axes: Axes, made: LongRollout) -> None:
    middles = [each.start + (end - each.start) / 2 for each, end in zip(made.segments, _ends(made), strict=True)]
    width = 0.8 * (middles[1] - middles[0]) if len(middles) > 1 else 1.0
    for dynamic, colour, hatch in ((True, BLUE, ""), (False, GREY, "///")):
        chosen = [(x, each.motion) for x, each in zip(middles, made.segments, strict=True) if each.dynamic == dynamic]
        places, heights = [x for x, _ in chosen], [height for _, height in chosen]
        if not chosen:
            continue  # a legend entry of no bars would have a colour of its own
        label = "dynamic" if dynamic else "not dynamic"
        axes.bar(places, heights, width=width, color=colour, hatch=hatch, edgecolor="white", label=label)
    axes.legend(loc="upper right", fontsize=8, ncols=2)
    axes.set_ylabel("motion, sides/s")
    axes.set_title(f"speed of what moves fastest: dynamic degree {made.told_dynamic_degree}", fontsize=9, loc="left")


def _mark_prompts(panels: list[Axes], made: LongRollout) -> None:
    """A line in every panel where the prompt changes, and what it changes to."""
    said = made.chunks[0].prompt
    for chunk in made.chunks:
        if chunk.prompt != said:
            said = chunk.prompt
            for axes in panels:
                axes.axvline(chunk.start, color="black", lw=1, ls=":")
            panels[QUALITY].annotate(
                made.settings.prompts[said],
                xy=(chunk.start, 0.05),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8,
            )


def _ends(made: LongRollout) -> list[float]:
    """Seconds into the clip at which each segment ends."""
    length = len(made.quality) / len(made.segments) / made.settings.fps if made.segments else 0.0
    return [each.start + length for each in made.segments]
