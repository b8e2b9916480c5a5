"""What a checkpoint is, from its header: every format of the lineage at toy size, and the command that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fewstep.checkpoints.lineage import identify
from fewstep.checkpoints.open import CONFIG_KEY, PASSPORT_KEY
from fewstep.cli import main
from fewstep.diffusion.steps import shifted_levels
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import Passport, save_model
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.weights import to_diffusers, to_diffusers_config


@pytest.fixture(scope="module")
def tiny() -> dict[str, Tensor]:
    return VideoDiT(PRESETS["tiny"]).state_dict()


def wrapped(state: Mapping[str, Tensor], prefix: str = "model.") -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def write(path: Path, value: Mapping) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(dict(value), path)
    else:
        torch.save(value, path)
    return path


HEAD = {"_cls_pred_branch.0.weight": torch.zeros(2), "_register_tokens": torch.zeros(3, 2)}


def test_a_training_state_of_self_forcing_is_read_in_full(tiny: dict[str, Tensor], tmp_path: Path):
    fsdp = wrapped(tiny, "model._fsdp_wrapped_module.")
    state = {"generator": fsdp, "generator_ema": wrapped(tiny), "critic": {**wrapped(tiny), **HEAD}, "step": 600}
    info = identify(write(tmp_path / "self_forcing_dmd.pt", state))
    assert (info.network, info.lineage, info.kind) == ("transformer", "Self Forcing", "student")
    assert info.stage == "training state of a distillation, with its average"
    assert (info.groups, info.has_ema, info.step) == (("generator", "generator_ema", "critic"), True, 600)
    assert info.heads == ("_cls_pred_branch", "_register_tokens")
    assert info.wrappers == ("_fsdp_wrapped_module",)
    assert (info.size, info.naming, info.format) == ("tiny", "Wan's", "pickle")
    assert info.parameters == sum(tensor.numel() for tensor in tiny.values())
    assert info.sampling is not None
    assert (info.sampling.layout, info.sampling.levels) == (ChunkLayout(3), shifted_levels())
    assert any("name" in reason for reason in info.why)


@pytest.mark.parametrize(
    ("path", "groups", "lineage", "sampling"),
    [
        ("causvid/autoregressive_checkpoint/model.pt", ("generator",), "CausVid", {"levels": (1.0, 0.757, 0.522)}),
        ("Causal-Forcing/framewise/model.pt", ("generator_ema",), "Causal-Forcing", {"layout": ChunkLayout(1)}),
        ("Causal-Forcing/framewise-2step.pt", ("generator_ema",), "Causal-Forcing", {"plan": "2*"}),
        ("one_forcing/chunkwise.pt", ("generator", "generator_ema", "critic"), "One-Forcing", {"plan": "1*"}),
        ("longlive_base.pt", ("generator",), "LongLive", {"context": Context(sink=3, window=12)}),
        ("krea-realtime-video-14b.safetensors", (), "Krea", {"context": Context(window=6)}),
        ("my_run/model.pt", ("generator", "critic"), "Self Forcing's family", {"layout": ChunkLayout(3)}),
    ],
)
def test_every_code_base_is_told_by_its_name(
    tiny: dict[str, Tensor], tmp_path: Path, path: str, groups: tuple[str, ...], lineage: str, sampling: dict
):
    value = {group: wrapped(tiny) for group in groups} or wrapped(tiny)
    info = identify(write(tmp_path / path, value))
    assert (info.lineage, info.kind) == (lineage, "student")
    assert {name: getattr(info.sampling, name) for name in sampling} == sampling


@pytest.mark.parametrize(
    ("name", "groups", "stage"),
    [
        ("ode_init.pt", ("generator",), "ODE start"),
        ("model.pt", ("generator",), "both are saved alike"),
        ("model.pt", ("generator", "critic"), "before its average begins"),
        ("model.pt", ("generator_ema",), "both are saved alike"),
    ],
)
def test_stages_are_told_by_what_is_in_the_file(
    tiny: dict[str, Tensor], tmp_path: Path, name: str, groups: tuple[str, ...], stage: str
):
    info = identify(write(tmp_path / "runs" / name, {group: wrapped(tiny) for group in groups}))
    assert stage in info.stage


def test_weights_alone_are_not_called_teacher_or_student(tiny: dict[str, Tensor], tmp_path: Path):
    info = identify(write(tmp_path / "wan.safetensors", wrapped(tiny, "model.diffusion_model.")))
    assert (info.kind, info.lineage, info.groups) == ("untold", "Wan 2.1", ("",))


def test_folders_are_looked_into(hub_folder: Path, wan_folder: Path):
    formats = {hub_folder: ("diffusers'", "safetensors"), wan_folder: ("Wan's", "sharded safetensors")}
    for folder, (naming, form) in formats.items():
        info = identify(folder)
        assert (info.network, info.kind, info.stage, info.sampling) == ("transformer", "teacher", "pretrained", None)
        assert (info.naming, info.format, info.has_config) == (naming, form, True)
    assert identify(hub_folder / "transformer").shape == identify(hub_folder).shape


def test_the_other_networks_are_known(hub_folder: Path, wan_folder: Path, tmp_path: Path):
    assert identify(wan_folder / "Wan2.1_VAE.pth").network == "autoencoder"
    assert identify(hub_folder / "vae").network == "autoencoder"
    assert identify(wan_folder / "models_t5_umt5-xxl-enc-bf16.pth").network == "text encoder"
    assert identify(hub_folder / "text_encoder").network == "text encoder"
    lora = {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(2, 2)}
    assert identify(write(tmp_path / "lora.safetensors", lora)).network == "LoRA"
    assert identify(write(tmp_path / "other.safetensors", {"conv.weight": torch.zeros(2)})).network == "unknown"


def test_a_passport_says_more_than_a_name(tiny: dict[str, Tensor], tmp_path: Path):
    sampled = {"levels": (1.0, 0.5), "layout": ChunkLayout(1), "trained_by": "asd.tiny"}
    passport = Passport(name="x", kind="student", latent_frames=3, height=64, width=64, **sampled)
    net = VideoDiT(PRESETS["tiny"])
    folder = save_model(tmp_path / "krea", passport, transformer=net)
    file = tmp_path / "krea.safetensors"
    config = json.dumps(to_diffusers_config(net.cfg))
    save_file(to_diffusers(net.state_dict()), file, metadata={PASSPORT_KEY: passport.to_json(), CONFIG_KEY: config})
    for path in (folder, file):
        info = identify(path)
        assert (info.lineage, info.stage, info.passport) == ("fewstep", "trained by asd.tiny", passport)
        assert (info.sampling.levels, info.sampling.layout, info.has_config) == ((1.0, 0.5), ChunkLayout(1), True)


@pytest.mark.parametrize("preset", ["wan_1_3b", "wan_14b"])
def test_published_sizes_are_named_without_reading_their_data(tmp_path: Path, preset: str):
    with torch.device("meta"):
        state = VideoDiT(PRESETS[preset]).bfloat16().state_dict()
    header, place = {}, 0
    for name, tensor in state.items():
        stop = place + 2 * tensor.numel()
        header["model." + name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [place, stop]}
        place = stop
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + place)  # a hole of the data's length
    info = identify(path)
    assert (info.size, info.bytes) == (preset, place)
    assert info.shape == PRESETS[preset]
    assert info.parameters == {"wan_1_3b": 1_418_996_800, "wan_14b": 14_288_491_584}[preset]


def test_the_command_prints_a_table_and_json(tiny: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture):
    path = write(tmp_path / "longlive.pt", {"generator_ema": wrapped(tiny), "critic": {**wrapped(tiny), **HEAD}})
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    for words in ("LongLive", "student", "generator_ema, critic", "_cls_pred_branch", "a window of 12, 3 of it sink"):
        assert words in printed
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["lineage"], found["has_ema"], found["sampling"]["context"]["window"]) == ("LongLive", True, 12)
    assert main(["inspect", str(path), str(path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_the_command_refuses_what_is_no_checkpoint_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "x.safetensors").write_text("hello there")
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 2
    assert "text that starts with 'hello there'" in capsys.readouterr().err
    assert main(["inspect"]) == 2
