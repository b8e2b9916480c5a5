from __future__ import annotations

import json

import pytest
import torch

from fewstep.doctor import examine, fit
from fewstep.hardware import can_compile, has_fast_bf16, pick_dtype, total_memory
from fewstep.models.compilation import compile_blocks
from fewstep.models.presets import PRESETS


def test_what_fits_grows_with_memory():
    small, large = fit("wan_14b", 8 * 10**9, 2), fit("wan_14b", 800 * 10**9, 2)
    assert (small.generates, small.distils) == (False, False)
    assert (large.generates, large.distils) == (True, True)
    assert 28 < small.generate_gb < small.distil_gb


def test_the_embedded_sizes_fit_everywhere():
    assert fit("shapes", 2 * 10**9, 4).distils


def test_an_examination_covers_every_preset_and_is_plain_values():
    found = examine()
    assert [fit.preset for fit in found.devices[0].fits] == list(PRESETS)
    assert found.devices[0].memory_gb == total_memory(torch.device("cpu")) / 1e9
    assert ("torch.compile for cpu" in found.backends) == can_compile(torch.device("cpu"))
    assert json.loads(json.dumps(found.to_json()))["versions"]["torch"]


def test_compiling_without_a_compiler_is_refused_before_the_work(monkeypatch, tiny_net):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler .*leave compile off"):
        compile_blocks(tiny_net)


def test_auto_precision_follows_the_hardware():
    cpu = torch.device("cpu")
    assert pick_dtype("auto", cpu) == (torch.bfloat16 if has_fast_bf16(cpu) else torch.float32)
    assert pick_dtype("float32", cpu) == torch.float32
