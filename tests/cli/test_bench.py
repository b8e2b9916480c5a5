from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import fewstep
from fewstep.bench.measure import measure, stream_flops
from fewstep.bench.rates import quantile
from fewstep.bench.subject import Subject
from fewstep.cli import main
from fewstep.diffusion.steps import StepPlan
from fewstep.models.cache import KVCache
from fewstep.models.checkpoint_dir import PASSPORT, read_passport
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.planning.flops import cache_bytes, commit_flops, forward_flops
from fewstep.planning.sizes import transformer_numbers


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.from_preset("tiny", torch.device("cpu"), torch.float32)


def test_a_preset_that_does_not_fit_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("fewstep.bench.subject.total_memory", lambda device: 16 * 10**9)
    with pytest.raises(ValueError, match="needs 29 GB for its weights, cpu has 16 GB"):
        Subject.from_preset("wan_14b", torch.device("cpu"), torch.bfloat16)


def test_closed_form_equals_the_published_cost_of_wan():
    cfg, frame = PRESETS["wan_1_3b"], 1560
    assert forward_flops(cfg, 3 * frame, 3 * frame) / 1e12 == pytest.approx(16.2, abs=0.1)
    assert forward_flops(cfg, 3 * frame, 21 * frame) / 1e12 == pytest.approx(40.4, abs=0.1)
    assert cache_bytes(cfg, 21 * frame, 2) / 1e9 == pytest.approx(6.0, abs=0.1)
    assert transformer_numbers(cfg) / 1e9 == pytest.approx(1.42, abs=0.01)


def test_closed_form_equals_counted_products(subject: Subject):
    net, frames = subject.net, 3
    cfg, tokens = net.cfg, frames * subject.tokens_per_frame
    x, sigma = subject.noise(frames), torch.full((1, frames), 0.5)
    with torch.inference_mode():
        text, cache = net.encode_text(subject.text), KVCache.empty(net.cfg.num_layers)
        # the counter does not know the fused attention of CPUs
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
            net(x, sigma, text, cache=cache)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as commit:
            net.prefill(x, sigma, text, cache, subject.context)
    embed, leave = (2 * tokens * cfg.dim * 4 * channels for channels in (cfg.in_channels, cfg.out_channels))
    time = 2 * frames * cfg.dim * (cfg.freq_dim + 7 * cfg.dim)
    assert forward.get_total_flops() == forward_flops(cfg, tokens, tokens) + embed + time + leave
    assert commit.get_total_flops() == commit_flops(cfg, tokens, tokens) + embed + time


def test_a_stream_costs_its_passes_and_one_commit_fewer_than_chunks(subject: Subject):
    cfg, per_frame = subject.net.cfg, subject.tokens_per_frame
    one = replace(subject, latents=(3, *subject.latents[1:]))
    expected = 2 * forward_flops(cfg, 3 * per_frame, 3 * per_frame)
    assert stream_flops(one, StepPlan.uniform(subject.levels[:2])) == expected
    two = replace(subject, latents=(6, *subject.latents[1:]))
    assert stream_flops(two, StepPlan.uniform(subject.levels[:1])) > 2 * forward_flops(
        cfg, 3 * per_frame, 3 * per_frame
    )


def test_a_report_has_every_figure(subject: Subject):
    small = replace(subject, latents=(6, 16, 4, 4))
    report = measure(small, backend="eager", steps=(2,), commits=("sequential", "packed"), clips=1)
    assert set(report.forward_ms) == set(report.commit_ms) == {3, 6}
    assert set(report.packed_ms) == {6}
    assert [(s.steps, s.commit) for s in report.streams] == [(2, "sequential"), (2, "packed")]
    for stream in report.streams:
        assert stream.fps_with_decode > 0
        assert stream.first_frame_ms > 0
        assert stream.period_ms["p50"] <= stream.period_ms["p90"]
    json.dumps(report.to_json())


def test_a_student_that_goes_on_from_a_picture_is_streamed_behind_one(student: Path):
    changes = {"begins_with": "image", "layout": ChunkLayout(4, first=1)}
    pipe = fewstep.load(str(student), dtype="float32", device="cpu", passport=changes)
    subject = Subject.from_pipeline(pipe, "a red ball")
    assert (subject.given, subject.chunks, subject.pictures) == (1, (4, 4), 32)
    assert len(list(pipe.stream("a red ball", image=np.zeros((32, 48, 3), np.uint8)))) == 1 + len(subject.chunks)
    cfg, frame = subject.net.cfg, subject.tokens_per_frame
    passes = [forward_flops(cfg, 4 * frame, seen * frame) for seen in (5, 9)]
    commits = [commit_flops(cfg, frame, frame), commit_flops(cfg, 4 * frame, 5 * frame)]
    assert stream_flops(subject, StepPlan.uniform((1.0,))) == pytest.approx(sum(passes) + sum(commits))
    report = measure(subject, backend="eager", steps=(1,), commits=("sequential", "packed"), clips=1)
    assert set(report.forward_ms) == set(report.packed_ms) == {5, 9}
    assert all(set(stream.period_ms) == {"p50", "p90"} for stream in report.streams)


def test_the_command_writes_tables_and_json_for_the_steps_that_the_student_has(student: Path, tmp_path: Path, capsys):
    model, target = tmp_path / "one", tmp_path / "bench.json"
    shutil.copytree(student, model)
    (model / PASSPORT).write_text(replace(read_passport(student), levels=(1.0,)).to_json())
    assert main(f"bench --model {model} --clips 1 --dtypes float32 --json {target}".split()) == 0
    (report,) = json.loads(target.read_text())["reports"]
    assert report["text_ms"] > 0
    assert {stream["steps"] for stream in report["streams"]} == {1}
    assert "frames/s" in capsys.readouterr().out


def test_a_presets_clip_can_be_one_small_chunk(tmp_path: Path, capsys):
    target = tmp_path / "bench.json"
    words = "bench --preset tiny --size 32x48 --chunks 1 --steps 1 --commits sequential --clips 1 --dtypes bfloat16"
    assert main([*words.split(), "--device", "cpu", "--json", str(target)]) == 0
    (report,) = json.loads(target.read_text())["reports"]
    assert list(report["forward_ms"]) == ["3"]
    assert report["dtype"] == "bfloat16"
    assert report["planned_memory_mb"] > 0
    assert report["streams"][0]["period_ms"] == {}
    assert "`fewstep plan` says" in capsys.readouterr().out


def test_random_weights_are_made_in_place_in_the_format_asked_for():
    made = Subject.from_preset("tiny", torch.device("cpu"), torch.bfloat16, size=(32, 48), chunks=2)
    assert made.latents == (6, 16, 4, 6)
    parameters = [*made.net.named_parameters(), *made.vae.named_parameters()]
    assert {parameter.dtype for _, parameter in parameters} == {torch.bfloat16}
    assert all(parameter.isfinite().all() for _, parameter in parameters)
    assert made.net.head.head.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert (made.net.blocks[0].norm3.weight == 1).all()
    assert (made.net.blocks[0].norm3.bias == 0).all()


def test_sizes_that_do_not_fit_are_refused(capsys):
    assert main(["bench", "--preset", "tiny", "--size", "30x48"]) == 2
    assert "multiples of 16" in capsys.readouterr().err
    assert main(["bench", "--chunks", "1"]) == 2
    assert "go with --preset" in capsys.readouterr().err


def test_quantiles_are_members_of_the_list():
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert quantile([1.0], 0.9) == 1.0
