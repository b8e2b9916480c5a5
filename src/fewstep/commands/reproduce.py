"""`fewstep reproduce`: a paper's tables and figures beside our own, with a verdict for every claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from fewstep.commands.console import counter, progress, read_list, results
from fewstep.commands.sample import read_seeds
from fewstep.files import require_writable

if TYPE_CHECKING:
    from fewstep.reproduce.full_plan import Cluster
    from fewstep.reproduce.full_scale import Run
    from fewstep.reproduce.jobs import Job
    from fewstep.reproduce.report import Report


@dataclass(frozen=True, kw_only=True)
class Options:
    """Set every table and figure of a paper beside our own: plan the runs, run or reuse them, write the report."""

    paper: Positional[Literal["asd", "aad1"]]
    """Adversarial Self-Distillation, or AAD-1."""
    scale: Literal["shapes", "wan"] = "shapes"
    """The embedded models on a laptop, or Wan on a cluster."""
    dry_run: bool = False
    """Only say what would be run, and what it takes. At Wan's size the report is made of what these commands left."""
    items: tuple[str, ...] = ()
    """Only these tables and figures, such as table1,figure4."""
    seeds: tuple[str, ...] = ("0", "1", "2")
    """Training seeds."""
    clips: int | None = None
    """Prompts. Default: as many as the results that are there have, else 256; at Wan's size VBench's own."""
    runs: Path | None = None
    """Folder of the training runs. Default: runs/embedded, or runs/wan."""
    results: Path = Path("results/shapes")
    """Results of `fewstep shapebench`, whose number of prompts is the default."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder of the report. Default: results/reproduce/PAPER, or PAPER-wan."""
    train: bool = True
    """Train what is missing. Without it, the report says what is missing."""
    extractor: str = "shapes"
    """Features for distances of sets: shapes, random, random:SEED or i3d:PATH."""
    gpus: int = 8
    """At Wan's size: GPUs of a run."""
    tflops: float = 990.0
    """At Wan's size: TFLOP/s of large bfloat16 matrix products on one of them; 990 is an H100's."""
    threads: int | None = None
    """CPU threads. Default: torch's own choice."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the networks."""


def main(argv: Sequence[str]) -> None:
    """Plan, print the cost, run what is missing, and write the report."""
    options = tyro.cli(Options, prog="fewstep reproduce", args=list(argv))
    for name in ("threads", "clips", "gpus"):
        if (value := getattr(options, name)) is not None and value < (2 if name == "clips" else 1):
            raise ValueError(f"--{name} must be {2 if name == 'clips' else 1} or more, got {value}")
    if options.scale == "wan":
        _full_scale(options)
        return
    import torch

    from fewstep.reproduce import aad1, asd
    from fewstep.reproduce.run import Settings, plan

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    paper = {"asd": asd, "aad1": aad1}[options.paper].paper().select(read_list(options.items))
    settings = Settings(
        runs=options.runs or Path("runs/embedded"),
        shapebench=options.results,
        out=options.output or Path("results/reproduce") / options.paper,
        seeds=read_seeds(options.seeds),
        clips=options.clips,
        train=options.train,
        extractor=options.extractor,
        device=options.device,
        dtype=options.dtype,
    )
    with progress().status("planning"):
        jobs = plan(paper, settings)
    _print_jobs(jobs, train=settings.train)
    if not options.dry_run:
        require_writable(settings.out / "report.html")
        from fewstep.reproduce.make import make_report

        with counter("clips") as shown:
            task = shown.add_task("", total=None)
            report = make_report(
                paper,
                jobs,
                settings,
                begin=lambda title, clips: shown.reset(task, description=title, total=clips),
                advance=lambda clips: shown.advance(task, clips),
                say=lambda line: shown.console.print(line, highlight=False, soft_wrap=True),
            )
        _print_verdicts(report)
        results().print(f"report: {settings.out / 'report.html'}")


def _print_jobs(jobs: Sequence[Job], *, train: bool) -> None:
    """What is missing, what it takes, and how to do it by hand."""
    from fewstep.reproduce.paper import Training

    console = results()
    missing = [job for job in jobs if not job.there]
    runs = [job for job in missing if isinstance(job.subject, Training)]
    arms = [job for job in missing if not isinstance(job.subject, Training)]
    console.print(f"{len(jobs) - len(missing)} of {len(jobs)} runs and measurements are there")
    for name, group in (("training", runs), ("measuring", arms)):
        if group:
            hours, disk = sum(job.seconds for job in group) / 3600, sum(job.disk for job in group) / 1e9
            console.print(f"{name}: {len(group)} missing, about {hours:.1f} hours of one core, {disk:.2g} GB of disk")
    for job in runs:
        console.print(f"  {job.line}  # {job.seconds / 60:.0f} min", highlight=False, soft_wrap=True)
    if runs and not train:
        console.print("they are not run (--no-train); what needs them will say so")


def _print_verdicts(report: Report) -> None:
    from fewstep.reproduce.report import shown

    table = Table("claim", "published", "ours", "seeds", "verdict", box=box.SIMPLE_HEAD)
    for finding in report.findings:
        claim, verdict = finding.claim, finding.verdict
        published = "–" if claim.published is None else f"{claim.published:+.2f}"
        ours = shown(verdict.estimate, 1 if claim.margin >= 1 else 3)
        table.add_row(claim.says, published, ours, str(verdict.seeds or "–"), verdict.outcome)
    results().print(table)


def _full_scale(options: Options) -> None:
    """Wan's runs as a plan, or the report of what is there of them."""
    from fewstep.reproduce.aad1 import wan as aad1
    from fewstep.reproduce.asd import wan as asd
    from fewstep.reproduce.full_plan import Cluster
    from fewstep.reproduce.full_scale import Costs

    full = {"asd": asd, "aad1": aad1}[options.paper].full_paper()
    full = replace(full, paper=full.paper.select(read_list(options.items)))
    cluster, seeds = Cluster(full, options.runs or Path("runs/wan")), read_seeds(options.seeds)
    if options.dry_run:
        costs = Costs(gpus=options.gpus, rate=options.tflops * 1e12)
        with progress().status("rehearsing Wan's runs, a few minutes"):
            runs = replace(cluster, costs=costs).commands(seeds)
        _print_runs(runs)
    else:
        _full_report(cluster, seeds, options.output or Path("results/reproduce") / f"{options.paper}-wan")


def _print_runs(runs: Sequence[Run]) -> None:
    """Every command behind what it takes, and the sum."""
    console = results()
    for run in runs:
        console.print(f"# {run.title}: {run.told}", highlight=False, soft_wrap=True)
        console.print(run.line, highlight=False, soft_wrap=True)
    hours, disk = sum(run.gpu_hours for run in runs), sum(run.disk for run in runs) / 1e12
    console.print(f"# in all {hours:,.0f} GPU-hours and {disk:.1f} TB of disk", highlight=False, soft_wrap=True)


def _full_report(cluster: Cluster, seeds: tuple[int, ...], out: Path) -> None:
    """Name what is absent, and make the report of the rest."""
    from fewstep.reproduce.full_evidence import gather
    from fewstep.reproduce.make import write_report
    from fewstep.reproduce.report import work_out
    from fewstep.reproduce.store import Store

    require_writable(out / "report.html")
    with progress().status("reading what is there"):
        evidence, paper = gather(cluster, seeds), cluster.full.paper
    if not evidence.samples and not evidence.logs:
        raise ValueError(
            f"nothing of what '{paper.title}' needs is in {cluster.runs}: --dry-run prints the commands, jobs "
            "for a cluster's own scheduler, in order; then this command makes the report"
        )
    console = results()
    console.print(f"{len(evidence.samples)} of {len(paper.arms())} ways of making clips were measured")
    for subject, reason in evidence.absent.items():
        title = getattr(subject, "title", None) or f"the log of {getattr(subject, 'key', subject)}"
        console.print(f"absent: {title}: {reason}", highlight=False, soft_wrap=True, markup=False)
    facts = {"runs": str(cluster.runs), "training seeds": ", ".join(map(str, seeds)), "judged by": "VBench"}
    report = work_out(paper, evidence, facts)
    write_report(report, evidence, Store(out), out)
    _print_verdicts(report)
    results().print(f"report: {out / 'report.html'}")
