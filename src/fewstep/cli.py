"""The `fewstep` command: finds the subcommand, and turns every error that a user can cause into one clear message."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from fewstep.files import advice

COMMANDS = {
    "generate": "make clips from prompts with a bundled or own model",
    "encode": "encode prompts once, for training and serving without the text encoder",
    "data": "turn folders of video into shards for training",
    "train": "run a recipe: from data to a trained student",
    "demo": "distil a one-step student live and write a page about it",
    "sample": "make clips of models at step plans, for every measure to read",
    "eval": "score folders of clips by what their manifests say",
    "shapebench": "score models at every step plan on the same prompts and noise",
    "table": "print saved scores as the README's table",
    "reproduce": "set every table and figure of a paper beside our own, with a verdict for each claim",
    "study": "ask people which clips they prefer, blinded, and analyse what they say",
    "vbench": "export clips to VBench, run it in its own environment, and add up its scores",
    "plan": "say what a recipe or a model takes, and what would make it fit, before anything runs",
    "bench": "measure speed and memory on this machine",
    "long": "let a student go on without end, and measure memory, time, quality and motion on the way",
    "doctor": "say what this machine has and which models fit",
    "export": "write a model for diffusers, ComfyUI or Self-Forcing",
    "inspect": "say what a checkpoint is, before it is loaded",
    "models": "list the bundled models, or describe folders",
}
"""Each is a module in `fewstep.commands` with `main(argv)`, loaded when asked for."""

USER_ERROR, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for a user's error, 130 when interrupted.

    `--debug` anywhere lets errors through with their traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with _terminate_like_interrupt():
            return _dispatch(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        # the reader of our output left; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        if debug:
            raise
        _say("interrupted; nothing half-written was left behind")
        return INTERRUPTED
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        message = _explain(error)
        if debug or message is None:
            raise
        _say(f"error: {message}")
        return USER_ERROR


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from fewstep import __version__

        print(f"fewstep {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise ValueError(
            f"a command is required, got '{name}'{closest(name, COMMANDS) or '.'} Commands: {', '.join(COMMANDS)}"
        )
    importlib.import_module(f"fewstep.commands.{name}").main(rest)
    return 0


def closest(word: str, known: Iterator[str] | Sequence[str] | dict) -> str:
    """`: did you mean 'x'?` when a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f": did you mean '{near[0]}'?" if near else ""


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: fewstep COMMAND [options]",
            "",
            "One causal video student for 1, 2 and 4 steps.",
            "",
            *lines,
            "",
            "`fewstep COMMAND --help` lists a command's options; `--debug` shows tracebacks.",
        ]
    )


def _explain(error: Exception) -> str | None:
    """What to tell the user, or None for an error that only the code can have caused."""
    if isinstance(error, ImportError):
        # a package that is not installed is the user's affair, a name that is not there is ours
        foreign = isinstance(error, ModuleNotFoundError) and not (error.name or "fewstep").startswith("fewstep")
        return f"{error}: install it (`pip install {error.name}`)" if foreign else None
    if isinstance(error, RuntimeError):
        # torch reports full memory and absent hardware as RuntimeError; anything else is ours
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            return None
        return f"memory ran out ({str(error).splitlines()[0]}): ask for fewer frames or clips, or a smaller model"
    if isinstance(error, MemoryError):
        return "memory ran out: ask for fewer frames or clips, or a smaller model"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {error.filename or 'a file'}: {advice(error)}"
    return str(error) or type(error).__name__


def _say(message: str) -> None:
    print(f"fewstep: {message}", file=sys.stderr)


@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """Make SIGTERM unwind the stack as Ctrl-C does, so that scratch files go away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
