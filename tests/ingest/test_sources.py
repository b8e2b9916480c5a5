"""Files are found in order, and each finds its caption or is told why it has none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fewstep.ingest.sources import CaptionError, find_sources, read_captions


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("clips/b.mp4", "clips/a.WEBM", "clips/sub/a.mp4", "clips/.hidden.mp4", "clips/notes.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "clips"


def captions_of(folder: Path, where: Path | None) -> dict[str, str]:
    return read_captions(find_sources([folder]), where)[0]


def test_a_folder_gives_its_videos_and_those_below_in_order(clips: Path) -> None:
    assert [source.name for source in find_sources([clips])] == ["a.WEBM", "b.mp4", "sub/a.mp4"]
    assert [source.name for source in find_sources([clips / "b.mp4", clips / "notes.md"])] == ["b.mp4", "notes.md"]
    assert [source.name for source in find_sources([clips, clips / "sub"])] == [
        "clips/a.WEBM",
        "clips/b.mp4",
        "clips/sub/a.mp4",
    ]


def test_what_is_no_folder_of_videos_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is neither"):
        find_sources([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no video in"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(ValueError, match="stand for two files"):
        find_sources([clips / "sub" / "a.mp4", _copy(clips / "sub" / "a.mp4", tmp_path / "a.mp4")])


def _copy(path: Path, to: Path) -> Path:
    to.write_bytes(path.read_bytes())
    return to


def test_captions_lie_beside_the_clips_or_in_a_folder_like_theirs(clips: Path, tmp_path: Path) -> None:
    (clips / "b.txt").write_text("\ufeffa red  ball\n", "utf-8")
    (clips / "sub" / "a.json").write_text('{"caption": "прыгающий куб"}', "utf-8")
    captions, without = read_captions(find_sources([clips]))
    assert captions == {"b.mp4": "a red ball", "sub/a.mp4": "прыгающий куб"}
    assert without == {"a.WEBM": "no caption: neither a.txt nor a.json"}
    other = tmp_path / "texts"
    (other / "sub").mkdir(parents=True)
    (other / "sub" / "a.txt").write_text("a cube", "utf-8")
    assert captions_of(clips, other) == {"sub/a.mp4": "a cube"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.txt", "b.mp4\ta ball\nsub/a.mp4\ta cube\n"),
        ("t.csv", 'video,prompt\nb,a ball\n./sub/a.mp4,"a cube"\n'),
        ("t.json", json.dumps({"b.mp4": "a ball", "sub/a": {"text": "a cube"}})),
        ("t.json", json.dumps([{"file": "b.mp4", "caption": "a ball"}, {"file": "sub\\a.mp4", "caption": "a cube"}])),
        ("t.jsonl", '{"file_name": "b.mp4", "text": "a ball"}\n\n{"id": "sub/a", "caption": "a cube"}\n'),
    ],
)
def test_a_table_of_any_kind_names_clips_by_path_name_or_stem(
    clips: Path, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    captions, without = read_captions(find_sources([clips]), tmp_path / name)
    assert captions == {"b.mp4": "a ball", "sub/a.mp4": "a cube"}
    assert without == {"a.WEBM": f"no caption in {name}"}


def test_a_caption_file_that_cannot_be_read_costs_its_own_clip_and_no_other(clips: Path) -> None:
    (clips / "b.txt").write_text("a ball", "utf-8")
    (clips / "a.txt").write_bytes(b"caf\xe9")
    (clips / "sub" / "a.json").write_text('["one", "two"]', "utf-8")
    captions, without = read_captions(find_sources([clips]))
    assert captions == {"b.mp4": "a ball"}
    assert without["a.WEBM"].startswith("no caption: a.txt must be text in UTF-8")
    assert without["sub/a.mp4"].startswith("no caption: a.json needs a text called caption")
    assert str(clips) not in "".join(without.values())
    (clips / "sub" / "a.json").write_text('{"caption": null}', "utf-8")
    assert read_captions(find_sources([clips]))[1]["sub/a.mp4"] == "no caption: a.json is empty"


@pytest.mark.parametrize(
    ("name", "content", "number"),
    [
        ("t.jsonl", '{"file": "b", "caption": "a ball"}\n\n{"file": "sub/a.mp4", "cap', "line 3"),
        ("t.json", '{"b.mp4": "a ball", "sub/a.mp4": ["one", "two"]}', "'sub/a.mp4'"),
        ("t.json", '[{"file": "b", "caption": "a ball"}, {"file": 7, "caption": "a cube"}]', "entry 2"),
        ("t.txt", "b.mp4\ta ball\nsub/a.mp4 a cube\n", "line 2"),
    ],
)
def test_a_row_that_cannot_be_read_costs_its_own_clip_and_is_named(
    clips: Path, tmp_path: Path, name: str, content: str, number: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    captions, without = read_captions(find_sources([clips]), tmp_path / name)
    assert captions == {"b.mp4": "a ball"}
    why = f"no caption in {name} (1 of its rows cannot be read, the first because {number} of {name} "
    assert without["sub/a.mp4"].startswith(why)


def test_a_row_without_a_caption_is_an_empty_one(clips: Path, tmp_path: Path) -> None:
    rows = {"t.jsonl": '{"file": "b", "caption": null}\n{"file": "sub/a.mp4", "caption": null, "text": "a cube"}\n'}
    rows |= {"t.csv": "file,caption\nb\nsub/a.mp4,a cube\n", "t.json": '{"b": null, "sub/a.mp4": "a cube"}'}
    for name, content in rows.items():
        (tmp_path / name).write_text(content, "utf-8")
        captions, without = read_captions(find_sources([clips]), tmp_path / name)
        assert captions == {"sub/a.mp4": "a cube"}
        assert without["b.mp4"] == f"its caption in {name} is empty"


def test_names_that_are_no_utf_8_are_spelled_out(clips: Path) -> None:
    for name in (b"\xff\xe9.webm", b"\xfe.webm"):
        Path(os.fsdecode(os.path.join(os.fsencode(clips), name))).touch()
    Path(os.fsdecode(os.path.join(os.fsencode(clips), b"\xff\xe9.txt"))).write_text("a cube", "utf-8")
    sources = find_sources([clips])
    names = [source.name for source in sources]
    assert {r"\xff\xe9.webm", r"\xfe.webm"} <= set(names)
    captions, without = read_captions(sources)
    assert captions == {r"\xff\xe9.webm": "a cube"}
    "".join([*names, *without.values()]).encode("utf-8")


def test_what_is_named_like_a_video_and_is_no_file_is_among_the_sources(clips: Path) -> None:
    (clips / "gone.mp4").symlink_to(clips / "nowhere")
    (clips / "loop.mp4").symlink_to("loop.mp4")
    (clips / "folder.mp4").mkdir()
    assert {"gone.mp4", "loop.mp4", "folder.mp4"} <= {source.name for source in find_sources([clips])}


def test_a_name_that_two_files_share_gives_neither_a_caption(clips: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,caption\na,a ball\nsub/a.mp4,a cube\n", "utf-8")
    captions, without = read_captions(find_sources([clips]), table)
    # sub/a.mp4 has its own line; a.WEBM's path without its ending is `a`, which is as good as a path
    assert captions["sub/a.mp4"] == "a cube"
    table.write_text("file,caption\na.mp4,a cube\n", "utf-8")
    (clips / "other").mkdir()
    (clips / "other" / "a.mp4").touch()
    captions, without = read_captions(find_sources([clips]), table)
    assert captions == {}
    assert "which 2 files could be" in without["sub/a.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "clip,words\na,b\n", "needs a text called caption or text or prompt"),
        ("t.csv", "file,caption\nb.mp4,one\nb.mp4,two\n", "two captions for 'b.mp4'"),
        ("t.jsonl", "{broken\n", "line 1 of"),
        ("t.json", "3", "must be a list of objects"),
        ("t.txt", "a caption alone\n", "file TAB caption"),
        ("t.xml", "<a/>", "change the ending"),
        ("t.json", "[" * 100_000, "must be JSON"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(
    clips: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(CaptionError, match=message):
        captions_of(clips, tmp_path / name)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CaptionError, match="UTF-8"):
        captions_of(clips, tmp_path / "bytes.csv")
    with pytest.raises(CaptionError, match="there is none"):
        captions_of(clips, tmp_path / "nowhere.csv")
