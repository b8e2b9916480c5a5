"""Models as files: every layout of the same model makes the same pixels, and students take the transformer's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fewstep.checkpoints.folders import find_parts
from fewstep.checkpoints.model_files import find_model, read_model
from fewstep.cli import main
from fewstep.diffusion.steps import shifted_levels
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import ModelError, Passport, save_model, shared_parts
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.models.weights import WeightsError
from fewstep.pipeline import Pipeline
from fewstep.sampling import clip_noise_source, draw_noise

SMALL = {"height": 32, "width": 48, "latent_frames": 3}
PROMPT = "a red ball moves"


def pixels(model: Path, **options) -> np.ndarray:
    pipeline = Pipeline.load(model, dtype="float32", passport=SMALL, **options)
    return np.asarray(pipeline.generate(PROMPT, steps=3))


def test_a_prompt_becomes_the_pixels_of_diffusers(hub_folder: Path):
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

    class Grid(FlowMatchEulerDiscreteScheduler):
        """Euler steps of equal size before the shift; its own grid ends at a thousandth."""

        def set_timesteps(self, num_inference_steps: int, device=None) -> None:
            super().set_timesteps(sigmas=np.linspace(1, 0, num_inference_steps + 1)[:-1], device=device)

    ours = Pipeline.load(hub_folder, dtype="float32", passport=SMALL)
    theirs = WanPipeline.from_pretrained(hub_folder, scheduler=Grid(shift=5.0))
    theirs.set_progress_bar_config(disable=True)
    shot = ours.shot(steps=3)
    noise = draw_noise(clip_noise_source(0, 0), shot.new_frames, shot.shape).transpose(1, 2)
    size = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 3}
    guided = {"negative_prompt": ours.passport.negative_prompt, "guidance_scale": ours.passport.guidance}
    expected = theirs(PROMPT, latents=noise, output_type="pt", **size, **guided).frames
    seen: list[Tensor] = []
    frames = np.asarray(ours.generate(PROMPT, steps=3, on_step=lambda chunk, step, x0: seen.append(x0)))
    assert (ours.vae.decode(seen[-1]) / 2 + 0.5 - expected).abs().max() < 1e-5
    assert np.abs(frames - (expected.permute(0, 1, 3, 4, 2).numpy() * 255)).max() <= 0.501


def test_wans_own_folder_makes_the_pixels_of_diffusers(hub_folder: Path, wan_folder: Path):
    assert np.array_equal(pixels(wan_folder), pixels(hub_folder))


def test_folders_without_a_passport_are_teachers_with_wans_defaults(hub_folder: Path, wan_folder: Path):
    for folder in (hub_folder, wan_folder):
        passport = read_model(folder).passport
        assert (passport.kind, passport.latent_frames, passport.height, passport.width) == ("teacher", 21, 480, 832)
        assert (passport.shift, passport.guidance, passport.fps) == (5.0, 5.0, 16.0)
        assert passport.negative_prompt.startswith("色调艳丽")


def test_a_scheduler_tells_the_shift(hub_folder: Path, tmp_path: Path):
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"flow_shift": 3.0}')
    assert read_model(tmp_path).passport.shift == 3.0


def test_diffusers_folders_of_students_open_as_students(tmp_path: Path):
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "WanCausalDMDPipeline"}')
    (tmp_path / "transformer" / "config.json").write_text('{"_class_name": "CausalWanTransformer3DModel"}')
    passport = read_model(tmp_path).passport
    assert (passport.kind, passport.layout, passport.guidance) == ("student", ChunkLayout(3), 1.0)
    assert passport.levels == shifted_levels()


def test_a_student_file_takes_the_transformers_place(hub_folder: Path, state: dict[str, Tensor], tmp_path: Path):
    moved = {f"model.{name}": tensor + 0.01 for name, tensor in state.items()}
    file = tmp_path / "self_forcing_dmd.pt"
    torch.save({"generator": {f"model.{k}": v for k, v in state.items()}, "generator_ema": moved}, file)
    pipeline = Pipeline.load(hub_folder, student=file, dtype="float32", passport=SMALL)
    live = Pipeline.load(hub_folder, student=file, weights="live", dtype="float32", passport=SMALL)
    assert (pipeline.passport.name, pipeline.passport.kind) == ("self_forcing_dmd", "student")
    assert pipeline.net.cfg.num_heads == 2  # as the base's config says; the file cannot
    assert torch.equal(pipeline.net.head.head.bias, state["head.head.bias"] + 0.01)
    assert torch.equal(live.net.head.head.bias, state["head.head.bias"])
    assert np.asarray(pipeline.generate(PROMPT, steps=2, first=4)).shape == (1, 9, 32, 48, 3)


def test_what_is_known_of_a_student_can_be_overruled(hub_folder: Path, state: dict[str, Tensor], tmp_path: Path):
    file = tmp_path / "longlive_base.pt"
    torch.save({"generator": state}, file)
    assert find_model(hub_folder, student=file).passport.context == Context(sink=3, window=12)
    changes = {"layout": ChunkLayout(1), "levels": (1.0, 0.5), "context": Context()}
    passport = find_model(hub_folder, student=file, changes=changes).passport
    assert (passport.layout, passport.levels, passport.context) == (ChunkLayout(1), (1.0, 0.5), Context())
    with pytest.raises(ModelError, match="cannot be sampled with"):
        find_model(hub_folder, student=file, changes={"layout": ChunkLayout(2)})
    with pytest.raises(ModelError, match="levels are a student's, Toy-T2V-Diffusers is a teacher"):
        find_model(hub_folder, changes={"levels": (1.0,)})


def test_a_student_may_have_another_size_but_must_read_the_same_text(hub_folder: Path, tmp_path: Path):
    shape = replace(PRESETS["tiny"], ffn_dim=128, text_dim=32)
    torch.save(VideoDiT(shape).state_dict(), tmp_path / "wide.pt")
    assert find_model(hub_folder, student=tmp_path / "wide.pt").transformer().cfg.ffn_dim == 128
    torch.save(VideoDiT(PRESETS["shapes"]).state_dict(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"\(shapes\) reads text of width 128, the text encoder of Toy.* writes 32"):
        find_model(hub_folder, student=tmp_path / "other.pt")


def test_an_autoencoder_is_no_student(hub_folder: Path, wan_folder: Path):
    with pytest.raises(WeightsError, match="is autoencoder"):
        find_model(hub_folder, student=wan_folder / "Wan2.1_VAE.pth")


def test_a_folder_that_is_no_model_says_what_one_is(tmp_path: Path):
    with pytest.raises(ModelError, match=r"holds no fewstep\.json \(ours\), no model_index\.json"):
        read_model(tmp_path)


def test_a_part_that_is_missing_is_named_when_it_is_asked_for(hub_folder: Path, tmp_path: Path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    with pytest.raises(ModelError, match="no vae at"):
        read_model(tmp_path).part("vae")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A model of ours that takes all but its transformer from a folder beside it."""
    save_model(tmp_path / "base", None, vae=VideoVAE.from_preset("tiny"), text_encoder=TextEncoder.from_preset("tiny"))
    components = shared_parts(tmp_path / "toy", find_parts(tmp_path / "base"))
    passport = Passport(name="toy", kind="student", levels=(1.0, 0.5), fps=16.0, components=components, **SMALL)
    return save_model(tmp_path / "toy", passport, transformer=VideoDiT(PRESETS["tiny"]), dtype=torch.bfloat16)


def test_parts_are_those_of_the_folder_and_those_that_it_shares(shared: Path):
    model = read_model(shared)
    assert model.passport.components["vae"] == "../base/vae"
    assert model.transformer().cfg == PRESETS["tiny"]
    assert next(model.transformer().parameters()).dtype == torch.bfloat16
    assert model.vae(dtype=torch.bfloat16).dtype == torch.bfloat16
    assert model.text_encoder().encode(["a red circle"]).shape == (1, 8, 32)
    assert 0 < model.size < 2_000_000


def test_folders_move_together(shared: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("base", "toy"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert read_model(tmp_path / "elsewhere" / "toy").vae().channels == 16


def test_a_students_own_passport_is_believed(hub_folder: Path, shared: Path):
    student = find_model(hub_folder, student=shared)
    assert student.passport == replace(read_model(shared).passport, components={})
    assert student.part("vae") == hub_folder / "vae"


def test_a_student_of_the_lineage_may_begin_with_anything_whatever_it_is_used_with(
    hub_folder: Path, state: dict[str, Tensor], tmp_path: Path
):
    file, model = tmp_path / "self_forcing_dmd.pt", read_model(hub_folder)
    torch.save({"generator": state}, file)
    text_only = replace(model.passport, kind="student", levels=(1.0,), begins_with="text")
    base = replace(model, passport=text_only)
    assert base.with_student(file).passport.begins_with is None
    assert base.changed({"begins_with": "either"}).passport.begins_with == "either"


def test_a_student_generates_from_the_command_line(hub_folder: Path, state: dict[str, Tensor], tmp_path: Path):
    file, clip = tmp_path / "self_forcing_dmd.pt", tmp_path / "fox.mp4"
    torch.save({"generator": {f"model._fsdp_wrapped_module.{k}": v for k, v in state.items()}}, file)
    command = ["generate", PROMPT, "--model", str(hub_folder), "--student", str(file), "--size", "48x32"]
    assert main([*command, "--steps", "2", "--first", "4", "--frames", "9", "-o", str(clip)]) == 0
    assert clip.stat().st_size > 0
    assert main([*command, "--chunk", "1", "--levels", "1", "0.5", "--frames", "5", "-o", str(clip)]) == 0
    assert main([*command, "--weights", "ema", "-o", str(clip)]) == 2
