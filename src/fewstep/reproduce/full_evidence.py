"""What was measured at Wan's size, from the files that the commands leave: VBench's results, our own scores, logs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fewstep.evaluation.results import Cell, Protocol, Timing
from fewstep.evaluation.scoring import SCORES
from fewstep.evaluation.set_scoring import FEATURES
from fewstep.files import whole_lines
from fewstep.manifest import Entry, Manifest
from fewstep.metrics.intervals import resampled_means
from fewstep.reproduce.evidence import PERCENT, POINTS, Evidence, Samples
from fewstep.reproduce.full_plan import Cluster, seed_of
from fewstep.reproduce.full_scale import EXTRACTOR, Run
from fewstep.reproduce.logs import read_logs
from fewstep.reproduce.paper import Arm, Training
from fewstep.vbench.aggregate import MissingDimensionError, normalised, part_score, total_score
from fewstep.vbench.card import card_of_folder
from fewstep.vbench.dimensions import SUITES, Suite
from fewstep.vbench.results import Measured, prompt_of
from fewstep.vbench.run import RESULTS

Rows = dict[str, dict[str, float]]
"""Measures by prompt."""


@dataclass(frozen=True)
class FullSamples(Samples):
    """An arm's cells whose rows are prompts: means over their clips of VBench's dimensions, and of our own measures."""

    cards: tuple[Mapping[str, Measured], ...] = ()
    """VBench's dimensions, for each cell."""
    suite: Suite | None = None

    @cached_property
    def _bench(self) -> list[dict[str, np.ndarray]]:
        return [self._totals(cell, card) for cell, card in zip(self.cells, self.cards, strict=True)]

    def _totals(self, cell: Cell, card: Mapping[str, Measured]) -> dict[str, np.ndarray]:
        """VBench's normalised dimensions, parts and total in percent, on the data and when other prompts are drawn.

        VBench's mean need not be that of the prompts' means: the draws are moved to it (as `vbench.card` does). A part
        that lacks a dimension is left out, never counted with a zero.
        """
        if self.suite is None or not card:
            return {}
        rows = np.array([[clip["metrics"].get(name, np.nan) for name in card] for clip in cell.clips])
        scales = [1.0 if name in POINTS else PERCENT for name in card]
        means = resampled_means(rows)
        raw = {
            name: each.raw + (means[:, i] - means[0, i]) * scales[i] / PERCENT
            for i, (name, each) in enumerate(card.items())
        }
        parts: dict[str, np.ndarray] = {}
        for part in self.suite.parts:
            try:
                parts[part] = part_score(self.suite, part, raw)
            except MissingDimensionError:
                continue
        found = {name: normalised(self.suite[name], values) for name, values in raw.items()} | parts
        if parts.keys() == self.suite.parts.keys():
            found["total"] = total_score(self.suite, parts)
        return {name: PERCENT * values for name, values in found.items()}


def gather(cluster: Cluster, seeds: Sequence[int]) -> Evidence:
    """Read what is there of the paper's items; what is absent says by which command it is made, or what is wrong."""
    paper = cluster.full.paper
    samples: dict[Arm, Samples] = {}
    absent: dict[Arm | Training, str] = {}
    for arm in paper.arms():
        found = _Reading(cluster, arm)
        for seed in dict.fromkeys(seed_of(arm, each) for each in seeds):
            found.read(seed)
        if found.lacking:
            absent[arm] = "; ".join(found.lacking)
        if found.seeds:
            samples[arm] = found.samples()
    logs: dict[Training, dict[int, dict[str, Any]]] = {}
    for training in paper.trainings():
        read = {seed: read_logs(cluster.folder(training, seed)) for seed in seeds}
        if kept := {seed: stages for seed, stages in read.items() if stages}:
            logs[training] = kept
        if lacking := [seed for seed in seeds if seed not in kept]:
            absent[training] = _needs(cluster.training(training, lacking[0])[-1])
    return Evidence(samples, {}, logs, absent)


class _Reading:
    """What there is of one arm, seed by seed."""

    def __init__(self, cluster: Cluster, arm: Arm):
        self.cluster, self.arm, self.suite = cluster, arm, _suite_of(cluster)
        self.few = arm.key in cluster.full.few
        self.seeds: dict[int, tuple[list[Entry], Mapping[str, Measured], Rows]] = {}
        self.features: list[np.ndarray | None] = []
        self.lacking: list[str] = []
        """Why seeds are not among them."""

    def read(self, seed: int) -> None:
        """Take what there is of a seed, or note what it needs."""
        folders, scored = self.cluster.clips(self.arm, seed), self.cluster.scored(self.arm, seed)
        card: Mapping[str, Measured] = {}
        try:
            if not self.few and (scored / RESULTS).is_dir():
                card = card_of_folder(scored, parts=()).dimensions
            entries = [entry for folder in folders if folder.is_dir() for entry in Manifest(folder).entries.values()]
            own = _own_rows(folders, {entry.sha256 for entry in entries})
        except ValueError as error:  # damaged, or of other clips: the rest of the report is made all the same
            self.lacking.append(f"seed {seed}: {error}")
            return
        features = _features(folders[0], len(entries)) if self.few else None
        if card or own or features is not None:
            self.seeds[seed] = entries, card, own
            self.features.append(features)
        else:
            self.lacking.append(f"seed {seed}: {self._first_missing(seed, bool(entries))}")

    def _first_missing(self, seed: int, sampled: bool) -> str:
        """The command that comes next."""
        source = self.arm.model.source
        if isinstance(source, Training) and not Path(self.cluster.model(self.arm, seed)).is_dir():
            return _needs(self.cluster.training(source, seed)[-1])
        runs = [run for run in self.cluster.of_arm(self.arm, seed) if run.command[1:3] != ("vbench", "prompts")]
        runs += self.cluster.distances(self.arm, seed)
        return _needs(next((run for run in runs if run.command[1] != "sample"), runs[-1]) if sampled else runs[0])

    def samples(self) -> FullSamples:
        """All seeds on the same prompts."""
        rows = {seed: _rows(card, own) for seed, (_, card, own) in self.seeds.items()}
        prompts = sorted({prompt for each in rows.values() for prompt in each})
        cells = tuple(self._cell(seed, rows[seed], prompts) for seed in self.seeds)
        known = [each for each in self.features if each is not None]
        arrays = tuple({"features": each} for each in known) if len(known) == len(cells) else ()
        cards = tuple(card for _, card, _ in self.seeds.values())
        return FullSamples(self.arm, cells, arrays, cards, self.suite)

    def _cell(self, seed: int, rows: Rows, prompts: Sequence[str]) -> Cell:
        entries, card, _ = self.seeds[seed]
        first = entries[0] if entries else None
        return Cell(
            row=self.arm.key,
            kind="teacher" if self.arm.key in self.cluster.full.hub else "student",
            model="" if first is None else first.settings.model,
            plan=self.arm.plan,
            training_seed=seed,
            fingerprint="" if first is None else json.dumps(dict(first.settings.fingerprint), sort_keys=True),
            commit=None,
            trained_by="",
            protocol=Protocol(
                split=self.suite.name if card else "few",
                clips=max(1, len(prompts)),
                seed=0,
                prompts="",
                batch=1,
                scorer=1,
            ),
            evaluations=None if first is None else first.network_evaluations,
            commits=None if first is None else first.commits,
            timing=_timing(entries),
            clips=[{"caption": prompt, "metrics": rows.get(prompt, {})} for prompt in prompts],
        )


def _suite_of(cluster: Cluster) -> Suite:
    return SUITES["vbench_i2v" if cluster.full.suite.pictures else "vbench"]


def _needs(run: Run) -> str:
    return f"not run: needs `{run.line}`"


def _rows(card: Mapping[str, Measured], own: Rows) -> Rows:
    """Ours, and before them VBench's, in percent where the measure is told in points."""
    rows = {prompt: dict(values) for prompt, values in own.items()}
    for name, each in card.items():
        scale = PERCENT if name in POINTS else 1.0
        by_prompt: dict[str, list[float]] = {}
        for clip, value in each.clips.items():
            by_prompt.setdefault(prompt_of(clip), []).append(value)
        for prompt, values in by_prompt.items():
            rows.setdefault(prompt, {})[name] = scale * sum(values) / len(values)
    return rows


def _own_rows(folders: Sequence[Path], hashes: set[str]) -> Rows:
    """Means over each prompt's clips of what `fewstep eval` wrote of those that are there."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for path in (folder / SCORES for folder in folders):
        for text in whole_lines(path) if path.is_file() else ():
            line = json.loads(text)
            if line["sha256"] not in hashes:
                continue
            for judge in line["scores"].values():
                for name, value in judge["values"].items():
                    if value is not None:
                        found.setdefault(line["prompt"], {}).setdefault(name, {})[line["sha256"]] = value
    return {
        prompt: {name: sum(values.values()) / len(values) for name, values in measures.items()}
        for prompt, measures in found.items()
    }


def _features(folder: Path, clips: int) -> np.ndarray | None:
    """Those of `fewstep eval`, of exactly as many clips as there are; None where they are not whole or of two kinds."""
    kinds = [
        path for path in sorted((folder / FEATURES).glob("*")) if path.name.startswith(EXTRACTOR.partition(":")[0])
    ]
    if len(kinds) != 1:
        return None
    files = sorted(kinds[0].rglob("*.npy"))
    return np.stack([np.load(file, allow_pickle=False) for file in files]) if files and len(files) == clips else None


def _timing(entries: Sequence[Entry]) -> Timing | None:
    """Medians per clip, as sampled."""
    timed = [entry for entry in entries if {"denoise", "decode"} <= entry.seconds.keys()]
    if not timed:
        return None
    denoise, decode = (median(entry.seconds[part] for entry in timed) for part in ("denoise", "decode"))
    dtype = timed[0].settings.dtype
    return Timing(
        seconds=denoise + decode, denoise=denoise, decode=decode, clips=len(timed), threads=0, device="", dtype=dtype
    )
