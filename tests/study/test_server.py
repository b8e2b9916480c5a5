from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from fewstep.study.answers import LOG
from fewstep.study.page import write_study
from fewstep.study.server import MAX_BODY, StudyServer


@pytest.fixture
def server(sets, draw, tmp_path: Path) -> Iterator[StudyServer]:
    write_study(tmp_path, draw(*sets, prompts=2), embed=False)
    with StudyServer(tmp_path, "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(
    server: StudyServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply, content


def answer(server: StudyServer, **changes: object) -> dict[str, object]:
    pair = server.study.pairs[0]
    plain = {"study": server.study.identity, "rater": "a & b", "pair": pair.name, "choice": "left", "seconds": 1}
    sides = {"left": pair.first.clip, "right": pair.second.clip, "at": "2026-11-20T10:00:00.000Z"}
    return {**plain, **sides, **changes}


def post(server: StudyServer, body: object, kind: str = "application/json") -> tuple[HTTPResponse, bytes]:
    return ask(server, "/answers", "POST", json.dumps(body).encode(), Content_Type=kind)


def test_the_page_and_its_clips_are_served_and_nothing_else_is(server: StudyServer):
    clip = server.study.pairs[0].first.clip
    reply, page = ask(server, "/")
    assert (reply.status, reply.headers.get_content_type()) == (200, "text/html")
    assert server.study.identity.encode() in page
    reply, video = ask(server, f"/clips/{clip}.mp4")
    assert (reply.status, reply.headers.get_content_type(), video[4:8]) == (200, "video/mp4", b"ftyp")
    for path in (
        "/key.json",
        "/../key.json",
        "/clips/../../key.json",
        "/clips/",
        "/clips/%2e%2e/%2e%2e/key.json",
        "/x",
    ):
        reply, content = ask(server, path)
        assert reply.status == 404
        assert b"ours" not in content


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=4-7", 206, slice(4, 8)),
        ("bytes=8-", 206, slice(8, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=0-99999999", 206, slice(None)),
        ("bytes=99999999-", 416, slice(0)),
        ("bytes=-", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
def test_parts_of_a_clip_are_what_http_says(server: StudyServer, wanted: str, status: int, part: slice):
    path = f"/clips/{server.study.pairs[0].first.clip}.mp4"
    _, whole = ask(server, path)
    reply, content = ask(server, path, Range=wanted)
    assert (reply.status, content) == (status, whole[part])


def test_an_answer_is_on_the_disk_when_it_is_confirmed_and_comes_back_to_its_rater(server: StudyServer):
    reply, content = post(server, [answer(server)])
    assert (reply.status, json.loads(content)) == (200, {"stored": 1})
    assert json.loads(server.log.path.read_text()) == answer(server)
    _, content = ask(server, "/answers?rater=a%20%26%20b")
    assert json.loads(content) == {"study": server.study.identity, "answers": [answer(server)]}
    assert json.loads(ask(server, "/answers?rater=c")[1])["answers"] == []


def test_of_a_list_with_one_bad_answer_none_is_stored(server: StudyServer):
    reply, content = post(server, [answer(server), answer(server, choice="both")])
    assert reply.status == 400
    assert b"got 'both'" in content
    assert not (server.log.path.parent / LOG).exists()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [({}, "application/json", 400), ([[]], "application/json", 400), ([], "text/plain", 415)],
)
def test_what_is_no_list_of_answers_is_refused(server: StudyServer, body: object, kind: str, status: int):
    assert post(server, body, kind)[0].status == status


def test_a_body_without_end_is_refused_unread(server: StudyServer):
    reply, _ = ask(server, "/answers", "POST", Content_Type="application/json", Content_Length=str(MAX_BODY + 1))
    assert reply.status == 413


def test_answers_of_many_raters_at_once_are_all_kept(server: StudyServer):
    threads = [
        threading.Thread(target=post, args=(server, [answer(server, rater=f"rater {number}")])) for number in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {json.loads(line)["rater"] for line in server.log.path.read_text().splitlines()} == {
        f"rater {number}" for number in range(24)
    }
