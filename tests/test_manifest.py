from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fewstep.files import OutputError
from fewstep.manifest import MANIFEST, Entry, Manifest, ManifestError, Settings, file_hash

SETTINGS = Settings(
    prompt="ein roter Ball, 赤いボール",
    seed=3,
    index=0,
    batch=(0, 2),
    model="toy",
    fingerprint={"transformer": "abc"},
    sampling={"plan": {"first": (1.0, 0.5), "rest": (1.0,)}, "context": {"window": None}},
    negative_prompt=None,
    begins_with=None,
    frames=33,
    height=32,
    width=48,
    enlarge=1,
    fps=16.0,
    dtype="float32",
)


def entry(folder: Path, name: str = "a.mp4") -> Entry:
    """A clip that is there."""
    (folder / name).write_bytes(name.encode())
    costs = {"network_evaluations": 6, "commits": 2, "seconds": {"total": 1.5}}
    return Entry(file=name, sha256=file_hash(folder / name), settings=SETTINGS, **costs)


def test_the_hash_is_sha256(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_hash(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_clip_is_one_line_of_flat_json(tmp_path: Path):
    Manifest(tmp_path).add(entry(tmp_path))
    (line,) = (tmp_path / MANIFEST).read_text(encoding="utf-8").splitlines()
    plain = json.loads(line)
    assert (plain["file"], plain["prompt"], plain["seed"], plain["fps"]) == ("a.mp4", SETTINGS.prompt, 3, 16.0)
    assert plain["sampling"]["plan"]["rest"] == [1.0]
    assert (plain["network_evaluations"], plain["seconds"]["total"]) == (6, 1.5)


def test_what_was_added_is_there_for_the_next_run(tmp_path: Path):
    Manifest(tmp_path).add(entry(tmp_path))
    assert Manifest(tmp_path).has("a.mp4", SETTINGS)
    assert not Manifest(tmp_path).has("b.mp4", SETTINGS)


def test_a_clip_that_is_gone_or_changed_is_not_there(tmp_path: Path):
    Manifest(tmp_path).add(entry(tmp_path))
    (tmp_path / "a.mp4").write_bytes(b"changed")
    assert not Manifest(tmp_path).has("a.mp4", SETTINGS)
    (tmp_path / "a.mp4").unlink()
    assert not Manifest(tmp_path).has("a.mp4", SETTINGS)
    Manifest(tmp_path).add(entry(tmp_path))
    assert Manifest(tmp_path).has("a.mp4", SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"fingerprint": {"transformer": "xyz"}}, "fingerprint.transformer 'abc', not 'xyz'"),
        ({"begins_with": "p.png 00"}, "begins_with None, not 'p.png 00'"),
        ({"sampling": {"plan": {"first": (1.0,), "rest": (1.0,)}}}, r"sampling.plan.first \[1.0, 0.5\], not \[1.0\]"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: dict, message: str):
    Manifest(tmp_path).add(entry(tmp_path))
    with pytest.raises(ManifestError, match=message):
        Manifest(tmp_path).has("a.mp4", replace(SETTINGS, **change))


def test_a_line_that_a_crash_cut_off_is_made_again(tmp_path: Path):
    manifest = Manifest(tmp_path)
    manifest.add(entry(tmp_path))
    manifest.add(entry(tmp_path, "b.mp4"))
    content = (tmp_path / MANIFEST).read_bytes()
    (tmp_path / MANIFEST).write_bytes(content[:-20])
    again = Manifest(tmp_path)
    assert list(again.entries) == ["a.mp4"]
    again.add(entry(tmp_path, "b.mp4"))
    assert (tmp_path / MANIFEST).read_bytes() == content


@pytest.mark.parametrize("line", ["no json", "[]", "3", '{"file": "a.mp4"}', '{"file": "a.mp4", "colour": 1}'])
def test_a_line_that_describes_no_clip_is_refused_with_its_number(tmp_path: Path, line: str):
    Manifest(tmp_path).add(entry(tmp_path))
    with (tmp_path / MANIFEST).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ManifestError, match="line 2"):
        Manifest(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot write"):
        Manifest(tmp_path / "none").add(entry(tmp_path))


def test_processes_that_share_a_folder_write_apart_and_read_all(tmp_path: Path):
    shards = [Manifest(tmp_path, (number, 2)) for number in (0, 1)]
    for shard, name in zip(shards, ("a.mp4", "b.mp4"), strict=True):
        shard.add(entry(tmp_path, name))
    Manifest(tmp_path).add(entry(tmp_path, "c.mp4"))
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert names == ["manifest.1of2.jsonl", "manifest.2of2.jsonl", MANIFEST]
    for shard in ((0, 1), (0, 2), (3, 4)):
        assert set(Manifest(tmp_path, shard).entries) == {"a.mp4", "b.mp4", "c.mp4"}


def test_reading_leaves_a_line_that_another_process_is_writing(tmp_path: Path):
    Manifest(tmp_path, (0, 2)).add(entry(tmp_path))
    path = tmp_path / "manifest.1of2.jsonl"
    with path.open("ab") as file:
        file.write(b'{"file": "b')
    before = path.read_bytes()
    assert list(Manifest(tmp_path, (1, 2)).entries) == ["a.mp4"]
    assert path.read_bytes() == before


def test_manifests_from_before_scenes_are_read(tmp_path: Path):
    Manifest(tmp_path).add(entry(tmp_path))
    plain = json.loads((tmp_path / MANIFEST).read_text())
    del plain["scene"], plain["tile"]
    (tmp_path / MANIFEST).write_text(json.dumps(plain) + "\n")
    assert Manifest(tmp_path).has("a.mp4", SETTINGS)
    del plain["dtype"]
    (tmp_path / MANIFEST).write_text(json.dumps(plain) + "\n")
    with pytest.raises(ManifestError, match="line 1"):
        Manifest(tmp_path)
