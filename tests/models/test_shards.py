"""Shards: whole tensors in files below a limit, an index that finds them, and readers that put them together."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file

from fewstep.models.shards import save_shards


def read(folder, name):
    table = json.loads((folder / f"{name}.index.json").read_text())
    return table, {key: load_file(folder / file)[key] for key, file in table["weight_map"].items()}


def test_small_states_are_one_file(tmp_path):
    state = {"a": torch.randn(3, 4), "b": torch.randn(5).bfloat16()}
    save_shards(state, tmp_path, "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    loaded = load_file(tmp_path / "w.safetensors")
    assert all(
        torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in state.items()
    )


def test_large_states_are_cut_between_tensors(tmp_path):
    state = {f"t{i}": torch.randn(10) for i in range(5)} | {"large": torch.randn(100), "last": torch.randn(1)}
    save_shards(state, tmp_path, "w.safetensors", limit=100)
    table, loaded = read(tmp_path, "w.safetensors")
    assert table["metadata"]["total_size"] == 4 * 151
    assert [table["weight_map"][name][2:7] for name in state] == ["00001"] * 2 + ["00002"] * 2 + [
        "00003",
        "00004",
        "00005",
    ]
    assert all(path.name.endswith("-of-00005.safetensors") for path in tmp_path.glob("*.safetensors"))
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_the_limit_counts_what_is_stored(tmp_path):
    state = {name: torch.randn(25) for name in "abcd"}
    save_shards(state, tmp_path, "w.safetensors", torch.bfloat16, limit=100)
    table, loaded = read(tmp_path, "w.safetensors")
    assert len(set(table["weight_map"].values())) == 2
    assert all(torch.equal(loaded[name], tensor.bfloat16()) for name, tensor in state.items())


def test_shards_are_read_by_diffusers_and_by_us(tiny_net, tmp_path):
    from diffusers import WanTransformer3DModel

    from fewstep.checkpoints.open import open_transformer
    from fewstep.models.weights import WEIGHTS, save_transformer, to_diffusers

    save_transformer(tiny_net, tmp_path)
    (tmp_path / WEIGHTS).unlink()
    state = to_diffusers(tiny_net.state_dict())
    save_shards(state, tmp_path, WEIGHTS, limit=50_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    theirs = WanTransformer3DModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in state.items())
    ours = open_transformer(tmp_path).state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in tiny_net.state_dict().items())
