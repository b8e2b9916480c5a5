"""Folders of clips with manifests; and headless Chromium through its debugging pipe, with no driver to install."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstep.manifest import Entry, Manifest, Settings, file_hash
from fewstep.study.pairs import Drawn, draw_study, read_contestant
from fewstep.video import write_video

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TIMEOUT = 30.0
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--mute-audio",
    "--no-first-run",
    "--disable-extensions",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
]
CODES = {"ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8, "r": 82, " ": 32}

PROMPTS = tuple(f"a red ball, number {number}" for number in range(20))


def write_set(
    folder: Path,
    prompts: Sequence[str] = PROMPTS,
    *,
    value: int = 60,
    seeds: Sequence[int] = (0,),
    suffix: str = ".mp4",
) -> Path:
    """A folder of tiny clips, all alike but for their brightness, with its manifest."""
    manifest = Manifest(folder)
    for index, prompt in enumerate(prompts):
        for seed in seeds:
            path = folder / f"clip-{index:03d}-seed{seed}{suffix}"
            shade = np.linspace(0, 90, 4).astype(np.uint8) + value + index + 2 * seed
            write_video(path, np.broadcast_to(shade[:, None, None, None], (4, 32, 48, 3)).copy(), 8)
            settings = Settings(
                prompt=prompt,
                seed=seed,
                index=index,
                batch=(0, len(prompts)),
                model=folder.name,
                fingerprint={},
                sampling={},
                negative_prompt=None,
                begins_with=None,
                frames=4,
                height=32,
                width=48,
                enlarge=1,
                fps=8.0,
                dtype="float32",
            )
            costs = {"network_evaluations": 4, "commits": 0, "seconds": {"total": 1.0}}
            manifest.add(Entry(file=path.name, sha256=file_hash(path), settings=settings, **costs))
    return folder


def draw(*folders: Path | str, **changes: object) -> Drawn:
    """A study of these folders."""
    words = {"title": "T", "question": "Q?", "prompts": None, "per_rater": 20, **changes}
    return draw_study([read_contestant(str(folder)) for folder in folders], **words)


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models' clips of twenty prompts."""
    folder = tmp_path_factory.mktemp("sets")
    return write_set(folder / "ours", value=60), write_set(folder / "theirs", value=61)


@pytest.fixture(name="write_set", scope="session")
def _write_set() -> Callable[..., Path]:
    return write_set


@pytest.fixture(name="draw", scope="session")
def _draw() -> Callable[..., Drawn]:
    return draw


@pytest.fixture(scope="session")
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Page]]:
    """Opens an address in headless Chromium; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium.open


class Browser:
    """A browser of its own with an empty profile, gone when the `with` ends."""

    def __init__(self, profile: Path):
        read, self._out = os.pipe()
        self._in, write = os.pipe()

        def connect() -> None:
            # the browser listens at 3 and speaks at 4; first out of the way of both
            ours, theirs = os.dup2(read, 103), os.dup2(write, 104)
            os.dup2(ours, 3)
            os.dup2(theirs, 4)

        self._process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._buffer, self._number = b"", 0

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *what: object) -> None:
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, address: str, width: int = 1280, height: int = 800) -> Page:
        """A new page."""
        target = self.call("Target.createTarget", url="about:blank", newWindow=True, width=width, height=height)[
            "targetId"
        ]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        page.call("Page.enable")
        page.go(address)
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while True:
            reply = self._receive(end)
            if reply.get("id") == self._number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._in, 1 << 16)
            if not piece:
                raise RuntimeError("the browser is gone")
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)


class Page:
    """One page."""

    def __init__(self, browser: Browser, session: str):
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self) -> None:
        """Leave a mark that a new document does not have, and wait for it to be gone."""
        self.run("window.old = true")
        self.call("Page.reload")
        self.until("!window.old && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression."""
        reply = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            raise RuntimeError(f"{script}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait for it to be true."""
        end = time.monotonic() + TIMEOUT
        while True:
            with contextlib.suppress(RuntimeError):  # between two documents there is nothing to ask
                if self.run(condition):
                    return
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """One key down and up."""
        code = CODES.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def allow_downloads(self, folder: Path) -> None:
        self._browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def wait_for_file(self, folder: Path, pattern: str) -> Path:
        """A download, once it is whole."""
        end = time.monotonic() + TIMEOUT
        while not (found := list(folder.glob(pattern))):
            assert time.monotonic() < end, pattern
            time.sleep(0.02)
        return found[0]

    def picture(self, path: Path) -> None:
        """What it looks like, as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
