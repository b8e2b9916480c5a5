"""A folder of everything gives correct shards, captions and a truthful report; an interruption changes nothing."""

from __future__ import annotations

import json
import shutil
import tarfile
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.ingest.footage import read_clip
from fewstep.ingest.outcome import Outcome
from fewstep.ingest.report import summary
from fewstep.ingest.run import Ingest
from fewstep.ingest.shards import ShardError, Shards
from fewstep.ingest.sources import find_sources, read_captions
from fewstep.models.prompt_store import PromptStore
from fewstep.models.vae import from_uint8
from fewstep.video import write_video

CAPTIONS = {
    "h264": "a red circle",
    "hevc": "a blue square",
    "vp9": "a green star",
    "anim": "a red star",
    "portrait": "a blue star",
    "vfr": "a green square",
    "three": "a red square",
    "truncated": "a blue circle",
    "text": "a green circle",
    "twin": "a red circle",
    "codec": "a green ring",
    "bad": "a red ring",
    "still": "a blue ring",
}


def run(work: Ingest, folder: Path, where: Path | None = None) -> dict[str, Outcome]:
    sources = find_sources([folder])
    return {outcome.name: outcome for outcome in work.run(sources, *read_captions(sources, where))}


@pytest.fixture(scope="module")
def everything(tmp_path_factory, make_film, make_scene) -> Path:
    """One file of each kind that people have, captioned in a table but for one."""
    folder = tmp_path_factory.mktemp("everything")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (48, 32, 48, 3), dtype=np.uint8)
    make_film(folder / "h264.mp4", np.concatenate([make_scene(20), make_scene(12, (200, 40, 40))]))
    make_film(folder / "hevc.mp4", make_scene(30, size=(64, 96)), codec="libx265", fps=30)
    make_film(folder / "sub" / "vp9.webm", make_scene(10), codec="libvpx-vp9")
    write_video(folder / "anim.gif", make_scene(10), 16)
    lying = np.ascontiguousarray(np.rot90(make_scene(9, size=(96, 64)), 1, axes=(1, 2)))
    make_film(folder / "portrait.mp4", lying, rotation=90)
    moments = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.12, 20)) - 0.02
    make_film(folder / "vfr.mp4", make_scene(20), times=moments.round(3).tolist())
    make_film(folder / "three.mp4", make_scene(3))
    cut = make_film(folder / "truncated.mp4", noise, movflags="+faststart")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    unknown = make_film(folder / "codec.mp4", make_scene(9)).read_bytes()
    (folder / "codec.mp4").write_bytes(unknown.replace(b"avc1", b"zzzz"))
    (folder / "bad.gif").write_text("no picture")
    write_video(folder / "still.webp", make_scene(1), 10)
    (folder / "text.mp4").write_text("a text that calls itself a film\n" * 100)
    shutil.copy(folder / "h264.mp4", folder / "twin.mp4")
    make_film(folder / "silent.mp4", make_scene(9))
    rows = [json.dumps({"file": name, "caption": caption}) for name, caption in CAPTIONS.items()]
    (folder / "captions.jsonl").write_text("\n".join(rows), "utf-8")
    return folder


def test_a_folder_of_everything(everything: Path, tmp_path: Path, ingest, vae, text_encoder) -> None:
    work = ingest(tmp_path / "out", negative_prompt="no star")
    outcomes = run(work, everything, everything / "captions.jsonl")
    kept = {name: [clip.span.first for clip in outcome.clips] for name, outcome in outcomes.items() if outcome.clips}
    length = outcomes["vfr.mp4"].scan.pictures
    assert kept == {
        "anim.gif": [0],
        "h264.mp4": [0, 9, 20],
        "hevc.mp4": [0],
        "portrait.mp4": [0],
        "sub/vp9.webm": [0],
        "vfr.mp4": list(range(0, length - 8, 9)),
    }
    why = {name: outcome.dropped for name, outcome in outcomes.items() if outcome.dropped}
    assert why["three.mp4"] == "too short: 3 pictures at 16 a second, a clip needs 9 (0.6 s)"
    assert "cannot be read as video" in why["truncated.mp4"]
    assert "cannot be read as video" in why["text.mp4"]
    assert why["twin.mp4"] == "the same file as h264.mp4"
    assert why["silent.mp4"] == "no caption in captions.jsonl"
    assert why["codec.mp4"] == "its codec is unknown here"
    assert why["bad.gif"] == "it cannot be read as video (cannot identify image file 'bad.gif')"
    assert why["still.webp"] == "it is a picture, not a film"
    assert len(why) + len(kept) == len(outcomes) == 14

    shards = Shards([tmp_path / "out"])
    samples = [shards.read(index) for index in range(len(shards))]
    assert [sample.facts["source"] for sample in samples] == [name for name, firsts in kept.items() for _ in firsts]
    for sample in samples:
        name = sample.facts["source"]
        assert sample.caption == CAPTIONS[Path(name).stem]
        first = round(sample.facts["start"] * 16)
        frames = read_clip(everything / name, outcomes[name].scan.origin, 16.0, first, 9, (32, 48))
        with torch.no_grad():
            latents = vae.encode(from_uint8(torch.from_numpy(frames).permute(0, 3, 1, 2)[None]))[0]
            text = text_encoder.encode([sample.caption])[0]
        torch.testing.assert_close(sample.latents.float(), latents, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(sample.text, text[: len(sample.text)], atol=1e-5, rtol=1e-5)
        assert not text[len(sample.text) :].any()
    portrait = next(sample.facts for sample in samples if sample.facts["source"] == "portrait.mp4")
    assert (portrait["recorded"]["width"], portrait["recorded"]["height"]) == (64, 96)
    assert PromptStore(tmp_path / "out" / "prompts").missing(["", "no star"]) == []

    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert summary(list(outcomes.values())) in page
    assert all(name in page for name in outcomes)
    assert all(escape(reason) in page for reason in why.values())
    pictures = [part.split("'")[0] for part in page.split("src='")[1:]]
    assert len(pictures) >= len(samples)
    assert all((tmp_path / "out" / picture).is_file() for picture in pictures)
    assert str(everything) not in page


def test_shards_are_tars_whose_samples_stand_together(everything: Path, tmp_path: Path, ingest) -> None:
    run(ingest(tmp_path / "out", shard_size=4), everything, everything / "captions.jsonl")
    paths = sorted((tmp_path / "out").glob("*.tar"))
    assert [path.name for path in paths] == [f"shard-{number:06d}.tar" for number in range(len(paths))]
    with tarfile.open(paths[0]) as shard:
        names = shard.getnames()
    assert [name.split(".", 1)[1] for name in names] == ["safetensors", "txt", "json"] * 4
    assert len({name.split(".", 1)[0] for name in names}) == 4


class StopError(Exception):
    """Stands for a kill."""


def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(everything: Path, tmp_path: Path, ingest) -> None:
    table = everything / "captions.jsonl"
    run(ingest(tmp_path / "whole", shard_size=2, workers=1), everything, table)

    def stop_at(label: str, count: int):
        def stop(now: str, done: int, total: int) -> None:
            if (now, done) == (label, count):
                raise StopError

        return stop

    out = tmp_path / "out"
    for label, count in (("captions", 13), ("files", 7), ("clips", 5)):
        with pytest.raises(StopError):
            run(ingest(out, shard_size=2, on_progress=stop_at(label, count)), everything, table)
        assert not list(out.glob(".shard*"))
    assert [path.name for path in sorted(out.glob("*.tar"))] == ["shard-000000.tar", "shard-000001.tar"]
    with (out / "scans.jsonl").open("a") as ledger:
        ledger.write('{"name": "cut sho')
    finished = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    run(ingest(out, shard_size=2), everything, table)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    for path in (tmp_path / "whole").rglob("*"):
        if path.suffix in (".tar", ".jpg", ".html"):
            assert (out / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), path.name


def test_a_finished_run_does_nothing_again(everything: Path, tmp_path: Path, ingest, monkeypatch) -> None:
    table = everything / "captions.jsonl"
    first = run(ingest(tmp_path / "out"), everything, table)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a file was read, or a clip encoded, again")

    monkeypatch.setattr("fewstep.ingest.run.scan_file", refuse)
    monkeypatch.setattr("fewstep.ingest.run.read_clip", refuse)
    again = run(ingest(tmp_path / "out", load_text_encoder=refuse), everything, table)
    assert {name: outcome.dropped for name, outcome in again.items()} == {n: o.dropped for n, o in first.items()}


def test_new_files_are_added_and_damaged_shards_made_again(tmp_path: Path, ingest, make_film, make_scene) -> None:
    folder, out = tmp_path / "clips", tmp_path / "out"
    for name, colour in (("b", (200, 40, 40)), ("a", (30, 170, 60))):
        make_film(folder / f"{name}.mp4", make_scene(9, colour))
        (folder / f"{name}.txt").write_text(f"a red circle {name}")
        run(ingest(out), folder)
    shards = Shards([out])
    assert [shards.read(index).caption[-1] for index in range(2)] == ["b", "a"]
    whole = (out / "shard-000000.tar").read_bytes()
    for damaged in (whole[:2000], whole.replace(b"circle", b"square")):
        (out / "shard-000000.tar").write_bytes(damaged)
        run(ingest(out), folder)
        assert (out / "shard-000000.tar").read_bytes() == whole


def test_a_file_that_goes_away_meanwhile_is_reported(tmp_path: Path, ingest, make_film, make_scene) -> None:
    folder = tmp_path / "clips"
    for name in "ab":
        make_film(folder / f"{name}.mp4", make_scene(9 if name == "a" else 18))
        (folder / f"{name}.txt").write_text("a red circle")

    def remove(label: str, done: int, total: int) -> None:
        if (label, done) == ("files", 2):
            (folder / "b.mp4").unlink()

    outcomes = run(ingest(tmp_path / "out", on_progress=remove), folder)
    assert [len(outcome.clips) for outcome in outcomes.values()] == [1, 0]
    assert "No such file" in outcomes["b.mp4"].dropped
    assert len(Shards([tmp_path / "out"])) == 1


def test_a_link_to_nowhere_and_a_folder_are_reported(tmp_path: Path, ingest, make_film, make_scene) -> None:
    folder = tmp_path / "clips"
    make_film(folder / "a.mp4", make_scene(9))
    (folder / "gone.mp4").symlink_to(folder / "nowhere")
    (folder / "dir.mp4").mkdir()
    for name in ("a", "gone", "dir"):
        (folder / f"{name}.txt").write_text("a red circle")
    for _ in range(2):
        why = {name: outcome.dropped for name, outcome in run(ingest(tmp_path / "out"), folder).items()}
        assert why["a.mp4"] is None
        assert why["gone.mp4"] == "it cannot be read (No such file or directory)"
        assert why["dir.mp4"] == "it cannot be read (Is a directory)"


def test_a_file_that_changes_meanwhile_is_reported(tmp_path: Path, ingest, make_film, make_scene) -> None:
    folder = tmp_path / "clips"
    path = make_film(folder / "a.mp4", make_scene(9))
    (folder / "a.txt").write_text("a red circle")

    def change(label: str, done: int, total: int) -> None:
        if label == "files":
            make_film(path, make_scene(12, (200, 40, 40)))

    outcomes = run(ingest(tmp_path / "out", on_progress=change), folder)
    assert outcomes["a.mp4"].dropped == "it was changed after it was looked through: run this again"
    assert len(run(ingest(tmp_path / "out"), folder)["a.mp4"].clips) == 1


def test_other_clips_in_the_same_folder_are_refused(tmp_path: Path, ingest, make_film, make_scene) -> None:
    folder, out = tmp_path / "clips", tmp_path / "out"
    make_film(folder / "a.mp4", make_scene(20))
    (folder / "a.txt").write_text("a red circle")
    run(ingest(out), folder)
    with pytest.raises(ShardError, match=r"holds other shards: .*frames 9, not 5"):
        run(ingest(out, frames=5), folder)
    (folder / "a.txt").write_text("a blue circle")
    with pytest.raises(ShardError, match=r"a\.mp4 with another caption, 'a red circle'"):
        run(ingest(out), folder)
    with pytest.raises(ValueError, match="must be multiples of 8, got 50x32"):
        run(ingest(tmp_path / "new", width=50), folder)
    with pytest.raises(ValueError, match="nearest that fit are 5 and 9"):
        run(ingest(tmp_path / "new", frames=7), folder)
    assert not (tmp_path / "new" / "shards.json").exists()
