"""What users get wrong, through the real command: status 2, one clear message, nothing half-written."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewstep.cli import main
from fewstep.video import write_video


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The message of a run that must end with status 2 and no traceback."""
    assert main([str(word) for word in argv]) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert err.strip()
    return " ".join(err.split())


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_an_unknown_command_gets_a_suggestion(capsys):
    assert "did you mean 'generate'?" in refused(capsys, "genrate", "a red ball")


def test_an_unknown_flag_gets_a_suggestion(capsys):
    assert "--steps" in refused(capsys, "generate", "a red ball", "--step", 2)


def test_a_flag_of_the_wrong_type_is_named(capsys):
    assert "--steps" in refused(capsys, "generate", "a red ball", "--steps", "two")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", 0], "from 1 to 4, got 0"),
        (["--steps", 5], "from 1 to 4, got 5"),
        (["--steps", 1, "--first", 9], "from 1 to 4, got 9"),
        (["--frames", 30], "the nearest are 21 and 33"),
        (["--frames", 1], "the nearest are 9"),
        (["--frames", 0], "frames must be"),
        (["--frames", -5], "frames must be"),
        (["--seed", -1], "seed must be"),
        (["--batch", 0], "--batch must be 1 or more"),
        (["--enlarge", 0], "--enlarge must be 1 or more"),
        (["--guidance", 3], "guidance"),
        (["--device", "tpu"], "device must be"),
        (["--device", "cuda:99"], "CUDA devices"),
        (["-o", "clip.avi"], ".mp4"),
        (["--sheet", "sheet.txt"], ".png"),
    ],
)
def test_values_that_cannot_be_served_are_refused(capsys, student: Path, in_tmp: Path, words, message):
    assert message in refused(capsys, "generate", "a red ball", "--model", student, *words)
    assert not files(in_tmp)


def changed(student: Path, target: Path, **fields: object) -> Path:
    """A copy of the model with other values in its passport."""
    file = broken(student, target) / "fewstep.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    return target


def test_an_image_for_a_student_of_text_alone_is_refused(capsys, student: Path, in_tmp: Path):
    Image.new("RGB", (48, 32)).save(in_tmp / "p.png")
    model = changed(student, in_tmp / "model", begins_with="text")
    words = ("a red ball", "--model", model, "--image", "p.png", "-o", "clip.mp4")
    assert "'toy-student' was trained from text alone" in refused(capsys, "generate", *words)
    assert "'toy-student' was trained from text alone" in refused(capsys, "long", *words[:5])
    assert "an image is required" in refused(
        capsys, "generate", "a red ball", "--model", changed(student, in_tmp / "other", begins_with="image")
    )
    assert not (in_tmp / "clip.mp4").exists()


def test_a_window_smaller_than_sink_and_chunk_is_refused(capsys, student: Path, in_tmp: Path):
    message = "cannot hold sink=3 and a chunk of 3 frames; use a window of at least 6"
    model = changed(student, in_tmp / "model", context={"sink": 3, "window": 5})
    assert message in refused(capsys, "generate", "a red ball", "--model", model)
    assert message in refused(capsys, "long", "a red ball", "--model", student, "--sink", 3, "--window", 5)
    wide = ("--stages.2.method.layout.chunk", 2, "--out", in_tmp / "run")
    assert "Context.window=2" in refused(capsys, "train", "aad1.tiny", *wide)
    assert not (in_tmp / "run").exists()


def test_a_clip_shorter_than_a_chunk_is_refused(capsys, student: Path, in_tmp: Path):
    write_video(in_tmp / "short.mp4", np.zeros((5, 32, 48, 3), np.uint8), 16)
    model = changed(student, in_tmp / "model", begins_with="text")
    words = ("generate", "a red ball", "--model", model)
    assert "must fill a chunk, 9 pictures at 16 a second, got 5" in refused(capsys, *words, "--video", "short.mp4")
    assert "the nearest are 9" in refused(capsys, *words, "--frames", 5)


@pytest.mark.parametrize("prompt", ["", "   ", "ball " * 500])
def test_empty_and_over_long_prompts_are_refused(capsys, student: Path, in_tmp: Path, prompt: str):
    assert "prompt" in refused(capsys, "generate", prompt, "--model", student)
    assert not files(in_tmp)


@pytest.mark.parametrize("prompt", ["красный мяч", "赤いボール", "كرة حمراء", "🔴➡️", "\u200b ball \x00", "ä" * 5])
def test_prompts_in_any_script_work(capsys, student: Path, in_tmp: Path, prompt: str):
    assert main(["generate", prompt, "--model", str(student), "--steps", "1", "--frames", "9", "-o", "x.gif"]) == 0
    assert files(in_tmp) == ["x.gif"]


def test_a_prompt_is_required_once(capsys, in_tmp: Path):
    (in_tmp / "prompts.txt").write_text("a red ball\n")
    assert "got neither" in refused(capsys, "generate")
    assert "got both" in refused(capsys, "generate", "a red ball", "--prompts", "prompts.txt")


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe\x00bad"])
def test_prompt_files_that_hold_no_prompts_are_refused(capsys, in_tmp: Path, content: bytes | None):
    if content is not None:
        (in_tmp / "prompts.txt").write_bytes(content)
    assert "prompts.txt" in refused(capsys, "generate", "--prompts", "prompts.txt")


def test_an_unwritable_place_is_refused_before_the_work(capsys, student: Path, in_tmp: Path):
    (in_tmp / "file").write_text("x")
    message = refused(capsys, "generate", "a red ball", "--model", student, "-o", "file/clip.mp4")
    assert "cannot write" in message
    assert files(in_tmp) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_while_a_command_writes_is_one_clear_error(capsys, monkeypatch):
    with suppress(OSError), open("/dev/full", "w") as full:  # which still holds some when it is closed
        monkeypatch.setattr(sys, "stdout", full)
        assert "the disk is full: free some space" in refused(capsys, "models")


@pytest.fixture
def no_more_than_a_kilobyte() -> Iterator[None]:
    """Files cannot grow beyond it, whoever writes them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_more_than_a_kilobyte")
@pytest.mark.parametrize("name", ["x.gif", "x.mp4", "x.webp"])
def test_a_clip_that_the_file_system_does_not_take_is_one_clear_error(capsys, student: Path, in_tmp: Path, name: str):
    words = ("generate", "a red ball", "--model", student, "--steps", 1, "-o", name)
    assert f"cannot write {name}: the file would exceed the size limit" in refused(capsys, *words)
    assert not files(in_tmp)


def test_a_checkpoint_that_the_file_system_does_not_take_is_one_clear_error(capsys, in_tmp: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # room for the recipe and the log
    try:
        message = refused(capsys, "train", "teacher.tiny", "--out", "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cycle-00000002.pt: the file would exceed the size limit: raise the limit" in message
    assert not any(name.endswith((".pt", ".safetensors")) for name in files(in_tmp / "run"))


def test_what_a_model_does_not_have_is_refused_before_its_weights_are_read(capsys, student: Path, in_tmp: Path):
    model = broken(student, in_tmp / "model")
    file = weights(model)
    file.write_bytes(file.read_bytes()[:-1000])
    for words, message in (
        (("--steps", 9), "from 1 to 4, got 9"),
        (("--frames", 10), "the nearest are 9"),
        (("--size", "64"), "WIDTHxHEIGHT"),
        (("--seed", -1), "seed must be"),
        (("--guidance", 3), "has its guidance distilled in"),
    ):
        assert message in refused(capsys, "generate", "a red ball", "--model", "model", *words)
    assert "must say something" in refused(capsys, "generate", " ", "--model", "nowhere")


def test_unknown_models_get_a_suggestion(capsys, in_tmp: Path):
    assert "shapes-asd" in refused(capsys, "generate", "a red ball", "--model", "shape-asd")


def test_a_folder_that_is_no_model_is_refused(capsys, in_tmp: Path):
    (in_tmp / "photos").mkdir()
    assert "photos" in refused(capsys, "generate", "a red ball", "--model", "photos")


def broken(student: Path, target: Path) -> Path:
    """A copy of the folder that may be damaged."""
    shutil.copytree(student, target)
    return target


def weights(folder: Path) -> Path:
    return next((folder / "transformer").glob("*.safetensors"))


def test_a_truncated_checkpoint_is_refused(capsys, student: Path, in_tmp: Path):
    file = weights(broken(student, in_tmp / "model"))
    file.write_bytes(file.read_bytes()[:-1000])
    assert "safetensors" in refused(capsys, "generate", "a red ball", "--model", "model")


def test_a_checkpoint_of_another_shape_is_refused(capsys, student: Path, in_tmp: Path):
    config = broken(student, in_tmp / "model") / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"num_layers": 2', '"num_layers": 3'))
    assert "blocks.2" in refused(capsys, "generate", "a red ball", "--model", "model")


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 3}', '{"nmae": "x"}'])
def test_a_damaged_passport_is_refused(capsys, student: Path, in_tmp: Path, text: str):
    (broken(student, in_tmp / "model") / "fewstep.json").write_text(text)
    assert "fewstep.json" in refused(capsys, "generate", "a red ball", "--model", "model")


def test_a_missing_part_is_refused(capsys, student: Path, in_tmp: Path):
    weights(broken(student, in_tmp / "model")).unlink()
    assert "transformer" in refused(capsys, "generate", "a red ball", "--model", "model")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("owned"),))


def test_a_pickle_with_code_is_never_run(capsys, student: Path, in_tmp: Path):
    folder = broken(student, in_tmp / "model")
    weights(folder).unlink()
    for name in ("diffusion_pytorch_model.bin", "model.pt"):
        (folder / "transformer" / name).write_bytes(pickle.dumps(Evil()))
    (in_tmp / "student.pt").write_bytes(pickle.dumps(Evil()))
    for model in ("model", "student.pt"):
        refused(capsys, "generate", "a red ball", "--model", model)
    assert not (in_tmp / "owned").exists()


def test_unknown_recipes_get_a_suggestion(capsys):
    assert "asd.tiny" in refused(capsys, "train", "asd.tyni")
    assert "recipe" in refused(capsys, "train")


def test_unknown_recipe_fields_get_a_suggestion(capsys, in_tmp: Path):
    assert "--seed" in refused(capsys, "train", "asd.tiny", "--sede", 3)
    assert not files(in_tmp)


def test_debug_lets_the_traceback_through(student: Path, in_tmp: Path):
    with pytest.raises(ValueError, match=r"steps .* must be"):
        main(["generate", "a red ball", "--model", str(student), "--steps", "7", "--debug"])


def test_bench_and_doctor_refuse_what_they_cannot_do(capsys, in_tmp: Path):
    assert "preset" in refused(capsys, "bench", "--preset", "huge")
    assert "--clips" in refused(capsys, "bench", "--clips", 0)
    assert "cannot write" in refused(capsys, "doctor", "--json", in_tmp)
    assert not files(in_tmp)
