"""`fewstep export`, and LoRAs in `generate`: through the real command, from a folder to files and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fewstep.checkpoints.model_files import find_model, find_weights
from fewstep.checkpoints.open import open_transformer
from fewstep.cli import main
from fewstep.pipeline import Pipeline


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A LoRA that shows, in kohya's dialect, of one layer."""
    torch.manual_seed(1)
    layer = "lora_unet_blocks_1_ffn_2"
    state = {
        f"{layer}.lora_down.weight": torch.randn(4, 64),
        f"{layer}.lora_up.weight": torch.randn(32, 4),
        f"{layer}.alpha": torch.tensor(2.0),
    }
    save_file(state, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return open_transformer(path, cfg=None).state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def run(*argv: object) -> int:
    return main([str(word) for word in argv])


def test_a_model_goes_round_all_forms_and_comes_back_the_same(student: Path, tmp_path: Path, capsys):
    one, two, three = tmp_path / "a.safetensors", tmp_path / "wan", tmp_path / "diffusers"
    assert run("export", student, one, "--to", "safetensors") == 0
    assert "float32" in capsys.readouterr().out
    assert run("export", one, two, "--to", "original") == 0
    assert equal(weights(two), weights(student))
    assert run("export", student, three, "--to", "diffusers", "--student", two) == 0
    again, before = find_model(three), find_model(student)
    assert equal(again.transformer().state_dict(), before.transformer().state_dict())
    frames = [Pipeline.load(folder, dtype="float32").generate("a red ball").frames for folder in (student, three)]
    assert np.array_equal(*frames)


def test_a_training_states_networks_are_told_apart(student: Path, tmp_path: Path):
    live = {f"model.{name}": tensor for name, tensor in weights(student).items()}
    average = {name: tensor + 1 for name, tensor in live.items()}
    torch.save({"generator": live, "generator_ema": average}, tmp_path / "state.pt")
    for word, expected in (("live", live), ("ema", average), ("auto", average)):
        out = tmp_path / f"{word}.safetensors"
        assert run("export", tmp_path / "state.pt", out, "--to", "original", "--weights", word) == 0
        assert equal({f"model.{name}": tensor for name, tensor in load_file(out).items()}, expected)


def test_dtype_and_lora_are_folded_in(student: Path, lora: Path, tmp_path: Path):
    out = tmp_path / "a.pt"
    assert run("export", student, out, "--to", "original", "--dtype", "bfloat16", "--lora", f"{lora}:0.5") == 0
    state, pair = torch.load(out, weights_only=True)["generator"], load_file(lora)
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    name = "blocks.1.ffn.2.weight"
    product = pair["lora_unet_blocks_1_ffn_2.lora_up.weight"] @ pair["lora_unet_blocks_1_ffn_2.lora_down.weight"]
    expected = weights(student)[name].bfloat16().float() + 0.5 * 0.5 * product
    torch.testing.assert_close(state[f"model.{name}"].float(), expected, rtol=1e-2, atol=1e-2)


def test_generate_takes_loras_in_the_weights_and_beside_them(student: Path, lora: Path, tmp_path: Path):
    def clip(**options):
        return Pipeline.load(student, dtype="float32", **options).generate("a red ball", steps=1).frames

    pair = [(lora, 1.0), (lora, -0.5)]
    plain, merged, beside = clip(), clip(lora=pair), clip(lora=pair, merge_lora=False)
    assert np.abs(merged.astype(int) - beside).max() <= 1
    assert not np.array_equal(merged, plain)
    words = ("generate", "a red ball", "--model", student, "--dtype", "float32", "--steps", 1)
    assert run(*words, "--lora", lora, "--lora", f"{lora}:-0.5", "-o", tmp_path / "clip.mp4") == 0
    assert run(*words, "--lora", lora, "--no-merge-lora", "-o", tmp_path / "other.mp4") == 0
    assert (tmp_path / "clip.mp4").is_file()


@pytest.mark.parametrize(
    ("dest", "words", "message"),
    [
        ("a.pt", ["--to", "diffusers"], "--to diffusers writes a folder"),
        ("a.pt", ["--to", "safetensors"], "--to safetensors writes a .safetensors"),
        ("a.bin", ["--to", "original"], "--to original writes a .safetensors, a .pt, or a folder"),
        ("a.pt", ["--to", "original", "--lora", "b:strong"], "FILE:SCALE"),
        ("a.pt", ["--to", "original", "--lora", "nowhere.safetensors"], "no weights at 'nowhere.safetensors'"),
        ("a.pt", ["--to", "original", "--student", "nowhere.pt"], "no weights at 'nowhere.pt'"),
        ("taken/a.pt", ["--to", "original"], "not a folder"),
    ],
)
def test_what_cannot_be_written_is_refused(student: Path, tmp_path: Path, capsys, dest, words, message):
    (tmp_path / "taken").write_text("mine")
    assert run("export", student, tmp_path / dest, *words) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_lora_for_another_size_is_refused_by_name(student: Path, tmp_path: Path, capsys):
    layer = "diffusion_model.blocks.35.self_attn.q"
    save_file(
        {f"{layer}.lora_A.weight": torch.zeros(4, 32), f"{layer}.lora_B.weight": torch.zeros(32, 4)},
        tmp_path / "a.safetensors",
    )
    assert run("generate", "a red ball", "--model", student, "--lora", tmp_path / "a.safetensors") == 2
    assert f"{layer}.lora_A.weight" in " ".join(capsys.readouterr().err.split())


def test_a_file_of_weights_says_in_its_passport_how_it_is_sampled(student: Path, tmp_path: Path):
    out = tmp_path / "a.safetensors"
    assert run("export", student, out, "--to", "safetensors") == 0
    assert find_weights(out).passport == find_model(student).passport
    assert json.loads((student / "fewstep.json").read_text())["name"] == find_weights(out).passport.name
