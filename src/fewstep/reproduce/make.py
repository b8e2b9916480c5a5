"""A report from start to files."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fewstep import __version__
from fewstep.reproduce.evidence import Evidence
from fewstep.reproduce.jobs import Job
from fewstep.reproduce.page import write_page
from fewstep.reproduce.paper import Paper, Training
from fewstep.reproduce.report import Report, work_out, write_figures, write_json
from fewstep.reproduce.run import Settings, Watcher, adopt_clips, gather, train_missing
from fewstep.reproduce.store import Store
from fewstep.revision import git_commit


def make_report(
    paper: Paper,
    jobs: Sequence[Job],
    settings: Settings,
    *,
    begin: Callable[[str, int], None] = lambda title, clips: None,
    advance: Callable[[int], None] = lambda clips: None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Train what is missing, measure, work everything out, and write `report.html`, `report.json` and the figures."""
    watcher = Watcher(begin, advance, say)
    failed: dict[Training, str] = train_missing(jobs, watcher) if settings.train else {}
    evidence = gather(paper, jobs, failed, settings, watcher)
    report = work_out(paper, evidence, _facts(settings))
    write_report(report, evidence, Store(settings.out), settings.out)
    return report


def write_report(report: Report, evidence: Evidence, store: Store, out: Path) -> None:
    """`report.html`, `report.json` and `figures/*.png`. Raises OutputError."""
    write_page(report, evidence, store, out / "report.html")
    write_figures(report, out / "figures")
    write_json(report, out / "report.json")


def _facts(settings: Settings) -> dict[str, str]:
    return {
        "prompts": f"{adopt_clips(settings)} of ShapeWorld's {settings.split} split",
        "training seeds": ", ".join(map(str, settings.seeds)),
        "features": settings.extractor,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} CPU threads",
        "software": f"fewstep {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "commit": git_commit() or "outside a repository",
    }
