"""ASD's figures, as items."""

from __future__ import annotations

from typing import Literal

from fewstep.metrics.seeds import Seeded, paired
from fewstep.reproduce import drawings
from fewstep.reproduce.asd.arms import ASD, COSINE, DIMENSION, DMD4, MARGIN, SHARE, SWEEP, arm_of, asd, dmd1, dmd2, dmd4
from fewstep.reproduce.claims import compare
from fewstep.reproduce.evidence import Evidence, difference, first_chunk_gap, later_chunk_gain, preference
from fewstep.reproduce.logs import balance, extra_time, imbalance, lower_loss, steadier
from fewstep.reproduce.paper import Arm, Claim, Figure, Item


def figure4() -> Item:
    """How alike the predictions of the steps are."""
    ours, theirs = (
        arm_of(row, training, f"{title}, 4", "4", ",observed", observe=True)
        for row, training, title in (("asd", ASD, "ASD"), ("dmd4", DMD4, "DMD for 4 steps"))
    )
    return Item(
        key="figure4",
        title="Figures 4 and 9: how alike the predictions of the four steps are",
        about="Predictions of x0 of each chunk at each step of an ordinary rollout, cosines averaged over clips. The "
        "paper's values are read off its colour bar. It does not say whether its frames are latent frames or chunks, "
        "nor whether anything is subtracted; raw cosines are inflated by what all clips share. The first chunk changes "
        "most where it does so beside each later one; the nearest of them is shown.",
        arms=(theirs, ours),
        claims=_claims4(ours, theirs),
        figures=(
            Figure(
                name="asd-figure4",
                title="Similarity of steps, chunk by chunk",
                draw=drawings.similarities((theirs, ours), "chunk"),
            ),
            Figure(
                name="asd-figure4-pixels",
                title="The same of decoded pictures",
                draw=drawings.similarities((theirs, ours), "pixels"),
            ),
        ),
    )


def _claims4(ours: Arm, theirs: Arm) -> tuple[Claim, ...]:
    readings = (("chunk", "as the paper has it"), ("chunk.centred", "what all clips share taken away"))
    first = tuple(
        Claim(
            says=f"{title}'s first chunk changes most from step to step ({how})",
            source="Figure 4, §3.3",
            statistic=first_chunk_gap(arm, reading),
            needs=(arm,),
            margin=COSINE,
            unit="cosine",
            published=0.29 if arm is theirs and reading == "chunk" else None,  # printed of Self Forcing alone (§3.3)
        )
        for title, arm in (("DMD", theirs), ("ASD", ours))
        for reading, how in readings
    )
    later = Claim(
        says="Later chunks change less with ASD than with DMD",
        source="Figure 9, App. C",
        statistic=later_chunk_gain(ours, theirs, "chunk"),
        needs=(ours, theirs),
        margin=COSINE,
        unit="cosine",
    )
    return (*first, later)


def figure6() -> Item:
    """Preferences, by an automatic judge."""
    pairs = (("4", asd["4"], dmd4["4"], 0.0), ("2", asd["2*"], dmd2, 62.0), ("1", asd["1*"], dmd1, 96.0))
    claims = tuple(
        Claim(
            says=f"At {steps} the judge {'has no favourite' if steps == '4' else 'prefers ASD'}",
            source="Figure 6",
            statistic=preference(ours, theirs),
            needs=(ours, theirs),
            kind="same" if steps == "4" else "more",
            margin=SHARE,
            unit="% wins less losses",
            published=value,
        )
        for steps, ours, theirs, value in pairs
    )
    return Item(
        key="figure6",
        title="Figure 6: preference, by an automatic judge",
        about="No people were asked. In their place the recogniser says which of two clips of one prompt and noise "
        "shows more of what the prompt states; equal is a tie. `fewstep study` makes the page for people. The paper "
        "had 12 raters and 48 votes for each baseline.",
        arms=tuple(arm for _, ours, theirs, _ in pairs for arm in (ours, theirs)),
        claims=claims,
    )


def figure8() -> Item:
    """Every dimension."""
    better = ("object_class", "multiple_objects", "spatial_relationship", "scene", "dynamic_degree")
    claims = tuple(
        compare(
            f"At 1 step ASD is better in {name.replace('_', ' ')}", "Figure 8, App. B", asd["1*"], dmd1, name, DIMENSION
        )
        for name in better
    )
    return Item(
        key="figure8",
        title="Figure 8: every dimension at 1 and 2 steps",
        about="The paper's radar of 16 dimensions as differences with intervals; aesthetic quality has no honest "
        "counterpart here. Only the gains that its text names are claims.",
        arms=(asd["2*"], dmd2, asd["1*"], dmd1),
        claims=claims,
        figures=(
            Figure(
                name="asd-figure8",
                title="ASD minus retrained DMD, by dimension",
                draw=drawings.forest({"2* against 2": (asd["2*"], dmd2), "1* against 1": (asd["1*"], dmd1)}),
            ),
        ),
    )


def figure11() -> Item:
    """The sweep of alpha."""
    arms = {
        (alpha, plan): arm_of(f"alpha{alpha:g}", training, f"α = {alpha:g}, {plan}", plan)
        for alpha, training in SWEEP.items()
        for plan in ("4", "2*", "1*")
    }
    arms |= {(0.1, plan): asd[plan] for plan in ("4", "2*", "1*")}
    others = sorted({alpha for alpha, _ in arms if alpha})

    def claim(says: str, plan: str, kind: Literal["more", "same"] = "more") -> Claim:
        used = tuple(arms[alpha, plan] for alpha in (0.0, *others))
        gains = [difference(arms[alpha, plan], arms[0.0, plan], "total") for alpha in others]

        def statistic(evidence: Evidence) -> tuple[Seeded, ...]:
            return tuple(gain(evidence) for gain in gains)

        source = "Figure 11, App. F"
        return Claim(says=says, source=source, statistic=statistic, needs=used, kind=kind, margin=MARGIN["total"])

    claims = (
        claim("At 4 steps the weight of ASD's loss makes no difference", "4", "same"),
        claim("At 2* any weight above 0 is better than none", "2*"),
        claim("At 1* any weight above 0 is better than none", "1*"),
    )
    return Item(
        key="figure11",
        title="Figure 11: the weight α of the adversarial loss",
        about="The paper's values of α are only in its plot. Each α above 0 is compared with "
        "α = 0: each gain is asked to be above 0, at 4 steps to be small, and the one furthest from that is shown.",
        arms=tuple(arms.values()),
        claims=claims,
        figures=(Figure(name="asd-figure11", title="Total by α", draw=drawings.sweep(arms, "α")),),
    )


def figure13() -> Item:
    """The DMD loss and the time of training."""
    claims = (
        Claim(
            says="ASD's DMD loss fluctuates less",
            source="Figure 13, App. I",
            statistic=steadier(ASD, DMD4),
            margin=0.1,
            unit="log of the ratio of variances",
            published=2.03,
        ),
        Claim(
            says="ASD's DMD loss is lower",
            source="App. I",
            statistic=lower_loss(ASD, DMD4),
            margin=5.0,
            unit="%",
            published=9.1,
        ),
        Claim(
            says="ASD takes about a fifth more time to train",
            source="App. I",
            kind="same",
            margin=10.0,
            unit="%",
            statistic=lambda evidence: paired(lambda more: more - 20.0, extra_time(ASD, DMD4)(evidence)),
            published=0.0,
        ),
    )
    return Item(
        key="figure13",
        title="Figure 13: the DMD loss in training, and what training costs",
        about="The loss as Self Forcing logs it, half the mean square of the normalised gradient, after the first "
        "fifth of the run, trend taken away; blocks of neighbouring cycles are resampled. The time is "
        "that of a cycle, minus the 20 % that the paper tells.",
        trainings=(ASD, DMD4),
        claims=claims,
        figures=(
            Figure(name="asd-figure13", title="DMD loss", draw=drawings.losses({"DMD for 4 steps": DMD4, "ASD": ASD})),
        ),
    )


def figure14() -> Item:
    """The logit gap."""
    claims = tuple(
        Claim(
            says=f"The logit gap of {n} and {n + 1} steps stays about 0, without a trend",
            source="Figure 14, App. I",
            statistic=balance(ASD, n),
            margin=0.25,
            unit="in 1 - |mean| / deviation",
            faults=imbalance(ASD, n),
        )
        for n in (1, 2, 3)
    )
    return Item(
        key="figure14",
        title="Figure 14: the discriminator's logit gap in training",
        about="Of n + 1 and n steps, over the second half of the run. A trend of the gap, or a discriminator whose "
        "accuracy rests at 0 or 1, speaks against balance whatever the mean is.",
        trainings=(ASD,),
        claims=claims,
        figures=(Figure(name="asd-figure14", title="Logit gap by n", draw=drawings.gaps(ASD, (1, 2, 3))),),
    )
