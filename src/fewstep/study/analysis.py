"""What the answers say: wins, ties and losses with intervals, strengths of the models, agreement of the raters."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from fewstep.metrics.base import Estimate
from fewstep.metrics.intervals import COUNT, interval
from fewstep.metrics.significance import holm, sign_test, wilson
from fewstep.study.agreement import interval_scale, krippendorff, nominal
from fewstep.study.answers import Answer
from fewstep.study.davidson import strengths
from fewstep.study.pairs import Study

OUTCOMES = np.array([1, 0, -1])
"""The first model won, neither, the second won."""


@dataclass(frozen=True)
class Vote:
    """One answer, unblinded."""

    rater: str
    pair: str
    prompt: str
    match: tuple[str, str]
    """The two models, the one named earlier in the study first."""
    outcome: int
    """1 where the first model's clip was better, -1 where the second's, 0 where they were similar."""


@dataclass(frozen=True)
class Comparison:
    """Two models, as seen from the first."""

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    share: float
    """Of preferences, in which a tie counts as half for each."""
    wilson: tuple[float, float]
    """Interval of the share as if all answers were independent."""
    clustered: Estimate
    """The same from resampled raters and prompts."""
    p: float
    """Exact sign test of wins against losses."""
    p_holm: float
    """Adjusted for the number of comparisons."""


@dataclass(frozen=True)
class Rater:
    """How one person answered."""

    name: str
    answers: int
    similar: int
    skipped: int
    left: int
    """Answers that preferred the clip on the left."""
    seconds: float
    """Median time of an answer."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All numbers of a study."""

    study: str
    title: str
    answers: int
    skipped: int
    """Answers to pairs that could not be played; nothing else counts them."""
    prompts: int
    comparisons: tuple[Comparison, ...]
    strengths: dict[str, Estimate]
    """Natural logarithms; their mean is 0. NaN where no chain of comparisons joins the models."""
    tie_weight: Estimate
    """Davidson's v: 0 without ties, 1 where a tie is as likely as each win between equals."""
    agreement: Estimate
    """Krippendorff's alpha, with a tie halfway between a win and a loss."""
    agreement_nominal: Estimate
    """The same with three answers that merely differ."""
    left: Estimate
    """Share of the left side among the answers that preferred one, with Wilson's interval."""
    raters: tuple[Rater, ...]

    def to_json(self) -> str:
        """A readable text; null is what could not be told."""
        return json.dumps(_plain(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def unblind(answers: Sequence[Answer], study: Study) -> list[Vote]:
    """The answers in terms of models; those to pairs that could not be played are left out."""
    votes = []
    for answer in answers:
        if answer.choice != "skipped":
            pair = study.by_name[answer.pair]
            chosen = {"left": answer.left, "right": answer.right, "similar": None}[answer.choice]
            outcome = 0 if chosen is None else 1 if chosen == pair.first.clip else -1
            votes.append(Vote(answer.rater, pair.name, pair.prompt, (pair.first.model, pair.second.model), outcome))
    return votes


def analyse(answers: Sequence[Answer], study: Study, *, resamples: int = COUNT, seed: int = 0) -> Analysis:
    """Everything that a study tells. Raises ValueError when there is no answer to a pair that could be played."""
    votes = unblind(answers, study)
    if not votes:
        raise ValueError(f"answers are required, got {len(answers)}, of which none prefers or ties: collect some first")
    outcome = np.array([vote.outcome for vote in votes])
    kinds = (outcome[:, None] == OUTCOMES).astype(np.float64)
    weights = crossed_weights([v.rater for v in votes], [v.prompt for v in votes], resamples, seed)
    matches = sorted({vote.match for vote in votes}, key=lambda match: tuple(map(study.models.index, match)))
    rows = [np.array([vote.match == match for vote in votes]) for match in matches]
    counts = np.stack([weights[:, row] @ kinds[row] for row in rows], axis=1)
    compared = [model for model in study.models if any(model in match for match in matches)]
    numbers = [(compared.index(first), compared.index(second)) for first, second in matches]
    values, ties = strengths(numbers, counts, len(compared))
    sides = Counter(answer.choice for answer in answers)
    decided = sides["left"] + sides["right"]
    return Analysis(
        study=study.identity,
        title=study.title,
        answers=len(votes),
        skipped=len(answers) - len(votes),
        prompts=len({vote.prompt for vote in votes}),
        comparisons=_comparisons(matches, counts),
        strengths={
            model: interval(values[:, index], sum(model in vote.match for vote in votes))
            for index, model in enumerate(compared)
        },
        tie_weight=interval(np.exp(ties), len(votes)),
        agreement=_agreement(votes, interval_scale(OUTCOMES), resamples, seed),
        agreement_nominal=_agreement(votes, nominal(len(OUTCOMES)), resamples, seed),
        left=Estimate(sides["left"] / decided if decided else math.nan, *wilson(sides["left"], decided), decided),
        raters=_raters(answers),
    )


def crossed_weights(raters: Sequence[str], prompts: Sequence[str], count: int, seed: int) -> np.ndarray:
    """How often each answer counts: once in row 0, then in `count` resamples of raters and of prompts `[count + 1, v]`.

    Both are drawn with replacement, and an answer counts as often as its rater times as often as its prompt (Owen
    2007, "The pigeonhole bootstrap"): answers of one rater, or to one prompt, are no independent evidence.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((count + 1, len(raters)))
    for labels in (raters, prompts):
        names, which = np.unique(np.asarray(labels), return_inverse=True)
        n = len(names)
        weights[1:] *= rng.multinomial(n, np.full(n, 1 / n), size=count)[:, which]
    return weights


def _comparisons(matches: Sequence[tuple[str, str]], counts: np.ndarray) -> tuple[Comparison, ...]:
    """From the counts `[1 + resamples, match, outcome]`."""
    chances = [sign_test(int(wins), int(losses)) for wins, _, losses in counts[0]]
    with np.errstate(invalid="ignore"):
        shares = (counts[..., 0] + counts[..., 1] / 2) / counts.sum(-1)
    found = []
    for c, ((first, second), adjusted) in enumerate(zip(matches, holm(chances), strict=True)):
        wins, ties, losses = (int(count) for count in counts[0, c])
        total = wins + ties + losses
        found.append(
            Comparison(
                first=first,
                second=second,
                wins=wins,
                ties=ties,
                losses=losses,
                share=float(shares[0, c]),
                wilson=wilson(wins + ties / 2, total),
                clustered=interval(shares[:, c], total),
                p=chances[c],
                p_holm=adjusted,
            )
        )
    return tuple(found)


def _agreement(votes: Sequence[Vote], distance: np.ndarray, resamples: int, seed: int) -> Estimate:
    """Alpha over the pairs. Its resamples draw pairs only: a rater who is drawn twice would agree with himself."""
    pairs = sorted({vote.pair for vote in votes})
    counts = np.zeros((len(pairs), len(OUTCOMES)))
    for vote in votes:
        counts[pairs.index(vote.pair), list(OUTCOMES).index(vote.outcome)] += 1
    n = len(pairs)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    weights = np.concatenate([np.ones((1, n)), drawn])
    return interval(krippendorff(counts, distance, weights), int((counts.sum(1) >= 2).sum()))


def _raters(answers: Sequence[Answer]) -> tuple[Rater, ...]:
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.rater, []).append(answer)
    raters = []
    for name, given in sorted(found.items()):
        choices = Counter(answer.choice for answer in given)
        seconds = median(answer.seconds for answer in given)
        raters.append(Rater(name, len(given), choices["similar"], choices["skipped"], choices["left"], seconds))
    return tuple(raters)


def _plain(value: Any) -> Any:
    """Without NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
