"""Files of tensors: names and shapes without data, one tensor at a time, a clear error for what is no such file."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fewstep.checkpoints.tensors import open_tensors
from fewstep.models.shards import save_shards
from fewstep.models.weights import WEIGHTS, WeightsError

TENSORS = {
    "b.half": torch.arange(6.0).view(2, 3).bfloat16(),
    "a.odd": torch.tensor([1, 2, 3], dtype=torch.uint8),
    "c.scalar": torch.tensor(2.5),
    "d.empty": torch.zeros(0, 4),
    "e.eight": torch.tensor([0.5, -1.0]).to(torch.float8_e4m3fn),
}
OLD_TENSORS = {name: tensor for name, tensor in TENSORS.items() if name != "e.eight"}
"""What torch's format from before 2020 can hold."""


@pytest.fixture(params=["safetensors", "shards", "index", "pt", "old pt", "nested pt"])
def source_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "safetensors":
        save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
        return tmp_path / "x.safetensors"
    if request.param in ("shards", "index"):
        save_shards(TENSORS, tmp_path, WEIGHTS, limit=12)
        return tmp_path if request.param == "shards" else next(tmp_path.glob("*.index.json"))
    nested = {"b": {"half": TENSORS["b.half"]}, **{name: TENSORS[name] for name in list(TENSORS)[1:]}, "step": 600}
    if request.param == "old pt":
        torch.save(OLD_TENSORS, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    else:
        torch.save(nested if request.param == "nested pt" else TENSORS, tmp_path / "x.pt")
    return tmp_path / "x.pt"


def test_every_format_gives_the_same_tensors(source_path: Path):
    source = open_tensors(source_path)
    assert source.keys() in (TENSORS.keys(), OLD_TENSORS.keys())
    for name in source:
        tensor = TENSORS[name]
        assert (source.specs[name].shape, source.specs[name].dtype) == (tensor.shape, tensor.dtype)
        assert source.specs[name].device.type == "meta"
        assert torch.equal(source[name].float(), tensor.float())


def test_numbers_and_texts_beside_the_tensors_are_told(tmp_path: Path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"passport": "{}"})
    torch.save({"generator": TENSORS, "step": 600}, tmp_path / "x.pt")
    assert open_tensors(tmp_path / "x.safetensors").metadata == {"passport": "{}"}
    source = open_tensors(tmp_path / "x.pt")
    assert source.metadata == {"step": 600}
    assert "generator.b.half" in source


def test_a_part_can_be_read_under_other_names(tmp_path: Path):
    save_file(TENSORS, tmp_path / "x.safetensors")
    part = open_tensors(tmp_path / "x.safetensors").renamed({"new": "b.half"})
    assert list(part) == ["new"]
    assert torch.equal(part["new"], TENSORS["b.half"])
    with pytest.raises(KeyError):
        part["b.half"]


def test_looking_at_shapes_reads_no_data(tmp_path: Path):
    save_file({"big": torch.zeros(1000, 1000)}, tmp_path / "x.safetensors")
    data_begins = 8 + int.from_bytes((tmp_path / "x.safetensors").read_bytes()[:8], "little")
    with (tmp_path / "x.safetensors").open("r+b") as file:
        file.truncate(data_begins)
        file.truncate(data_begins + 4_000_000)  # a hole: as long as the data, and of no blocks
    source = open_tensors(tmp_path / "x.safetensors")
    assert source.specs["big"].shape == (1000, 1000)


def test_a_tensor_outlives_its_file_and_writing_to_it_leaves_the_file_alone(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    before = path.read_bytes()
    tensor = open_tensors(path)["b.half"]
    tensor += 1
    assert path.read_bytes() == before
    path.unlink()
    assert torch.equal(tensor, TENSORS["b.half"] + 1)


class Evil:
    """Runs a command when it is unpickled by a reader that lets it."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, suffix: str, archive: bool):
    path, trace = tmp_path / f"evil{suffix}", tmp_path / "trace"
    value = {"generator": {"x": torch.zeros(1)}, "hook": Evil(f"touch {trace}")}
    torch.save(value, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(WeightsError, match=r"asks for \w+\.system: nothing in it was run"):
        open_tensors(path)
    assert not trace.exists()


def harm(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    header = json.dumps({"x": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(
        {
            "text": b"<!DOCTYPE html>\n<title>Sign in</title>" * 9,
            "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "empty": b"",
            "half": whole[: len(whole) // 2 + 60],
            "start": whole[:20],
            "long": whole + b"\x00",
            "pickle": pickle.dumps({"x": 1}),
            "foreign": len(header).to_bytes(8, "little") + header + b"\x00" * 4,
        }[kind]
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "text that starts with '<!DOCTYPE html>"),
        ("lfs", "a pointer of Git LFS"),
        ("empty", "an empty file"),
        ("half", "it is half a file"),
        ("start", "is not a safetensors file, but other data"),
        ("long", "should have"),
        ("pickle", "a pickle under another name"),
        ("foreign", "header of .* cannot be read"),
    ],
)
def test_what_is_no_safetensors_file_is_said_to_be_what_it_is(tmp_path: Path, kind: str, words: str):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.arange(100.0)}, path)
    harm(path, kind)
    with pytest.raises(WeightsError, match=words) as error:
        open_tensors(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", ["text", "empty", "half", "pickle"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, kind: str):
    path = tmp_path / "x.pt"
    torch.save(TENSORS, path)
    harm(path, kind)
    with pytest.raises(WeightsError, match=r"x\.pt"):
        open_tensors(path)


def test_an_archive_that_is_no_checkpoint_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="not a whole checkpoint"):
        open_tensors(tmp_path / "x.pt")


def test_missing_shards_are_counted_and_named(tmp_path: Path):
    save_shards(TENSORS, tmp_path, WEIGHTS, limit=12)
    gone = tmp_path / "diffusion_pytorch_model-00002-of-00002.safetensors"
    whole = gone.read_bytes()
    gone.unlink()
    with pytest.raises(WeightsError, match=r"1 of 2 shards are missing .*: diffusion_pytorch_model-00002-of-00002"):
        open_tensors(tmp_path)
    gone.write_bytes(whole[:-5])
    with pytest.raises(WeightsError, match=r"00002-of-00002\.safetensors should have .* half a file"):
        open_tensors(tmp_path)


def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path: Path):
    save_shards(TENSORS, tmp_path, WEIGHTS, limit=12)
    index = next(tmp_path.glob("*.index.json"))
    table = json.loads(index.read_text())
    table["weight_map"]["ghost"] = table["weight_map"].pop("b.half")
    index.write_text(json.dumps(table))
    with pytest.raises(WeightsError, match=r"disagree about b\.half, ghost"):
        open_tensors(tmp_path)
    index.write_text("{")
    with pytest.raises(WeightsError, match="not an index of shards"):
        open_tensors(tmp_path)


def test_names_that_lead_nowhere_say_what_is_wanted(tmp_path: Path):
    with pytest.raises(WeightsError, match="no weights at"):
        open_tensors(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match="no weights in"):
        open_tensors(tmp_path)
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(WeightsError, match="weights end in"):
        open_tensors(tmp_path / "x.txt")
    for name in ("a", "b"):
        save_file(TENSORS, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"several files of weights \(a\.safetensors, b\.safetensors\)"):
        open_tensors(tmp_path)
