"""Exported models: others read them and compute the same; read back by us they are the same, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from fewstep.checkpoints.export import export_diffusers, export_original, export_safetensors
from fewstep.checkpoints.folders import find_parts
from fewstep.checkpoints.model_files import ModelFiles, find_weights, read_model
from fewstep.checkpoints.open import open_transformer
from fewstep.diffusion.steps import shifted_levels
from fewstep.files import OutputError
from fewstep.models.checkpoint_dir import PARTS, Passport, save_model, shared_parts
from fewstep.models.text import TextEncoder, build_tokenizer
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import to_diffusers

PASSPORT = Passport(
    name="toy", kind="student", levels=shifted_levels(), latent_frames=9, height=32, width=48, shift=3.0, seed=7
)


@pytest.fixture
def model(tiny_net, tmp_path) -> ModelFiles:
    """A student that takes its other parts from another folder."""
    words = build_tokenizer(["a red ball moves"] * 2, text_len=8)
    base = save_model(
        tmp_path / "base", None, vae=VideoVAE.from_preset("tiny"), text_encoder=TextEncoder.from_preset("tiny", words)
    )
    folder = tmp_path / "student"
    save_model(folder, replace(PASSPORT, components=shared_parts(folder, find_parts(base))), transformer=tiny_net)
    return read_model(folder)


def same(net, other) -> bool:
    ours, theirs = net.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(tensor, theirs[name]) and tensor.dtype == theirs[name].dtype for name, tensor in ours.items()
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mixed(net):
    """The network with some parameters in bf16, as diffusers keeps Wan."""
    for block in net.blocks:
        block.bfloat16()
        block.modulation.data = block.modulation.data.float()
    return net


@torch.no_grad()
def test_diffusers_folder_opens_there_with_the_same_outputs(model, tiny_net, tmp_path):
    from diffusers import WanTransformer3DModel

    export_diffusers(tmp_path / "out", tiny_net, model)
    theirs = WanTransformer3DModel.from_pretrained(tmp_path / "out", subfolder="transformer")
    assert all(torch.equal(theirs.state_dict()[k], v) for k, v in to_diffusers(tiny_net.state_dict()).items())
    x, text, sigma = torch.randn(2, 3, 16, 4, 6), torch.randn(2, 8, 32), torch.tensor([0.83, 0.25])
    expected = theirs(x.transpose(1, 2), 1000 * sigma, text, return_dict=False)[0].transpose(1, 2)
    ours = tiny_net(x, sigma[:, None].expand(2, 3), text)
    assert (ours - expected).norm() < 1e-5 * expected.norm()


def test_diffusers_opens_the_folder_as_a_pipeline(model, tiny_net, tmp_path):
    from diffusers import WanPipeline

    pipeline = WanPipeline.from_pretrained(export_diffusers(tmp_path / "out", tiny_net, model))
    assert pipeline.scheduler.config.flow_shift == PASSPORT.shift
    ours = model.text_encoder()
    assert pipeline.tokenizer("a red ball").input_ids == ours.tokenizer("a red ball").input_ids
    for theirs, mine in ((pipeline.vae, model.vae().model), (pipeline.text_encoder, ours.model)):
        assert same(theirs, mine)
    options = {"height": 32, "width": 48, "num_frames": 9, "max_sequence_length": 8, "guidance_scale": 1.0}
    clip = pipeline("a red ball", num_inference_steps=1, output_type="np", **options).frames
    assert clip.shape == (1, 9, 32, 48, 3)


def test_diffusers_folder_is_a_whole_model_of_ours(model, tiny_net, tmp_path):
    again = read_model(export_diffusers(tmp_path / "out", tiny_net, model))
    assert again.passport == replace(PASSPORT, components={})
    assert same(again.transformer(), tiny_net)
    for part in PARTS[1:]:
        assert again.parts[part].parent == tmp_path / "out"
        assert files_of(again.parts[part]) == files_of(model.parts[part])


def test_a_models_own_scheduler_is_kept(model, tiny_net, tmp_path):
    scheduler = model.path / "scheduler"
    scheduler.mkdir()
    (scheduler / "scheduler_config.json").write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 4.0}')
    out = export_diffusers(tmp_path / "out", tiny_net, model)
    assert files_of(out / "scheduler") == files_of(scheduler)
    assert json.loads((out / "model_index.json").read_text())["scheduler"][1] == "FlowMatchEulerDiscreteScheduler"


def test_the_hubs_folder_and_wans_own_come_out_alike(hub_folder, wan_folder, tmp_path):
    from diffusers import WanPipeline

    before = WanPipeline.from_pretrained(hub_folder)
    for folder, scheduler in ((hub_folder, "FlowMatchEuler"), (wan_folder, "UniPC")):
        model = read_model(folder)
        after = WanPipeline.from_pretrained(export_diffusers(tmp_path / folder.name, model.transformer(), model))
        for part in ("transformer", "vae", "text_encoder"):
            assert same(getattr(after, part), getattr(before, part))
        assert type(after.scheduler).__name__.startswith(scheduler)
        assert after.tokenizer("a red ball").input_ids == before.tokenizer("a red ball").input_ids
    wan = export_original(tmp_path / "wan", read_model(tmp_path / wan_folder.name).transformer())
    assert same(open_transformer(wan), open_transformer(wan_folder))


def test_a_model_without_all_parts_is_no_pipeline(model, tiny_net, tmp_path):
    files = replace(model, parts={"vae": model.parts["vae"], "tokenizer": tmp_path / "nowhere"})
    out = export_diffusers(tmp_path / "out", tiny_net, files)
    assert {path.name for path in out.iterdir()} == {"transformer", "vae", "fewstep.json"}


WRITERS = {
    "safetensors": lambda path, net: export_safetensors(path.with_suffix(".safetensors"), net, PASSPORT),
    "original safetensors": lambda path, net: export_original(path.with_suffix(".safetensors"), net),
    "original pt": lambda path, net: export_original(path.with_suffix(".pt"), net),
    "original folder": export_original,
}


@pytest.mark.parametrize("first", WRITERS)
@pytest.mark.parametrize("second", WRITERS)
def test_weights_survive_every_writer_and_reader(first, second, tiny_net, tmp_path):
    net = mixed(tiny_net)
    once = open_transformer(WRITERS[first](tmp_path / "once", net), cfg=net.cfg)
    assert same(once, net)
    assert same(open_transformer(WRITERS[second](tmp_path / "twice", once), cfg=net.cfg), net)


def test_single_file_carries_passport_and_shape(tiny_net, tmp_path):
    path = export_safetensors(tmp_path / "a.safetensors", tiny_net, replace(PASSPORT, components={"vae": "../vae"}))
    found = find_weights(path)
    assert found.passport == PASSPORT
    net = found.transformer()
    assert net.cfg == tiny_net.cfg
    assert same(net, tiny_net)


def test_original_names_are_wans(tiny_net, tmp_path):
    with safe_open(export_original(tmp_path / "a.safetensors", tiny_net), "pt") as file:
        assert set(file.keys()) == set(tiny_net.state_dict())
        assert file.metadata() == {"format": "pt"}


def test_pt_loads_strictly_into_self_forcings_wrapper(tiny_net, tmp_path):
    class Wrapper(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

    saved = torch.load(export_original(tmp_path / "a.pt", tiny_net), weights_only=True)
    assert list(saved) == ["generator"]
    Wrapper(tiny_net).load_state_dict(saved["generator"], strict=True)


def test_original_folder_tells_its_shape(tiny_net, tmp_path):
    assert open_transformer(export_original(tmp_path / "wan", tiny_net)).cfg == tiny_net.cfg


def test_nothing_is_left_of_an_export_that_fails(model, tiny_net, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/diary.txt").write_text("mine")
    broken = replace(model, parts={**model.parts, "vae": tmp_path / "taken/diary.txt"})
    before = files_of(tmp_path)
    with pytest.raises(OutputError, match="something else is there"):
        export_diffusers(tmp_path / "taken", tiny_net, model)
    with pytest.raises(OutputError, match="something else is there"):
        export_original(tmp_path / "taken", tiny_net)
    with pytest.raises(ValueError, match=r"diary\.txt"):
        export_diffusers(tmp_path / "new", tiny_net, broken)
    with pytest.raises(OutputError, match="not a folder"):
        export_original(tmp_path / "taken/diary.txt/a.pt", tiny_net)
    assert files_of(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_an_older_export_is_replaced(model, tiny_net, tmp_path):
    export_diffusers(tmp_path / "out", tiny_net, model)
    nn.init.zeros_(tiny_net.head.head.bias)
    export_diffusers(tmp_path / "out", tiny_net, model)
    assert same(read_model(tmp_path / "out").transformer(), tiny_net)
