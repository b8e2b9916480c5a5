from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fewstep.cli import main
from fewstep.study.analysis import analyse
from fewstep.study.answers import read_answers
from fewstep.study.page import render_page, write_study
from fewstep.study.pairs import Study
from fewstep.study.server import StudyServer

KEYS = {"left": "ArrowLeft", "similar": "ArrowDown", "right": "ArrowRight"}


def blinded(page: str) -> dict[str, Any]:
    """What the page knows."""
    found = re.search(r'<script id="data" type="application/json">(.*)</script>', page)
    assert found
    return json.loads(found[1])


@contextmanager
def running(folder: Path, port: int = 0):
    with StudyServer(folder, "127.0.0.1", port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def begin(page: Any, rater: str) -> None:
    page.until("!document.getElementById('welcome').hidden")
    page.run(f"document.getElementById('rater').value = {json.dumps(rater)}")
    page.run("document.querySelector('#begin button').click()")


def sides(page: Any) -> tuple[str, str]:
    """Blinded names of the clips that are shown, once an answer is taken."""
    page.until("!document.getElementById('rate').hidden && !document.querySelector('#choices button').disabled")
    left, right = (page.run(f"document.getElementById('{side}').firstChild.dataset.clip") for side in ("left", "right"))
    return left, right


def place(page: Any) -> str:
    return page.run("document.getElementById('place').textContent")


def prefer(page: Any, study: Study, wish: str | None) -> str:
    """Answer by key for the clip of a model, or for neither; returns the pair's name."""
    left, right = sides(page)
    pair = next(pair for pair in study.pairs if {pair.first.clip, pair.second.clip} == {left, right})
    wanted = {pair.first.model: pair.first.clip, pair.second.model: pair.second.clip}.get(wish or "")
    before = page.run("answers.size")
    page.press(KEYS["left" if wanted == left else "right" if wanted == right else "similar"])
    page.until(f"answers.size === {before + 1}")
    return pair.name


def test_the_page_names_no_model_and_needs_nothing_from_outside(sets, draw):
    drawn = draw(*sets)
    page = render_page(drawn.study, drawn.files, embed=True)
    assert not re.search(r"\bours\b|\btheirs\b|clip-0", page)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|@import|url\(""", page)
    assert len(blinded(page)["clips"]) == 40
    for pair in blinded(page)["pairs"]:
        assert pair["clips"] == sorted(pair["clips"])


def test_words_of_prompts_and_titles_stay_words(draw, write_set, tmp_path: Path):
    prompt = "</script><b>& $title \u2028 ü"
    drawn = draw(write_set(tmp_path / "x", [prompt]), write_set(tmp_path / "y", [prompt]), title="<i>T</i> $css")
    page = render_page(drawn.study, drawn.files, embed=False)
    assert blinded(page)["pairs"][0]["prompt"] == prompt
    assert "<b>" not in page
    assert "<h1>&lt;i&gt;T&lt;/i&gt; $css</h1>" in page


def test_small_studies_are_one_file_and_others_have_their_clips_beside_the_page(sets, draw, tmp_path: Path):
    page = write_study(tmp_path / "one", draw(*sets))
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    page = write_study(tmp_path / "two", draw(*sets), embed=False)
    names = {path.name for path in (page.parent / "clips").iterdir()}
    assert {clip["file"] for clip in blinded(page.read_text(encoding="utf-8"))["clips"].values()} == {
        f"clips/{name}" for name in names
    }
    assert len(names) == 40


def test_a_study_is_written_again_but_never_over_another_ones_key(sets, draw, tmp_path: Path):
    write_study(tmp_path, draw(*sets))
    write_study(tmp_path, draw(*sets))
    key = (tmp_path / "key.json").read_bytes()
    with pytest.raises(ValueError, match="holds another study"):
        write_study(tmp_path, draw(*sets, seed=1))
    assert (tmp_path / "key.json").read_bytes() == key


def test_twenty_pairs_with_a_reload_and_a_lost_server_in_the_middle_lose_no_answer(
    sets, tmp_path: Path, open_page: Callable[..., Any], capsys: pytest.CaptureFixture
):
    folder = tmp_path / "study"
    assert main(["study", *map(str, sets), "-o", str(folder), "--clips", "inside"]) == 0
    wishes = ["ours"] * 12 + [None] * 3 + ["theirs"] * 5
    named = []
    with running(folder) as server:
        study, port, address = server.study, server.server_address[1], server.address
        page = open_page(address)
        begin(page, "Zoë & co.")
        named += [prefer(page, study, wish) for wish in wishes[:8]]
        page.press("Backspace")  # a change of mind: the answer before becomes the fifth for the other one
        sides(page)
        assert place(page) == "8 of 20"
        before = page.run("JSON.stringify([...answers.values()].map((answer) => answer.at))")
        left, right = sides(page)
        ours = study.by_name[named[-1]].first.clip
        page.press("ArrowLeft" if left == ours else "ArrowRight")
        page.until(f"JSON.stringify([...answers.values()].map((answer) => answer.at)) !== {json.dumps(before)}")
        named += [prefer(page, study, wish) for wish in wishes[8:10]]
        page.until("!waiting().length")
        page.reload()
        assert {left, right} != set(sides(page))
        assert (place(page), page.run("answers.size")) == ("11 of 20", 10)
        named.append(prefer(page, study, wishes[10]))
        page.until("!waiting().length")
    named += [prefer(page, study, wish) for wish in wishes[11:14]]
    assert page.run("waiting().length") == 3
    with running(folder, port):
        page.until("!waiting().length")
        named += [prefer(page, study, wish) for wish in wishes[14:]]
        page.until("!document.getElementById('done').hidden && !waiting().length")
        assert "Your 20 answers are stored" in page.run("document.getElementById('end').textContent")
        page.run("localStorage.clear()")  # as if at another computer
        page.reload()
        begin(page, "Zoë & co.")
        page.until("document.getElementById('known').textContent.includes('20 answers under this name already')")
        page.run("document.querySelector('#begin button').click()")
        page.until("!document.getElementById('done').hidden")
        assert page.run("answers.size") == 20
    assert len(set(named)) == 20
    (match,) = analyse(read_answers([folder], study), study).comparisons
    assert (match.wins, match.ties, match.losses) == (12, 3, 5)
    capsys.readouterr()
    assert main(["study", "analyse", str(folder), "-o", str(tmp_path / "a.json")]) == 0
    assert "20 answers of 1 raters to 20 prompts" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["comparisons"][0]["share"] == 0.675


def test_a_page_from_a_file_keeps_answers_and_saves_them_for_the_analysis_and_for_another_browser(
    sets, draw, tmp_path: Path, open_page: Callable[..., Any]
):
    drawn = draw(*sets, per_rater=4)
    address = write_study(tmp_path / "study", drawn).as_uri()
    page = open_page(address)
    begin(page, "Zoë")
    first = prefer(page, drawn.study, "theirs")
    page.reload()
    sides(page)
    assert place(page) == "2 of 4"
    for wish in ("ours", None, "theirs"):
        assert prefer(page, drawn.study, wish) != first
    page.until("!document.getElementById('done').hidden")
    page.allow_downloads(tmp_path)
    page.run("document.querySelector('#done .save').click()")
    saved = page.wait_for_file(tmp_path, "answers-*.json")
    (match,) = analyse(read_answers([saved], drawn.study), drawn.study).comparisons
    assert (match.wins, match.ties, match.losses) == (1, 1, 2)
    page.run("localStorage.clear()")
    page.reload()
    page.until("!document.getElementById('welcome').hidden")
    page.run(f"load(new File([{json.dumps(saved.read_text(encoding='utf-8'))}], 'a.json'))")
    page.until("!document.getElementById('done').hidden")
    assert page.run("[rater, answers.size].join()") == "Zoë,4"


def test_a_pair_that_cannot_be_played_waits_for_its_clips_or_is_skipped(
    draw, write_set, tmp_path: Path, open_page: Callable[..., Any]
):
    prompts = ["a", "b"]
    drawn = draw(write_set(tmp_path / "x", prompts), write_set(tmp_path / "y", prompts, suffix=".webp", value=90))
    path = write_study(tmp_path / "study", drawn, embed=False)
    clips = path.parent / "clips"
    clips.rename(path.parent / "away")
    page = open_page(path.as_uri())
    begin(page, "Zoë")
    page.until("!document.getElementById('broken').hidden")
    page.press("ArrowLeft")
    assert page.run("answers.size") == 0
    page.run("document.querySelector('#broken button').click()")
    page.until("document.getElementById('place').textContent === '2 of 2'")
    page.until("!document.getElementById('broken').hidden")
    (path.parent / "away").rename(clips)
    prefer(page, drawn.study, "y")
    assert page.run("[...answers.values()].map((answer) => answer.choice).sort()")[1] == "skipped"


def test_every_rater_gets_as_many_pairs_of_each_match_on_sides_of_their_own(
    sets, draw, write_set, tmp_path: Path, open_page: Callable[..., Any]
):
    third = write_set(tmp_path / "third", value=62)
    drawn = draw(*sets, third, per_rater=12)
    page = open_page(write_study(tmp_path / "study", drawn).as_uri())
    ballots = json.loads(page.run("JSON.stringify(Array.from({ length: 60 }, (_, i) => ballot(`rater ${i}`)))"))
    lefts, orders = [], set()
    for ballot in ballots:
        pairs = [drawn.study.by_name[asked["name"]] for asked in ballot]
        assert len({pair.name for pair in pairs}) == 12
        matches = [(pair.first.model, pair.second.model) for pair in pairs]
        assert sorted(map(matches.count, set(matches))) == [4, 4, 4]
        orders.add(tuple(pair.name for pair in pairs))
        lefts += [asked["left"] == pair.first.clip for asked, pair in zip(ballot, pairs, strict=True)]
    assert len(orders) == 60
    assert abs(sum(lefts) - 360) < 3 * 13.4  # standard deviations of 720 throws of a coin
    asked = {entry["name"] for ballot in ballots for entry in ballot}
    assert len(asked) == 60  # every pair is asked of somebody
    assert page.run("JSON.stringify(ballot('x')) === JSON.stringify(ballot('x'))")
