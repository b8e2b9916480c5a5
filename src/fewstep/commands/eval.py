"""`fewstep eval`: score folders of clips, by what their manifests say and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.progress import Progress
from rich.table import Table
from tyro.conf import Positional

from fewstep.commands.console import counter, read_list, results
from fewstep.commands.table import as_table
from fewstep.files import require_writable, write_text

if TYPE_CHECKING:
    from fewstep.evaluation.judges import Judge
    from fewstep.evaluation.set_scoring import Reference
    from fewstep.evaluation.summary import Summary
    from fewstep.metrics.frame_features import FrameFeatures
    from fewstep.metrics.sets import SetMetric

LIST = "list"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score folders of clips with a manifest, as `fewstep sample` and `fewstep generate --prompts` make them."""

    folders: Positional[tuple[Path, ...]] = ()
    """Folders of clips; each is compared with the first, clip by clip of the same prompt and seed."""
    metrics: tuple[str, ...] = ("all",)
    """`all` that the clips allow, or names; `list` prints the names."""
    reference: Path | None = None
    """A folder of clips whose distribution the others' is compared with: FVD and its kin."""
    extractor: str = "shapes"
    """Video features of these distances: shapes, random, random:SEED, or i3d:FILE (i3d_torchscript.pt)."""
    subject_features: Path | None = None
    """Folder of an image model, such as DINO, that subjects are compared by. Default: colours and edges."""
    background_features: Path | None = None
    """Folder of an image model, such as CLIP, that backgrounds are compared by. Default: what is where."""
    json: Path | None = None
    """Also write all scores and differences into this file."""
    markdown: bool = False
    """Tables for a README, instead of the terminal."""
    adopt: bool = False
    """Write a manifest for folders without one, by their files: PROMPT.mp4, or PROMPT-SEED.mp4 as VBench names them."""
    device: str | None = None
    """Of the extractors: cpu, cuda or cuda:N. Default: a GPU where there is one."""


def main(argv: Sequence[str]) -> None:
    """Score what is not scored yet, write it beside the clips, and print the tables."""
    options = tyro.cli(Options, prog="fewstep eval", args=list(argv))
    if options.json is not None:
        require_writable(options.json)

    from fewstep.evaluation.clip_folder import open_folders
    from fewstep.evaluation.summary import save_all, score_all

    judges, distances = _choose(options)
    if LIST in options.metrics:
        _list(judges, distances)
        return
    if not options.folders:
        raise ValueError("one folder of clips or more is required, got none: `fewstep sample` makes them")
    if options.adopt:
        _adopt([*options.folders, *([] if options.reference is None else [options.reference])])
    folders = open_folders(options.folders)
    reference = _reference(options, distances)
    with counter("clips") as bar:
        summaries = score_all(folders, judges, reference, lambda what, clips: _advance(bar, what, clips))
    found = save_all(summaries)
    if options.json is not None:
        write_text(options.json, found)
    _print(summaries, options.markdown)


def _adopt(folders: Sequence[Path]) -> None:
    from fewstep.evaluation.adopt import adopt

    with counter("clips") as bar:
        for folder in folders:
            for file, reason in adopt(folder, partial(_advance, bar, folder.name)).items():
                bar.console.print(f"{folder}: {file} is left out: {reason}", highlight=False, soft_wrap=True)


def _choose(options: Options) -> tuple[list[Judge], list[SetMetric]]:
    """What was asked for by name."""
    from fewstep.evaluation.judges import EVERY, choose
    from fewstep.metrics.registry import clip_metrics
    from fewstep.metrics.sets import set_metrics

    frames = [
        _frame_features(folder, options.device) for folder in (options.subject_features, options.background_features)
    ]
    names = read_list(options.metrics)
    judges, distances = choose([EVERY] if LIST in names else names, clip_metrics(*frames), set_metrics())
    if options.reference is not None or LIST in names:
        return judges, distances
    if distances and EVERY not in names:
        raise ValueError(f"{distances[0].name} compares two sets of clips: name the other one with --reference DIR")
    return judges, []


def _frame_features(folder: Path | None, device: str | None) -> FrameFeatures | None:
    if folder is None:
        return None
    from fewstep.hardware import pick_device
    from fewstep.metrics.pretrained import PretrainedFrames

    return PretrainedFrames(folder, pick_device(device))


def _reference(options: Options, distances: Sequence[SetMetric]) -> Reference | None:
    """What the folders' distributions are compared with, and by what; opened before anything is scored."""
    if options.reference is None or not distances:
        return None
    from fewstep.evaluation.clip_folder import ClipFolder
    from fewstep.evaluation.set_scoring import Reference
    from fewstep.hardware import pick_device
    from fewstep.metrics.extractors import open_extractor

    extractor = open_extractor(options.extractor, pick_device(options.device))
    return Reference(ClipFolder.open(options.reference), extractor, distances)


def _advance(bar: Progress, what: str, clips: int) -> Callable[[int], None]:
    """A line of progress."""
    task = bar.add_task(what, total=clips)
    return lambda count: bar.advance(task, count)


def _print(summaries: Sequence[Summary], markdown: bool) -> None:
    """The tables, and below them what was refused and what could not be measured."""
    from fewstep.evaluation.summary import difference_table, notes, score_table

    grids, problems = [score_table(summaries)], list[str]()
    if len(summaries) > 1:
        differences, problems = difference_table(summaries)
        grids += [differences] if differences.rows else []
    lines = [*notes(summaries), *problems]
    if markdown:
        print("\n\n".join([*(grid.markdown() for grid in grids), "\n".join(f"- {line}" for line in lines)]))
        return
    console = results()
    for grid in grids:
        console.print(as_table(grid))
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _list(judges: Sequence[Judge], distances: Sequence[SetMetric]) -> None:
    table = Table("metric", "version", "what it tells", "features")
    for judge in judges:
        titles = [title for title, _ in judge.measures.values()]
        told = titles[0] if len(titles) == 1 else f"{len(titles)} measures of ShapeWorld's clips"
        table.add_row(judge.name, str(judge.version), told, judge.extractor or "")
    for metric in distances:
        table.add_row(metric.name, str(metric.version), f"{metric.title} from --reference", "--extractor")
    results().print(table)
