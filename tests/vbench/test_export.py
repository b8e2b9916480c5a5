"""Sampled clips under VBench's names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fewstep.manifest import ManifestError
from fewstep.vbench.dimensions import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
from fewstep.vbench.export import EXPORT, ExportError, export_clips, read_export
from fewstep.vbench.image_to_video import PictureError
from fewstep.vbench.prompts import read_prompts

BUND = "The bund Shanghai, oil painting"


@pytest.fixture
def prompts(toy):
    return read_prompts(toy.checkout, TEXT_TO_VIDEO, any_list=True)


@pytest.fixture
def pairs(toy):
    return read_prompts(toy.checkout, IMAGE_TO_VIDEO, any_list=True)


def content(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (out / "videos").iterdir()}


def test_seeds_become_numbers_in_their_order(toy, prompts, tmp_path: Path) -> None:
    folder = toy.sample("clips", ["alley", "a dog"], [7, 1, 12, 3, 5, 40])
    export = export_clips(prompts, [folder], tmp_path / "out")
    seeds = [1, 3, 5, 7, 12]
    expected = {
        f"{prompt}-{i}.mp4": f"{prompt} {seed}" for prompt in ("alley", "a dog") for i, seed in enumerate(seeds)
    }
    assert content(tmp_path / "out") == expected
    assert [clip.seed for clip in export.clips if clip.file.startswith("alley")] == seeds
    assert os.path.samefile(tmp_path / "out" / "videos" / "alley-0.mp4", folder / "clip-000-seed1.mp4")


def test_what_is_missing_is_said_for_each_dimension(toy, prompts, tmp_path: Path) -> None:
    first = toy.sample("clips", [BUND, "alley"], range(5))
    more = toy.sample("more", ["a dog"], range(3))
    export = export_clips(prompts, [first, more], tmp_path / "out")
    assert export.missing("scene") == export.missing("imaging_quality") == export.missing("appearance_style") == []
    assert export.missing("object_class") == ["a dog-3.mp4", "a dog-4.mp4"]
    assert len(export.missing("color")) == 5
    assert read_export(tmp_path / "out") == export


def test_flickering_takes_up_to_25_and_cannot_do_without_five(toy, prompts, tmp_path: Path) -> None:
    still = "In a still frame, a stop sign"
    folders = [toy.sample("clips", [still], range(5)), toy.sample("flickering", [still], range(5, 40))]
    export = export_clips(prompts, folders, tmp_path / "out")
    assert len(export.candidates("temporal_flickering")) == len(content(tmp_path / "out")) == 25
    assert content(tmp_path / "out")[f"{still}-24.mp4"] == f"{still} 24"
    assert export.missing("temporal_flickering") == []


def test_clips_of_extended_prompts_are_named_by_the_short_ones(toy, tmp_path: Path) -> None:
    entries = json.loads((toy.checkout / TEXT_TO_VIDEO.info).read_text())
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"{entry['prompt_en']} in the evening" for entry in entries))
    prompts = read_prompts(toy.checkout, TEXT_TO_VIDEO, path, any_list=True)
    folder = toy.sample("clips", ["alley in the evening", "a dog"], range(5))
    export = export_clips(prompts, [folder], tmp_path / "out")
    assert content(tmp_path / "out").keys() == {f"alley-{i}.mp4" for i in range(5)}
    assert {clip.text for clip in export.clips} == {"alley in the evening"}
    assert export.extended_sha256 == prompts.extended_sha256 is not None


def test_a_second_export_adds_what_is_new(toy, prompts, tmp_path: Path) -> None:
    folder, out = toy.sample("clips", ["alley"], range(3)), tmp_path / "out"
    assert len(export_clips(prompts, [folder], out).missing("scene")) == 2
    before = (out / "videos" / "alley-0.mp4").stat()
    toy.sample("clips", ["alley"], [3, 4])
    assert export_clips(prompts, [folder], out).missing("scene") == []
    assert (out / "videos" / "alley-0.mp4").stat() == before


def test_files_are_copied_where_they_cannot_be_linked(toy, prompts, tmp_path: Path, monkeypatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("fewstep.vbench.export.os.link", refuse)
    folder, out = toy.sample("clips", ["alley"], range(5)), tmp_path / "out"
    export_clips(prompts, [folder], out)
    assert content(out)["alley-4.mp4"] == "alley 4"
    assert not os.path.samefile(out / "videos" / "alley-4.mp4", folder / "clip-000-seed4.mp4")
    assert {path.name for path in out.iterdir()} == {"videos", EXPORT}
    export_clips(prompts, [folder], out)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fingerprint": {"transformer": "other"}}, "differ in fingerprint.transformer: 'abc' and 'other'"),
        ({"sampling": {"plan": [1.0, 0.5]}}, "differ in sampling.plan"),
        ({"frames": 80}, "differ in frames: 16 and 80"),
    ],
)
def test_clips_that_were_made_otherwise_are_no_one_set(toy, prompts, tmp_path: Path, settings, message: str) -> None:
    folders = [toy.sample("clips", ["alley"], range(5)), toy.sample("other", ["a dog"], range(5), **settings)]
    with pytest.raises(ExportError, match=message):
        export_clips(prompts, folders, tmp_path / "out")
    assert not (tmp_path / "out" / EXPORT).exists()


def test_folders_without_clips_of_the_benchmark_are_refused(toy, prompts, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no manifest"):
        export_clips(prompts, [tmp_path], tmp_path / "out")
    with pytest.raises(
        ExportError, match="none of 5 clips has a prompt of VBench; the first is of 'a purple elephant'"
    ):
        export_clips(prompts, [toy.sample("clips", ["a purple elephant"], range(5))], tmp_path / "out")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "manifest.jsonl").write_text("{}\n")
    with pytest.raises(ManifestError, match="describes no clip"):
        export_clips(prompts, [tmp_path / "torn"], tmp_path / "out")


def test_clips_that_changed_since_are_refused(toy, prompts, tmp_path: Path) -> None:
    folder = toy.sample("clips", ["alley"], range(5))
    (folder / "clip-000-seed2.mp4").write_text("another")
    with pytest.raises(ExportError, match=r"clip-000-seed2\.mp4 is not the clip"):
        export_clips(prompts, [folder], tmp_path / "out")
    (folder / "clip-000-seed2.mp4").unlink()
    with pytest.raises(ExportError, match=r"clip-000-seed2\.mp4 is not the clip"):
        export_clips(prompts, [folder], tmp_path / "out")


def test_another_set_and_foreign_files_are_not_mixed_in(toy, prompts, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_clips(prompts, [toy.sample("clips", ["alley"], range(5))], out)
    with pytest.raises(ExportError, match="holds another set of clips, of other settings"):
        export_clips(prompts, [toy.sample("other", ["alley"], range(5), model="other")], out)
    with pytest.raises(ExportError, match=r"alley-0\.mp4 is another clip"):
        export_clips(prompts, [toy.sample("again", ["alley"], range(1, 6))], out)
    (out / "videos" / "notes.txt").write_text("")
    with pytest.raises(ExportError, match=r"holds 'notes\.txt', which is no clip"):
        export_clips(prompts, [tmp_path / "clips"], out)


def test_a_disk_that_is_blind_to_case_is_refused_where_prompts_differ_in_it(toy, tmp_path: Path, monkeypatch) -> None:
    entries = [{"prompt_en": prompt, "dimension": ["scene"]} for prompt in ("a fantasy land", "A fantasy land")]
    (toy.checkout / TEXT_TO_VIDEO.info).write_text(json.dumps(entries))
    prompts = read_prompts(toy.checkout, TEXT_TO_VIDEO, any_list=True)
    folder = toy.sample("clips", ["a fantasy land", "A fantasy land"], range(5))
    assert len(export_clips(prompts, [folder], tmp_path / "seeing").clips) == 10
    sees = Path.exists
    monkeypatch.setattr(
        Path, "exists", lambda path: sees(path.with_name(path.name.lower()) if path.name == "A" else path)
    )
    with pytest.raises(ExportError, match="'a fantasy land' and 'A fantasy land' name the same files"):
        export_clips(prompts, [folder], tmp_path / "blind")


def test_damaged_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="export the clips first"):
        read_export(tmp_path)
    for text in ("{", "[]", '{"clips": [], "prompts": {}}', '{"clips": [{}], "prompts": {}}'):
        (tmp_path / EXPORT).write_text(text)
        with pytest.raises(ExportError, match="is damaged"):
            read_export(tmp_path)


def test_clips_must_begin_with_the_pictures_of_their_prompts(toy, pairs, tmp_path: Path) -> None:
    prompts = [item.prompt for item in pairs.items]
    images = ["a bird flies.jpg", "a field.jpg", "a field.jpg"]
    right = toy.sample("right", prompts, range(5), pictures=toy.begin("right", images))
    export = export_clips(pairs, [right], tmp_path / "out")
    assert not any(export.missing(dimension.name) for dimension in IMAGE_TO_VIDEO if export.prompts[dimension.name])
    wrong = toy.sample("wrong", prompts, range(5), pictures=toy.begin("wrong", images[::-1]))
    with pytest.raises(PictureError, match=r"of 'a bird flies' must begin with 'a bird flies\.jpg', begin-000\.png is"):
        export_clips(pairs, [wrong], tmp_path / "no")
    with pytest.raises(PictureError, match="begins with no picture"):
        export_clips(pairs, [toy.sample("none", prompts, range(5))], tmp_path / "no")


def test_the_very_file_of_the_list_is_a_picture_too(toy, pairs, tmp_path: Path) -> None:
    from fewstep.manifest import named_file

    source = toy.checkout / "vbench2_beta_i2v" / "data" / "crop" / "3-2" / "a field.jpg"
    folder = toy.sample("clips", ["a field"], range(5), begins_with=named_file(source))
    assert len(export_clips(pairs, [folder], tmp_path / "out").clips) == 5
