from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fewstep.cli import COMMANDS, main
from fewstep.video import read_video


def test_help_names_every_command_without_loading_torch():
    program = "import sys; from fewstep.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.strip().endswith("False")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_every_command_explains_itself(command: str, capsys):
    assert main([command, "--help"]) == 0
    assert "usage" in capsys.readouterr().out


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fewstep 0")


def test_one_prompt_makes_one_clip(tmp_path: Path, student: Path, capsys):
    target = tmp_path / "new" / "ball.mp4"
    assert main(["generate", "a red ball", "--model", str(student), "--steps", "1", "-o", str(target)]) == 0
    clip = read_video(target)
    assert (len(clip.frames), clip.fps) == (33, 16)
    assert min(clip.frames.shape[1:3]) == 256
    assert "ball.mp4" in capsys.readouterr().out.replace("\n", "")


def test_prompts_times_seeds_make_numbered_clips_and_a_sheet(tmp_path: Path, student: Path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red ball\n\nпрыгающий куб\n", encoding="utf-8")
    words = ["generate", "--prompts", prompts, "--seeds", 0, 1, "--model", student, "--steps", 1, "--frames", 9]
    out = tmp_path / "clips" / "x.gif"
    assert main([str(w) for w in [*words, "--first", 4, "-o", out, "--sheet", tmp_path / "sheet.png"]]) == 0
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["manifest.jsonl", *(f"x-{prompt:03d}-seed{seed}.gif" for prompt in (0, 1) for seed in (0, 1))]
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_moving_sheet_alone_writes_no_clips(tmp_path: Path, student: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "a red ball", "--seeds", "0", "1", "--model", str(student), "--steps", "1", "--frames", "9"]
    assert main([*words, "--sheet", "sheet.webp"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.webp"]


def test_models_describes_folders(student: Path, teacher: Path, capsys):
    assert main(["models", str(student), str(teacher)]) == 0
    out = capsys.readouterr().out
    assert "student" in out
    assert "teacher" in out


def test_doctor_writes_what_it_finds(tmp_path: Path, capsys):
    assert main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    found = json.loads((tmp_path / "doctor.json").read_text())
    assert found["devices"][0]["device"] == "cpu"
    assert "wan_14b" in capsys.readouterr().out


@contextmanager
def sending(number: int) -> Iterator[None]:
    """Send this process a signal after a second; tests in a background job, which ignores Ctrl-C, heed it too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_ends_with_130_and_leaves_nothing(tmp_path: Path, student: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "a red ball", "--model", str(student), "--seeds", *map(str, range(5000)), "--sheet", "s.gif"]
    with sending(signal.SIGINT):
        assert main(words) == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_sigterm_ends_a_run_as_an_interrupt_does(tmp_path: Path, student: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "a red ball", "--model", str(student), "--seeds", *map(str, range(5000)), "--sheet", "s.gif"]
    with sending(signal.SIGTERM):
        assert main(words) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_reports_errors_by_its_status(tmp_path: Path):
    command = [sys.executable, "-m", "fewstep", "generate", "a red ball", "-o", "clip.txt"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "clip.txt" in done.stderr
