"""`fewstep vbench`: prompts, clips, evaluation and scores of VBench and VBench-I2V, from a checkout of the user's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from fewstep.commands.console import counter, read_list, read_size, results
from fewstep.files import write_text

if TYPE_CHECKING:
    from fewstep.vbench.card import Card
    from fewstep.vbench.export import Export
    from fewstep.vbench.prompts import PromptList

USAGE = """usage: fewstep vbench prompts|export|run|score [options]

  prompts  write what to sample: prompts, seeds, and for VBench-I2V the pictures
  export   place sampled clips under VBench's names, and say what is missing
  run      evaluate them in VBench's own environment, one dimension at a time
  score    Quality, Semantic or I2V, and Total, with VBench's weights

`fewstep vbench export --help` lists the options of one."""

PYTHON = "VBENCH_PYTHON"
"""Variable that names the python of VBench's environment."""


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Which prompts."""

    checkout: Path
    """A checkout of VBench's repository, whose prompt list is checked against its published hash."""
    i2v: bool = False
    """VBench-I2V, whose clips begin with pictures."""
    extended: Path | None = None
    """A file with the long form of each entry of the list, line by line; files are named by the short form."""
    any_list: bool = False
    """Take a list that is not the official one. Its scores stand beside no published ones."""

    def read(self) -> PromptList:
        """The prompts, checked."""
        from fewstep.vbench.dimensions import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
        from fewstep.vbench.prompts import read_prompts

        suite = IMAGE_TO_VIDEO if self.i2v else TEXT_TO_VIDEO
        return read_prompts(self.checkout, suite, self.extended, any_list=self.any_list)


@dataclass(frozen=True, kw_only=True)
class PromptOptions(Lists):
    """Write what to sample for VBench: prompts, seeds, and for VBench-I2V the pictures that clips begin with."""

    output: Annotated[Path, arg(aliases=["-o"])] = Path("out/vbench-prompts")
    """Folder of the files."""
    dimensions: tuple[str, ...] = ()
    """Only the prompts of these dimensions. Default: all."""
    size: str | None = None
    """Width and height of the clips, such as 832x480, which VBench-I2V's pictures are cropped to."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Lists):
    """Place clips of `fewstep sample` in one flat folder under VBench's names, and say what is missing."""

    folders: Positional[tuple[Path, ...]]
    """Folders of one model at one plan, each with a manifest."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder of the set. Files are linked where the disk is the same."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Evaluate an exported folder in VBench's own environment, one dimension at a time; resumable."""

    folder: Positional[Path]
    """Folder of `fewstep vbench export`."""
    checkout: Path
    """A checkout of VBench's repository."""
    python: Path | None = None
    """The bin/python of VBench's environment. Default: the variable VBENCH_PYTHON."""
    dimensions: tuple[str, ...] = ()
    """Only these. Default: all that the clips are complete for."""
    static_filter: bool = True
    """Measure temporal flickering on static clips only, as its authors do."""
    local: bool = False
    """Take VBench's models from its cache (VBENCH_CACHE_DIR) without asking the net."""
    timeout: float | None = None
    """Seconds that one dimension may take."""


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Quality, Semantic or I2V, and Total with VBench's weights. A missing dimension is an error, not a zero."""

    sets: Positional[tuple[Path, ...]]
    """Folders that were evaluated; or with --checkout result files of VBench, or folders of them."""
    parts: tuple[str, ...] = ()
    """Only these scores, such as quality, where not all dimensions were measured. Default: all, and Total."""
    checkout: Path | None = None
    """A checkout of VBench, for results that VBench wrote elsewhere."""
    i2v: bool = False
    """Those results are VBench-I2V's."""
    any_list: bool = False
    """Those results are of a list that is not the official one."""
    json: bool = False
    """Print JSON."""


def main(argv: Sequence[str]) -> None:
    """Run one of the four."""
    what, *rest = argv or ["--help"]
    commands: dict[str, tuple[type, Callable[[Any], None]]] = {
        "prompts": (PromptOptions, _prompts),
        "export": (ExportOptions, _export),
        "run": (RunOptions, _run),
        "score": (ScoreOptions, _score),
    }
    if what in ("-h", "--help"):
        print(USAGE)
    elif what in commands:
        options, command = commands[what]
        command(tyro.cli(options, prog=f"fewstep vbench {what}", args=rest))
    else:
        raise ValueError(f"`fewstep vbench` is followed by {', '.join(commands)}, got '{what}'")


def _prompts(options: PromptOptions) -> None:
    """Write the files and print the calls of `fewstep sample` that they are for."""
    from fewstep.vbench.card import dimensions_of
    from fewstep.vbench.material import write_orders

    prompts = options.read()
    dimensions = dimensions_of(prompts.suite, read_list(options.dimensions))
    with counter("pictures") as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        orders = write_orders(prompts, dimensions, options.output, read_size(options.size), show)
    print(f"{prompts.suite.title}: {sum(order.clips for order in orders)} clips, for each model and plan")
    for order in orders:
        print(f"fewstep sample MODEL --plans 4 {order.options} -o CLIPS-{order.prompts.stem}")


def _export(options: ExportOptions) -> None:
    """Place the clips and print what each dimension has."""
    from fewstep.vbench.export import export_clips

    with counter("clips") as bar:
        task = bar.add_task("", total=None)
        export = export_clips(
            options.read(),
            options.folders,
            options.output,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    results().print(_completeness(export))


def _completeness(export: Export) -> Table:
    table = Table("dimension", "clips", "missing", title=f"{export.of_suite.title}, {len(export.clips)} clips")
    table.box, table.title_justify = box.SIMPLE_HEAD, "left"
    for dimension in export.of_suite:
        if not export.prompts[dimension.name]:
            continue
        missing, candidates = export.missing(dimension.name), len(export.candidates(dimension.name))
        wanted = dimension.candidates * len(export.prompts[dimension.name])
        told = f"{len(missing)}, such as '{missing[0]}'" if missing else ""
        table.add_row(dimension.name, f"{candidates} of {wanted}", told)
    return table


def _run(options: RunOptions) -> None:
    """Evaluate what is not evaluated, print each result, and fail with the failures."""
    from fewstep.vbench.card import dimensions_of
    from fewstep.vbench.dimensions import Dimension
    from fewstep.vbench.results import Measured
    from fewstep.vbench.run import Evaluator, evaluate_all

    python = options.python or (Path(os.environ[PYTHON]) if PYTHON in os.environ else None)
    if python is None:
        raise ValueError(f"the python of VBench's environment is required: give --python or set {PYTHON}")
    same = ("checkout", "folder", "static_filter", "local", "timeout")
    evaluator = Evaluator(python=python, **{name: getattr(options, name) for name in same})
    asked = dimensions_of(evaluator.export.of_suite, read_list(options.dimensions))
    dimensions = [each for each in asked if options.dimensions or evaluator.export.is_complete(each.name)]
    if not dimensions:
        raise ValueError(f"{options.folder} is complete for no dimension: export more clips, or see what is missing")
    with counter("dimensions") as bar:
        task = bar.add_task("", total=len(dimensions))

        def show(dimension: Dimension, found: Measured | None, message: str) -> None:
            told = message if found is None else f"{100 * found.raw:.2f} of {len(found.clips)} clips"
            bar.console.print(f"{dimension.name}: {told}", highlight=False, soft_wrap=True, markup=False)
            bar.advance(task)

        failures = evaluate_all(evaluator, dimensions, show)
    if failures:
        raise ValueError(f"{', '.join(failures)} failed: run the command again when the cause is gone")


def _score(options: ScoreOptions) -> None:
    """Print the card of each set; folders of this project keep theirs as `scores.json`."""
    if not options.sets:
        raise ValueError("a folder that was evaluated is required: fewstep vbench score out/vbench")
    parts, prompts = read_list(options.parts) or None, None
    if options.checkout is not None:
        prompts = Lists(checkout=options.checkout, i2v=options.i2v, any_list=options.any_list).read()
    cards = {str(path): _read_card(path, prompts, parts, show=not options.json) for path in options.sets}
    if prompts is None:
        for path in options.sets:
            write_text(path / "scores.json", json.dumps(cards[str(path)].to_json(), indent=1) + "\n")
    if options.json:
        print(json.dumps({name: card.to_json() for name, card in cards.items()}, indent=1))
        return
    for name, card in cards.items():
        _show(name, card)


def _read_card(path: Path, prompts: PromptList | None, parts: Sequence[str] | None, *, show: bool) -> Card:
    """The card of a set. Where a dimension is missing, what there is may be shown before the error."""
    from fewstep.vbench.aggregate import MissingDimensionError
    from fewstep.vbench.card import card_of_folder, card_of_results

    def read(parts: Sequence[str] | None) -> Card:
        return card_of_folder(path, parts) if prompts is None else card_of_results(path, prompts, parts)

    try:
        return read(parts)
    except MissingDimensionError:
        if show:
            _show(str(path), read(()))
        raise


def _show(name: str, card: Card) -> None:
    results().print(_table(name, card))
    for remark in card.remarks:
        results().print(f"- {remark}", highlight=False, markup=False)


def _table(name: str, card: Card) -> Table:
    """Dimensions, then the parts and the total, in percent."""
    from fewstep.vbench.aggregate import normalised
    from fewstep.vbench.dimensions import PARTS

    table = Table("", "raw", "95 %", "normalised", "weight", "clips", title=f"{card.suite.title}: {name}")
    table.box, table.title_justify = box.SIMPLE_HEAD, "left"
    for dimension in card.suite:
        if dimension.name not in card.raw:
            continue
        raw, clips = card.raw[dimension.name], len(card.dimensions[dimension.name].clips)
        norm = 100 * normalised(dimension, raw.value / 100)
        between = f"{raw.low:.2f} … {raw.high:.2f}"
        words = (f"{raw.value:.2f}", between, f"{norm:.2f}", f"{dimension.weight:g}", str(clips))
        table.add_row(dimension.name, *words)
    table.add_section()
    for part, score in card.scores.items():
        table.add_row(PARTS[part], "", f"{score.low:.2f} … {score.high:.2f}", f"{score.value:.2f}", "", "")
    return table
