"""The environment that VBench lives in: its python, what is installed there, and processes in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

ASKED = (
    "torch",
    "torchvision",
    "transformers",
    "numpy",
    "opencv-python",
    "decord",
    "timm",
    "pyiqa",
    "detectron2",
    "clip",
)
"""Packages whose versions are written beside each result."""
PROBE = """
import importlib.metadata, json, platform, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""
PROBE_SECONDS, MERCY = 120, 10
"""How long the environment may take to say what it has, and a process to end when it is told to."""
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables of this environment that would lead the other one astray."""
SHOWN = 12
"""Last lines of a log that an error shows."""


class EnvironmentFault(ValueError):
    """An environment or a checkout that cannot evaluate, or a process in it that failed."""


def installed(python: Path) -> dict[str, str]:
    """Versions of python and of the packages of its environment. Raises EnvironmentFault where it does not run."""
    words = [str(python), "-c", PROBE, *ASKED]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, env=_variables(), timeout=PROBE_SECONDS, check=True
        )
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentFault(
            f"the python of VBench's environment was required, '{python}' does not answer ({error}): give --python or "
            "VBENCH_PYTHON, the bin/python of that environment"
        ) from error


def commit_of(checkout: Path) -> str | None:
    """Git commit of a checkout; None where it is no repository of its own."""
    if not (checkout / ".git").exists():
        return None
    words = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def call(python: Path, words: Sequence[str], folder: Path, log: Path, timeout: float | None = None) -> None:
    """Run a script in a folder, all that it prints at the end of a log.

    Raises EnvironmentFault with the end of the log for a script that fails or takes more than `timeout` seconds. It
    ends, with all that it started, when this process is interrupted.
    """
    with log.open("ab") as output:
        output.write(f"\n$ {python} {' '.join(words)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            [str(python), *words],
            cwd=folder,
            env=_variables(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise EnvironmentFault(f"{words[0]} took more than {timeout:.0f} s: raise --timeout; see {log}") from error
        finally:
            _end(process)
    if status:
        raise EnvironmentFault(f"{words[0]} ended with status {status}, see {log}\n{_tail(log)}")


def _variables() -> dict[str, str]:
    """The variables without those of our own python, and with a free port: VBench joins a process group of one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**kept, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONUNBUFFERED": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it started, if it has not ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(MERCY)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-SHOWN:])
