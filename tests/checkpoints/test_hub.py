"""From a name to files, against the hub's real client and a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from fewstep.checkpoints.hub import fetch, fetch_weights
from fewstep.cli import main
from fewstep.models.checkpoint_dir import ASSETS, ModelError

COMMIT = "c" * 40
FILES = {
    "model_index.json": b'{"_class_name": "WanPipeline"}',
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": b"0123456789" * 100,
    "tokenizer/spiece.model": b"words",
    "checkpoints/student.pt": b"a student",
    "image_encoder/model.safetensors": b"not for text to video",
    "assets/picture.png": b"a picture",
    "README.md": b"a card",
}


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that a download needs."""

    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.asked.append(self.path)
        repo, revision, file = self.understand()
        if repo not in ("wan/model", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"):
            code = "GatedRepo" if repo == "wan/gated" else "RepoNotFound"
            self.refuse(403 if code == "GatedRepo" else 401, code)
        elif revision not in ("main", "v1", COMMIT):
            self.refuse(404, "RevisionNotFound")
        elif file is None and "/tree/" in self.path:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in FILES.items()
            ]
            self.send(json.dumps(tree).encode(), "application/json")
        elif file is None:
            listing = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            facts = {"id": repo, "sha": COMMIT, "private": False, "siblings": listing, "tags": [], "downloads": 0}
            self.send(json.dumps({**facts, "likes": 0}).encode(), "application/json")
        elif file not in FILES:
            self.refuse(404, "EntryNotFound")
        else:
            self.send(FILES[file], "application/octet-stream")

    def understand(self) -> tuple[str, str, str | None]:
        """Repository, revision and file that the path asks for."""
        if match := re.match(r"/api/models/([^/]+/[^/]+)/(?:revision|tree)/([^/?]+)", self.path):
            return match[1], match[2], None
        if match := re.match(r"/api/models/([^/]+/[^/?]+)", self.path):
            return match[1], "main", None
        match = re.match(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        assert match, self.path
        return match[1], match[2], match[3]

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{hub.server_port}"
    hub.shutdown()
    hub.server_close()


def reach(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Make the client take `endpoint` for the hub."""
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.split("/", 3)[3]
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{endpoint}/{path}")


@pytest.fixture
def cache(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache, filled from the server."""
    Hub.asked.clear()
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path / "cache"), raising=False)
    reach(monkeypatch, server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_only_what_a_model_is_made_of_is_downloaded_and_only_once(cache: Path):
    folder = fetch("wan/model")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {name for name in FILES if name.split("/")[0] in ("model_index.json", "transformer", "tokenizer")}
    for name in found:
        assert (folder / name).read_bytes() == FILES[name]
    Hub.asked.clear()
    assert fetch("wan/model") == folder
    assert not [path for path in Hub.asked if "resolve" in path]


def test_published_models_are_known_by_their_name_alone(cache: Path):
    assert "Wan-AI--Wan2.1-T2V-1.3B-Diffusers" in str(fetch("Wan2.1-T2V-1.3B-Diffusers"))


def test_a_student_is_one_file_of_a_repository(cache: Path):
    assert fetch_weights("wan/model/checkpoints/student.pt").read_bytes() == b"a student"
    with pytest.raises(ModelError, match="wan/model has no such file"):
        fetch_weights("wan/model/checkpoints/other.pt")


def test_a_revision_is_asked_for_by_name(cache: Path):
    assert fetch("wan/model", "v1").is_dir()
    with pytest.raises(ModelError, match="wan/model has no revision 'v2': choose a branch, tag or commit"):
        fetch("wan/model", "v2")


def test_folders_and_bundled_names_win_over_the_hub(cache: Path, tmp_path: Path):
    (tmp_path / "wan" / "model").mkdir(parents=True)
    assert fetch("wan/model") == Path("wan/model")
    assert fetch("shapes-asd") == ASSETS / "shapes-asd"
    assert fetch_weights("shapes-asd") == ASSETS / "shapes-asd"
    assert Hub.asked == []
    with pytest.raises(ModelError, match="leave it out"):
        fetch("shapes-asd", "v1")


def test_a_gated_repository_says_where_to_accept_its_terms(cache: Path):
    with pytest.raises(ModelError, match="wan/gated is gated: accept its terms"):
        fetch("wan/gated")


def test_an_unknown_repository_may_have_been_renamed(cache: Path):
    with pytest.raises(ModelError, match="the hub has no model wan/other, or it is private or was renamed"):
        fetch("wan/other")


def test_without_a_way_to_the_hub_a_copy_will_do(cache: Path, monkeypatch: pytest.MonkeyPatch):
    reach(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"the hub cannot be reached .*or give the folder of a copy"):
        fetch("wan/model")
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        fetch_weights("wan/model/checkpoints/student.pt")


def test_what_was_fetched_before_is_used_without_a_way_to_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch):
    folder, file = fetch("wan/model"), fetch_weights("wan/model/checkpoints/student.pt")
    reach(monkeypatch, "http://127.0.0.1:9")
    assert fetch("wan/model") == folder
    assert fetch_weights("wan/model/checkpoints/student.pt") == file


def test_offline_by_choice_is_no_way_to_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        fetch("wan/model")


def test_a_missing_package_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match="needs the package huggingface_hub"):
        fetch("wan/model")


def test_names_that_no_repository_can_have_stay_names(cache: Path):
    with pytest.raises(ModelError, match="perhaps you meant 'shapes-asd'"):
        fetch("shapes-asdf")
    with pytest.raises(ModelError, match="no model is called or at"):
        fetch("a/b/c")
    with pytest.raises(ModelError, match=r"no weights at 'gone\.pt'"):
        fetch_weights("gone.pt")
    assert Hub.asked == []


def test_the_command_line_says_it_in_one_line(cache: Path, capsys: pytest.CaptureFixture):
    assert main(["inspect", "wan/gated"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fewstep: error: wan/gated is gated")
