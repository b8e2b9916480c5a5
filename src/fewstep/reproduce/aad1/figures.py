"""AAD-1's figures, its latency and its costs, as items."""

from __future__ import annotations

from fewstep.metrics.seeds import Missing, Seeded, paired, seeded
from fewstep.reproduce import drawings
from fewstep.reproduce.aad1.arms import SHARE
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import Evidence, preference
from fewstep.reproduce.logs import extra_time
from fewstep.reproduce.paper import Arm, Claim, Figure, Item, Model, Quantity, Row, Table, Training

FIGURE9 = "Figure 9, §5.2"
LARGE = {"1": {"seconds": 1.134, "rate": 14.33}, "4": {"seconds": 2.822, "rate": 5.71}}
"""Table 5's columns of 14B."""


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
    rows += tuple(
        Row(
            label=f"{plan} evaluation{'s' * (plan != '1')} a chunk, 14B", published=printed, note="one size is embedded"
        )
        for plan, printed in LARGE.items()
    )
    claim = Claim(
        says="One evaluation a chunk is less than four times as fast as four",
        source="Table 5",
        statistic=_less_than_four(one, four),
        needs=(one, four),
        margin=0.1,
        unit="times",
        published=4 - 2.47,
    )
    return Item(
        key="table5",
        title="Table 5: latency and throughput",
        about="There of one chunk on an H100 at 1.3B, here of a whole clip of the embedded model on this machine, "
        "decoding included, clips made one by one: the median of a few, seed by seed, on a machine that may be busy. "
        "Committing each chunk and decoding it cost the same at any number of steps.",
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
        about="The paper shows one long rollout of a causal model that takes all its steps, trained by Diffusion "
        "Forcing.",
        absent="Not run: `fewstep train causal_forcing.shapes` leaves a causal teacher in `causal/model`, and "
        "`fewstep sample` samples it in all its steps; but it is trained by teacher forcing, behind clean "
        "frames instead of noised ones, and would answer another question than the figure's.",
    )


def preferred(ours: Arm, theirs: Arm) -> Item:
    """Figure 5."""
    claim = Claim(
        says="The judge prefers one step of stage III to four of DMD",
        source="Figure 5, §5.1",
        statistic=preference(ours, theirs),
        needs=(ours, theirs),
        margin=SHARE,
        unit="% wins less losses",
    )
    return Item(
        key="figure5",
        title="Figure 5: preference, by an automatic judge",
        about="No people were asked, and the paper's rates are only in its figure. The recogniser says which of two "
        "clips of one picture, prompt and noise shows more of what the prompt states; equal is a tie. `fewstep study` "
        "makes the page for people.",
        arms=(ours, theirs),
        claims=(claim,),
    )


def _less_than_four(one: Arm, four: Arm) -> Quantity:
    """4 less how many times longer a clip of four evaluations takes, seed by seed."""

    def statistic(evidence: Evidence) -> Seeded:
        sides = _seconds(four)(evidence), _seconds(one)(evidence)
        return paired(lambda slow, fast: 4 - slow / fast, *sides)

    return statistic


def _seconds(arm: Arm) -> Quantity:
    """Of a clip, its median, for every seed. Clocks are not resampled."""

    def statistic(evidence: Evidence) -> Seeded:
        samples = evidence.of(arm)
        timed = [cell.timing for cell in samples.cells if cell.timing]
        if len(timed) < len(samples.cells):
            raise Missing(f"{arm.title} was not timed")
        return seeded(samples.seeds, [timing.seconds for timing in timed], min(timing.clips for timing in timed))

    return statistic


def _rate(arm: Arm) -> Quantity:
    """Pictures a second."""

    def statistic(evidence: Evidence) -> Seeded:
        frames = evidence.of(arm).array("imaging")[0].shape[1]
        return paired(lambda seconds: frames / seconds, _seconds(arm)(evidence))

    return statistic
