"""`fewstep study`: people compare clips in blinded pairs, and what they said is analysed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table
from tyro.conf import Positional, arg

from fewstep.commands.console import progress, results
from fewstep.files import require_writable, write_text

if TYPE_CHECKING:
    from fewstep.metrics.base import Estimate
    from fewstep.study.analysis import Analysis

USAGE = """usage: fewstep study FOLDER FOLDER... -o DIR [options]
       fewstep study serve DIR [--host H] [--port P]
       fewstep study analyse DIR [ANSWERS...] [-o FILE.json]

  FOLDER   clips with their manifest.jsonl, or NAME=FOLDER; two or more, of the same prompts
  serve    hand the page out and store the answers
  analyse  wins, ties and losses, intervals, strengths, agreement of the raters

`fewstep study make --help`, `fewstep study serve --help` and `fewstep study analyse --help` list the options."""


@dataclass(frozen=True, kw_only=True)
class Make:
    """Make a page on which raters compare clips of the same prompts in blinded pairs."""

    folders: Positional[tuple[str, ...]]
    """Folders of clips with their manifests, each FOLDER or NAME=FOLDER; two or more, of the same prompts."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """The study's folder. `page` in it is for raters; the key beside it tells the models, and is for you."""
    question: str = "Which clip is better: its pictures, its motion, and how it fits the description?"
    """What raters are asked about each pair."""
    title: str = "Which clip is better?"
    """Above the page's welcome."""
    design: Literal["all", "first"] = "all"
    """Every model against every other, or the first against each of the others."""
    prompts: int | None = None
    """Prompts that are drawn at random. Default: all."""
    per_rater: int = 20
    """Pairs that each rater is asked about: as many of each comparison, drawn at random for each rater."""
    seed: int = 0
    """Of the drawing."""
    clips: Literal["auto", "inside", "beside"] = "auto"
    """Clips inside the page, which is then one file, or beside it; auto puts up to 40 MB of them inside."""


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Hand out the page of a study and store the answers in its folder, until interrupted."""

    folder: Positional[Path]
    """The study's folder."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is all networks, for raters at other machines."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""


@dataclass(frozen=True, kw_only=True)
class Analyse:
    """Print what the answers say."""

    folder: Positional[Path]
    """The study's folder."""
    answers: Positional[tuple[Path, ...]] = ()
    """Files that raters saved, or folders of them. What the server stored is read in any case."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write everything to this file, as JSON."""
    seed: int = 0
    """Of the resamples."""


def main(argv: Sequence[str]) -> None:
    """Make a study, serve one, or analyse one."""
    what, *rest = argv or ["--help"]
    if what in ("-h", "--help"):
        print(USAGE)
    elif what == "serve":
        _serve(tyro.cli(Serve, prog="fewstep study serve", args=rest))
    elif what == "analyse":
        _analyse(tyro.cli(Analyse, prog="fewstep study analyse", args=rest))
    else:
        _make(tyro.cli(Make, prog="fewstep study make", args=rest if what == "make" else list(argv)))


def _make(options: Make) -> None:
    for name in ("prompts", "per_rater"):
        if (count := getattr(options, name)) is not None and count < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {count}")

    from fewstep.study.page import write_study
    from fewstep.study.pairs import KEY, draw_study, read_contestant

    drawn = draw_study(
        [read_contestant(words) for words in options.folders],
        title=options.title,
        question=options.question,
        prompts=options.prompts,
        per_rater=options.per_rater,
        design=options.design,
        seed=options.seed,
    )
    page = write_study(options.output, drawn, {"auto": None, "inside": True, "beside": False}[options.clips])
    news, study = progress(), drawn.study
    for reason in drawn.dropped:
        news.print(f"left out: {reason}", highlight=False)
    for note in drawn.notes:
        news.print(f"note: {note}", highlight=False)
    print(f"study {study.identity}: {len(study.pairs)} pairs of {', '.join(study.models)}; {study.per_rater} per rater")
    print(f"page: {page} ({_size(page.parent)}); keep {options.output / KEY} to yourself")
    print(f"send the folder {page.parent}, or: fewstep study serve {options.output}")


def _serve(options: Serve) -> None:
    from fewstep.study.server import StudyServer

    try:
        server = StudyServer(options.folder, options.host, options.port)
    except OSError as error:
        place = f"{options.host}:{options.port}"
        raise ValueError(f"cannot listen at {place} ({error.strerror or error}): choose another --port") from error
    with server:
        print(f"{server.address} asks for answers, which go to {server.log.path}; Ctrl-C ends it", flush=True)
        server.serve_forever()


def _analyse(options: Analyse) -> None:
    if options.output is not None:
        require_writable(options.output)

    from fewstep.study.analysis import analyse
    from fewstep.study.answers import LOG, read_answers
    from fewstep.study.pairs import load_study

    study = load_study(options.folder)
    own = [options.folder / LOG] if (options.folder / LOG).is_file() else []
    if not own and not options.answers:
        raise ValueError(f"answers are required, '{options.folder}' has no {LOG}: name the files that raters saved")
    analysis = analyse(read_answers([*own, *options.answers], study), study, seed=options.seed)
    if options.output is not None:
        write_text(options.output, analysis.to_json())
    _show(analysis)


def _show(analysis: Analysis) -> None:
    console = results()
    table = Table("comparison", "wins", "ties", "losses", "preferred, %", "Wilson", "clustered", "p", "p (Holm)")
    for each in analysis.comparisons:
        table.add_row(
            f"{each.first} over {each.second}",
            *map(str, (each.wins, each.ties, each.losses)),
            f"{100 * each.share:.0f}",
            _span(*each.wilson),
            _span(each.clustered.low, each.clustered.high),
            *(f"{p:.3g}" for p in (each.p, each.p_holm)),
        )
    console.print(table)
    strengths = Table("model", "strength (log odds)", "answers")
    for model, found in sorted(analysis.strengths.items(), key=lambda item: -item[1].value):
        strengths.add_row(model, _estimate(found), str(found.samples))
    console.print(strengths)
    raters = Table("rater", "answers", "similar", "left", "could not play", "median s")
    for rater in analysis.raters:
        counts = (rater.answers, rater.similar, rater.left, rater.skipped)
        raters.add_row(rater.name, *map(str, counts), f"{rater.seconds:.1f}")
    console.print(raters)
    print(f"{analysis.answers} answers of {len(analysis.raters)} raters to {analysis.prompts} prompts")
    print(f"agreement of raters (Krippendorff's alpha): {_estimate(analysis.agreement)}")
    print(f"of three answers that merely differ: {_estimate(analysis.agreement_nominal)}")
    print(f"left side among answers that prefer one: {_estimate(analysis.left)}")


def _number(value: float) -> str:
    from fewstep.metrics.base import ABSENT

    return f"{value:.2f}" if value == value else ABSENT


def _estimate(found: Estimate) -> str:
    return f"{_number(found.value)} [{_number(found.low)}, {_number(found.high)}]"


def _span(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f}"


def _size(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.1f} MB"
