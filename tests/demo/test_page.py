from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewstep.demo.hero import hero_frames, write_hero
from fewstep.demo.page import TILE, Animation, Report, Take, Variant, render_page, sprite
from fewstep.video import read_video

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3), dtype=np.uint8)
GOOD = Take(FRAMES, 0.02, (("colour", True), ("shape", True)))
BAD = Take(FRAMES, 0.02, (("colour", True), ("shape", False)))


def variant(group: str, title: str, steps: tuple[int, ...], takes: tuple[Take, ...] = (GOOD, BAD)) -> Variant:
    return Variant(
        group=group,
        title=title,
        weights=f"{group} weights",
        steps=steps,
        commits=0,
        takes=takes,
        score=0.75,
        seconds=0.02,
    )


@pytest.fixture
def report() -> Report:
    return Report(
        prompts=("a red <star>", "a blue heart"),
        variants=(
            variant("teacher", "50 steps", (100,)),
            variant("student", "1* steps", (4, 1, 1)),
            variant("student", "1 step", (1, 1, 1)),
            variant("live", "1 step", (1, 1, 1)),
        ),
        animation=Animation(
            prompt="a red <star> moves",
            truth=FRAMES,
            picture=Path("out/my demo/first.png"),
            variant=variant("image", "1 step", (1, 1)),
        ),
        fps=16,
        scenes=2,
        curves={"generator/dmd": [0.5, 0.4], "fake_score/loss": [0.6, 0.5]},
        live_seconds=90,
        live_updates=2,
        missing=(),
        seed=0,
    )


class Outline(HTMLParser):
    """Open tags must close in order; addresses must stay inside the page."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href") or value.startswith(("data:", "#"))

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert not parser.open
    return parser


def test_the_page_is_well_formed_and_loads_nothing_from_outside(report):
    page = render_page(report)
    assert outline(page).count["figure"] == 2 * 4 + 3 + 2
    assert not re.search(r"url\((?!data:)", page)
    assert "$" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_each_clip_carries_its_verdict_in_words_its_time_and_its_evaluations(report):
    page = render_page(report)
    assert page.count("all 2 right") == 4 + 1
    assert page.count("1 of 2 right") == 4
    assert "wrong: shape" in page
    assert "20 ms · 6 evaluations" in page


def test_the_row_from_a_picture_shows_the_picture_still_the_truth_and_the_students_clip(report):
    page = render_page(report)
    row = page[page.index('id="picture"') : page.index('id="cost"')]
    assert re.findall(r'<span class="title">([^<]+)</span>', row) == ["the picture", "the true clip", "1 step"]
    assert row.count('class="clip still"') == 1
    assert "20 ms · 2 evaluations" in row
    assert "<strong>75%</strong>" in row
    assert "--image 'out/my demo/first.png' 'a red &lt;star&gt; moves'" in row
    assert 'id="picture"' not in render_page(replace(report, animation=None))


def test_prompts_are_text_never_markup(report):
    assert "a red &lt;star&gt;" in render_page(report)


def test_a_page_without_live_run_or_student_says_so(report):
    partial = replace(report, variants=report.variants[:1] + report.variants[3:], missing=("shapes-asd",), curves={})
    page = render_page(replace(partial, live_updates=0))
    outline(page)
    assert "shapes-asd" in page
    assert "No distillation ran" in page


def test_a_sprite_holds_every_frame_below_the_one_before():
    data = base64.b64decode(sprite(FRAMES).split(",", 1)[1])
    assert Image.open(io.BytesIO(data)).size == (TILE, TILE * len(FRAMES))


def test_the_picture_shows_teacher_and_student_in_step(report, tmp_path):
    frames = hero_frames(report, rows=2)
    assert frames.shape[0] == len(FRAMES)
    written = write_hero(report, tmp_path / "hero.webp", rows=2)
    assert read_video(written).frames.shape == frames.shape


def test_the_picture_needs_a_bundled_model(report, tmp_path):
    with pytest.raises(ValueError, match="make embedded"):
        write_hero(replace(report, variants=report.variants[3:]), tmp_path / "hero.webp")
    assert not list(tmp_path.iterdir())
