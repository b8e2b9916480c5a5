"""Any file shows upright pictures at true times; what is damaged says so."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fewstep.ingest.footage import PQ, FootageError, _readable, at_rate, open_footage, read_clip
from fewstep.video import write_video


def times(path: Path) -> list[float]:
    with open_footage(path) as footage:
        return [round(begin, 3) for begin, _, _ in footage.play()]


def shown(*begins: float, end: float) -> list[tuple[float, float, str]]:
    return [(begin, end, f"{begin:g}") for begin in begins]


def test_each_moment_shows_the_picture_nearest_to_it() -> None:
    # 24 a second to 16: of three pictures one goes, and none is more than 1/48 s away
    source = [(k / 24, (k + 1) / 24, k) for k in range(24)]
    taken = list(at_rate(source, 16))
    assert len(taken) == 16
    assert max(abs(k / 24 - number / 16) for number, k in enumerate(taken)) <= 1 / 48 + 1e-6
    assert list(at_rate(source, 24)) == list(range(24))
    assert list(at_rate(source, 48)) == [k for k in range(24) for _ in range(2)]


def test_a_picture_that_stays_long_is_repeated_until_the_next_one_comes() -> None:
    taken = list(at_rate(shown(2.0, 3.0, 3.25, end=3.5), 4))
    assert taken == ["2", "2", "2", "2", "3", "3.25"]
    assert list(at_rate(shown(2.0, 3.0, 3.25, end=3.5), 4, origin=2.0, first=3)) == taken[3:]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mp4", "libx265"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")]
)
def test_films_of_many_codecs_show_what_was_put_in(
    tmp_path: Path, make_film, make_scene, name: str, codec: str
) -> None:
    frames = make_scene(12, size=(64, 96))  # x265 breaks on smaller ones
    path = make_film(tmp_path / name, frames, codec=codec, fps=25)
    clip = read_clip(path, 0.0, 25.0, 0, 12, (64, 96))
    assert np.abs(clip.astype(int) - frames).mean() < 12
    with open_footage(path) as footage:
        assert (footage.facts.width, footage.facts.height, footage.facts.fps) == (96, 64, 25)


def test_a_portrait_film_is_turned_upright(tmp_path: Path, make_film, make_scene) -> None:
    upright = make_scene(6, size=(48, 32))
    lying = np.ascontiguousarray(np.rot90(upright, 1, axes=(1, 2)))
    path = make_film(tmp_path / "phone.mp4", lying, rotation=90)
    clip = read_clip(path, 0.0, 16.0, 0, 6, (48, 32))
    assert np.abs(clip.astype(int) - upright).mean() < 12
    with open_footage(path) as footage:
        list(footage.play())
        assert (footage.facts.width, footage.facts.height, abs(footage.facts.rotation)) == (32, 48, 90)


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, make_film, make_scene) -> None:
    wide = make_scene(2, size=(32, 96))
    path = make_film(tmp_path / "dvd.mp4", np.ascontiguousarray(wide[:, :, ::2]), aspect=Fraction(2, 1))
    assert np.abs(read_clip(path, 0.0, 16.0, 0, 2, (32, 96)).astype(int) - wide).mean() < 12


def test_variable_rate_is_read_by_the_clock(tmp_path: Path, make_film, make_scene) -> None:
    moments = [0.0, 0.0625, 0.5, 0.5625, 0.625, 1.0]
    frames = np.stack([np.full((32, 48, 3), 40 * k, np.uint8) for k in range(6)])
    path = make_film(tmp_path / "vfr.mp4", frames, times=moments)
    assert times(path) == pytest.approx(moments, abs=2e-3)
    level = read_clip(path, 0.0, 16.0, 0, 16, (32, 48)).mean(axis=(1, 2, 3)) / 40
    assert level.round().tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4]


def test_a_clip_from_the_middle_is_the_same_with_and_without_seeking(tmp_path: Path, make_film) -> None:
    rng = np.random.default_rng(0)
    frames = np.repeat(np.repeat(rng.integers(0, 255, (80, 4, 6, 3)), 8, axis=1), 8, axis=2).astype(np.uint8)
    path = make_film(tmp_path / "long.mp4", frames)
    whole = read_clip(path, 0.0, 16.0, 0, 80, (32, 48))
    for first in (1, 33, 71):
        assert np.array_equal(read_clip(path, 0.0, 16.0, first, 9, (32, 48)), whole[first : first + 9])
    with pytest.raises(FootageError, match="no longer has"):
        read_clip(path, 0.0, 16.0, 75, 9, (32, 48))


def test_animations_last_as_long_as_they_say(tmp_path: Path, make_scene) -> None:
    frames = make_scene(10)
    for name in ("a.gif", "a.webp"):
        write_video(tmp_path / name, frames, 10)
        assert np.abs(read_clip(tmp_path / name, 0.0, 10.0, 0, 10, (32, 48)).astype(int) - frames).mean() < 12
        assert times(tmp_path / name)[-1] == pytest.approx(0.9)


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


def test_damaged_files_are_told_from_whole_ones(tmp_path: Path, make_film, make_scene) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 32, 48, 3), dtype=np.uint8)
    start = cut(make_film(tmp_path / "start.mp4", noise, movflags="+faststart"), 0.5)
    end = cut(make_film(tmp_path / "end.mp4", noise), 0.5)
    webm = cut(make_film(tmp_path / "a.webm", noise, codec="libvpx-vp9"), 0.5)
    gif = cut(write_video(tmp_path / "a.gif", noise, 10), 0.5)
    text = tmp_path / "text.mp4"
    text.write_text("no film at all\n" * 50)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path in (start, end, webm, gif, text, empty):
        with pytest.raises(FootageError) as caught:
            times(path)
        assert str(tmp_path) not in str(caught.value)


def test_a_film_of_an_unknown_codec_says_so(tmp_path: Path, make_film, make_scene) -> None:
    path = make_film(tmp_path / "a.mp4", make_scene(9))
    content = path.read_bytes()
    start = content.index(b"avc1", content.index(b"stsd"))
    path.write_bytes(content[:start] + b"zzzz" + content[start + 4 :])
    with pytest.raises(FootageError, match="its codec is unknown here"):
        times(path)


def test_whatever_a_reader_raises_is_told_of_the_file_and_not_of_the_machine(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.gif").write_text("no picture")
    with pytest.raises(FootageError, match=r"cannot identify image file 'a\.gif'"):
        times(tmp_path / "a.gif")
    with pytest.raises(FootageError, match=r"cannot be read as video \(KeyError\)"), _readable(tmp_path):
        raise KeyError


def test_a_picture_is_no_film(tmp_path: Path, make_scene) -> None:
    for name in ("a.gif", "a.webp"):
        write_video(tmp_path / name, make_scene(1), 10)
        with pytest.raises(FootageError, match="it is a picture, not a film"):
            times(tmp_path / name)


def test_pictures_of_an_animation_that_repeat_are_one_that_lasts(tmp_path: Path, make_scene) -> None:
    frames = make_scene(3)[[0, 0, 0, 1, 2, 2]]
    write_video(tmp_path / "a.gif", frames, 10)
    assert times(tmp_path / "a.gif") == [0.0, 0.3, 0.4]
    assert np.abs(read_clip(tmp_path / "a.gif", 0.0, 10.0, 0, 6, (32, 48)).astype(int) - frames).mean() < 12


def test_a_clock_that_leaps_is_damage(tmp_path: Path, make_film, make_scene) -> None:
    path = make_film(tmp_path / "a.mkv", make_scene(3), times=[0.0, 0.1, 1e6])
    with pytest.raises(FootageError, match=r"its clock leaps from 0\.1 to 1000000\.0 s"):
        times(path)


def test_hdr_is_refused_rather_than_shown_grey(tmp_path: Path, make_film, make_scene) -> None:
    with pytest.raises(FootageError, match="HDR"):
        times(make_film(tmp_path / "hdr.mp4", make_scene(4), curve=PQ))


def test_a_playlist_in_disguise_opens_no_connection(tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(FootageError):
        times(path)
