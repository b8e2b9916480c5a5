"""A file's pictures become whole clips of one scene; all others are accounted for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewstep.ingest.outcome import judge
from fewstep.ingest.scan import LEFT_OVER, STILL, TOO_SHORT, Cutting, Scan, Span, scan_file
from fewstep.ingest.sources import Source
from fewstep.types import Picture

CUTTING = Cutting(frames=9, fps=16.0, height=32, width=48, jump=3.0)


def scan(path: Path, cutting: Cutting = CUTTING) -> tuple[Scan, dict[str, Picture]]:
    strips: dict[str, Picture] = {}
    return scan_file(path, path.name, cutting, strips.__setitem__), strips


def test_scenes_are_cut_into_clips_and_no_clip_crosses_a_cut(tmp_path: Path, make_film, make_scene) -> None:
    scenes = [make_scene(21), make_scene(9, (200, 40, 40)), make_scene(5, (30, 170, 60)), make_scene(9, (10, 10, 10))]
    made, strips = scan(make_film(tmp_path / "a.mp4", np.concatenate(scenes)))
    assert made.spans == (
        Span(0, 9),
        Span(9, 9),
        Span(18, 3, LEFT_OVER),
        Span(21, 9),
        Span(30, 5, TOO_SHORT),
        Span(35, 9),
    )
    assert (made.cuts, made.pictures, made.repeated, made.error) == (3, 44, 0, None)
    assert sum(span.count for span in made.spans) == made.pictures
    assert set(strips) == {made.strip(span) for span in made.spans}
    assert strips[made.strip(made.spans[0])].shape == (72, 5 * 108, 3)
    # the strip shows its own clip: the third one's ground is red
    assert np.abs(strips[made.strip(made.spans[3])][-4:, -4:].astype(int) - (200, 40, 40)).mean() < 15
    assert Scan.from_json(made.to_json()) == made


def test_the_target_rate_decides_how_many_pictures_there_are(tmp_path: Path, make_film, make_scene) -> None:
    path = make_film(tmp_path / "a.mp4", make_scene(30), fps=30)
    assert scan(path)[0].pictures == 16
    slow, _ = scan(make_film(tmp_path / "b.mp4", make_scene(10), fps=8))
    assert (slow.pictures, slow.repeated) == (20, 10)
    assert [span.first for span in slow.clips] == [0, 9]


def test_a_picture_that_stays_ends_its_scene_and_gives_no_clip(tmp_path: Path, make_film, make_scene) -> None:
    moments = [k / 16 for k in range(11)] + [4 + k / 16 for k in range(9)]  # 3.3 s between the two halves
    made, _ = scan(make_film(tmp_path / "a.mp4", make_scene(20), times=moments))
    assert [span.first for span in made.clips] == [0, made.spans[-1].first]
    assert made.pictures - made.spans[-1].first == 9, "the scene after the gap begins with its first picture"
    assert {span.dropped for span in made.spans[1:-1]} == {STILL, LEFT_OVER}
    assert made.cuts == 1
    slides, _ = scan(make_film(tmp_path / "b.mp4", make_scene(4), times=[0.0, 3.0, 6.0, 9.0]))
    assert slides.clips == []
    (outcome,) = judge([Source(tmp_path / "b.mp4", "b.mp4")], {"b.mp4": "slides"}, {}, {"b.mp4": slides}, CUTTING)
    assert outcome.dropped == f"it stands still: {slides.pictures - 4} of {slides.pictures} pictures are repeated"


def test_how_much_may_repeat_can_be_chosen(tmp_path: Path, make_film, make_scene) -> None:
    path = make_film(tmp_path / "a.mp4", make_scene(10), fps=5)
    assert scan(path)[0].clips == []
    assert [span.first for span in scan(path, replace(CUTTING, repeats=0.8))[0].clips] == [0, 9, 18]
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 60"):
        replace(CUTTING, repeats=60)


def test_a_short_or_damaged_file_gives_no_clip(tmp_path: Path, make_film, make_scene) -> None:
    short, _ = scan(make_film(tmp_path / "a.mp4", make_scene(3)))
    assert short.spans == (Span(0, 3, TOO_SHORT),)
    assert short.clips == []
    text = tmp_path / "b.mp4"
    text.write_text("no film")
    assert scan(text)[0].error is not None
    gone, _ = scan(tmp_path / "nowhere.mp4")
    assert gone.error == "it cannot be read (No such file or directory)"


def test_what_the_saver_raises_is_not_taken_for_damage(tmp_path: Path, make_film, make_scene) -> None:
    def full_disk(name: str, strip: Picture) -> None:
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full"):
        scan_file(make_film(tmp_path / "a.mp4", make_scene(9)), "a.mp4", CUTTING, full_disk)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="fps of a clip must be above 0"):
        Cutting(frames=9, fps=0, height=32, width=48, jump=3.0)
