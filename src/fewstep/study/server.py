"""A small server: the page and its clips out, answers in, each on the disk before it is confirmed."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fewstep.files import OutputError
from fewstep.study.answers import AnswerLog, check_answer
from fewstep.study.page import CLIPS, KINDS, PAGE
from fewstep.study.pairs import load_study

EVERYWHERE = "0.0.0.0"
"""Stands for all networks that the machine is in."""
MAX_BODY = 1 << 20
"""Bytes of one request; a rater's answers to a thousand pairs."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class StudyServer(ThreadingHTTPServer):
    """Serves the study of a folder. Raises ValueError where there is none, OSError where the address is taken."""

    daemon_threads = True

    def __init__(self, folder: Path | str, host: str, port: int):
        self.study = load_study(folder)
        self.log = AnswerLog(folder, self.study)
        page = Path(folder) / PAGE
        # only what the study shows is served, whatever else lies there; the key is beside the page, not in it
        clips = sorted((page.parent / CLIPS).glob("*"))
        self.files = {f"/{CLIPS}/{path.name}": path for path in clips if path.suffix in KINDS}
        self.files |= {"/": page, f"/{page.name}": page}
        super().__init__((host, port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        host, port = self.server_address[:2]
        return f"http://{socket.gethostname() if host == EVERYWHERE else str(host)}:{port}/"


class _Handler(BaseHTTPRequestHandler):
    """One request, and then the connection ends: no rater holds a thread."""

    timeout = 60
    server: StudyServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/answers":
            rater = parse_qs(url.query).get("rater", [""])[0]
            answers = [asdict(answer) for answer in self.server.log.of(rater)]
            self._say(HTTPStatus.OK, {"study": self.server.study.identity, "answers": answers})
        elif url.path in self.server.files:
            self._file(self.server.files[url.path])
        else:
            self._say(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if urlsplit(self.path).path != "/answers":
            return self._say(HTTPStatus.NOT_FOUND, {"error": "answers go to /answers"})
        # other sites' pages cannot send this kind without asking first, and nobody grants it
        if self.headers.get_content_type() != "application/json":
            return self._say(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "answers are application/json"})
        if not length.isdigit() or int(length) > MAX_BODY:
            return self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"at most {MAX_BODY} bytes, counted"})
        try:
            plain = json.loads(self.rfile.read(int(length)))
            if not isinstance(plain, list):
                raise ValueError("a list of answers is required")
            self.server.log.add([check_answer(each, self.server.study) for each in plain])
        except OutputError as error:
            return self._say(HTTPStatus.INSUFFICIENT_STORAGE, {"error": str(error)})
        except ValueError as error:
            return self._say(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        self._say(HTTPStatus.OK, {"stored": len(plain)})

    def _file(self, path: Path) -> None:
        """A file, or the part of it that is asked for: players seek by parts."""
        try:
            content = path.read_bytes()
        except OSError:
            return self._say(HTTPStatus.NOT_FOUND, {"error": f"{path.name} is gone"})
        kind = KINDS.get(path.suffix, "text/html; charset=utf-8")
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or wanted.groups() == ("", ""):
            return self._send(HTTPStatus.OK, content, kind)
        start, end = _part(wanted[1], wanted[2], len(content))
        if start >= end:
            span = {"Content-Range": f"bytes */{len(content)}"}
            return self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", kind, span)
        span = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        self._send(HTTPStatus.PARTIAL_CONTENT, content[start:end], kind, span)

    def _say(self, status: HTTPStatus, plain: Any) -> None:
        self._send(status, json.dumps(plain).encode(), "application/json", {"Cache-Control": "no-store"})

    def _send(self, status: HTTPStatus, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Accept-Ranges": "bytes", **(more or {})}
        headers |= {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        headers["Referrer-Policy"] = "no-referrer"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Raters' doings are nobody's business; faults show in the page."""


def _part(first: str, last: str, size: int) -> tuple[int, int]:
    """Start and end of a range as HTTP writes it: `0-99`, `100-`, or `-50` for the last fifty."""
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)
