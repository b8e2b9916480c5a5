"""What the README says of the bundled models is what the files of results say."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewstep.commands.table import main
from fewstep.evaluation.report import fields, relative
from fewstep.evaluation.results import load_cells

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "shapes"


def test_the_readmes_table_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(RESULTS), "--markdown"])
    printed = capsys.readouterr().out.split("\n\n")[0]
    assert printed.startswith("|  | own sampler |")
    assert printed in (ROOT / "README.md").read_text(encoding="utf-8"), "paste the command's table into the README"


def test_a_student_that_only_regressed_trajectories_is_clearly_worse_in_one_step_than_its_teacher() -> None:
    grid = relative(fields(load_cells(RESULTS)), "teacher")
    start = next(row for row in grid.rows if row[0].startswith("ODE"))
    share = start[grid.header.index("1 step")]
    upper = float(share.split(",")[1].strip(" ]"))
    assert upper < 95, f"one step of the ODE's start has {share} of the teacher's Semantic"
