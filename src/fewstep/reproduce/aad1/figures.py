"""AAD-1's figures, its latency and its costs, as items."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.reproduce import drawings
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import Evidence, Missing
from fewstep.reproduce.logs import extra_time
from fewstep.reproduce.paper import Arm, Claim, Figure, Item, Model, Row, Table, Training

FIGURE9 = "Figure 9, §5.2"


def penalty(twenty: Arm, start: Model) -> Item:
    """Figure 9: the weight of R1 and R2."""
    arms = {20.0: twenty}
    for weight in (0, 50):
        training = Training(recipe=f"aad1.figure9_lambda_{weight}", start=start)
        arms[float(weight)] = Arm(
            key=f"lambda{weight}@1,i2v", title=f"λ = {weight}", model=Model(training), plan="1", from_picture=True
        )
    measures = {
        "clip.imaging_quality": "Imaging",
        "clip.grid_energy": "grid, dB",
        "clip.dynamic_degree": "Dynamic",
        "total": "Total",
    }
    claims = (
        compare(
            "Without the penalty imaging quality collapses", FIGURE9, arms[20.0], arms[0.0], "clip.imaging_quality", 2.0
        ),
        compare("Too much of it draws grids (dB)", FIGURE9, arms[50.0], arms[20.0], "clip.grid_energy", 1.0),
    )
    return Item(
        key="figure9",
        title="Figure 9: the weight λ of the penalty",
        about="The paper shows pictures. Here imaging quality stands for collapse, and the energy of a grid at 8 or 16 "
        "pixels, the sides of a latent cell and of a patch, for its grid-like patterns.",
        arms=tuple(arms[weight] for weight in sorted(arms)),
        tables=(
            Table(
                measures=measures, rows=tuple(Row(label=f"λ = {weight:g}", arm=arms[weight]) for weight in sorted(arms))
            ),
        ),
        claims=claims,
        figures=(
            Figure(
                name="aad1-figure9",
                title="Imaging quality by λ",
                draw=drawings.sweep({(weight, "1"): arm for weight, arm in arms.items()}, "λ", "clip.imaging_quality"),
            ),
        ),
    )


def latency(one: Arm, four: Arm) -> Item:
    """Table 5."""
    published = {"1": {"seconds": 0.289, "rate": 43.37}, "4": {"seconds": 0.714, "rate": 17.70}}
    rows = tuple(
        Row(
            label=f"{plan} evaluation{'s' * (plan != '1')} a chunk",
            published=published[plan],
            arm=arm,
            values={"seconds": _seconds(arm), "rate": _rate(arm)},
        )
        for plan, arm in (("1", one), ("4", four))
    )
    claim = Claim(
        says="One evaluation a chunk is less than four times as fast as four",
        source="Table 5",
        statistic=lambda evidence: _certain(4 - evidence_ratio(evidence, four, one)),
        needs=(one, four),
        margin=0.1,
        unit="times",
        published=4 - 2.47,
    )
    return Item(
        key="table5",
        title="Table 5: latency and throughput",
        about="There of one chunk on an H100 at 1.3B, here of a whole clip of the embedded model on this machine, "
        "decoding included, clips made one by one. Committing each chunk and decoding it cost the same at any number "
        "of steps.",
        arms=(one, four),
        tables=(Table(measures={"seconds": "seconds", "rate": "pictures a second"}, rows=rows),),
        claims=(claim,),
    )


def cost(bidirectional: Training, causal: Training) -> Item:
    """Appendix C."""
    claim = Claim(
        says="A causal discriminator takes longer to train than a bidirectional one",
        source="App. C",
        statistic=extra_time(causal, bidirectional),
        margin=5.0,
        unit="%",
        published=100 * (65 / 49 - 1),
    )
    return Item(
        key="appendixC",
        title="Appendix C: what the discriminators cost",
        about="Seconds of a cycle of stage III. The paper's causal mask runs on a slower kernel; ours is built of "
        "views that any attention can take, and nine latent frames are few. Its 1040 GB against 830 are of 64 GPUs.",
        trainings=(bidirectional, causal),
        claims=(claim,),
    )


def causal_teacher() -> Item:
    """Figure 8."""
    return Item(
        key="figure8",
        title="Figure 8: drift of a causal teacher of many steps",
        about="The paper shows one long rollout of a causal model that takes all its steps.",
        absent="Not run: a causal teacher samples chunk by chunk in many steps, which no arm of this report does yet; "
        "`fewstep train causal_forcing.shapes` trains one.",
    )


def evidence_ratio(evidence: Evidence, slow: Arm, fast: Arm) -> float:
    """How many times longer a clip takes."""
    return _median(evidence, slow) / _median(evidence, fast)


def _seconds(arm: Arm) -> Callable[[Evidence], Estimate]:
    return lambda evidence: _over_seeds([cell.timing.seconds for cell in evidence.of(arm).cells if cell.timing])


def _rate(arm: Arm) -> Callable[[Evidence], Estimate]:
    def statistic(evidence: Evidence) -> Estimate:
        cells = [cell for cell in evidence.of(arm).cells if cell.timing]
        frames = evidence.of(arm).array("imaging")[0].shape[1]
        return _over_seeds([frames / cell.timing.seconds for cell in cells if cell.timing])

    return statistic


def _median(evidence: Evidence, arm: Arm) -> float:
    seconds = evidence.of(arm).seconds
    if seconds is None:
        raise Missing(f"{arm.title} was not timed")
    return seconds


def _over_seeds(values: list[float]) -> Estimate:
    """Median, and the range, for clocks have no bootstrap."""
    if not values:
        return Estimate(math.nan, math.nan, math.nan, 0)
    return Estimate(float(np.median(values)), min(values), max(values), len(values))


def _certain(value: float) -> Estimate:
    """A ratio of medians of clocks: its interval is the value."""
    return Estimate(value, value, value, 1)
