"""Banks: made once, continued after an interruption, checked, never silently wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fewstep.training.log import LineDisplay
from fewstep.training.precompute import Bank, Part, build_bank

SPEC = {"of": "squares", "seed": 3}


def build(folder: Path, made: list[range], count: int = 7, spec: dict | None = None, stop_at: int = 99) -> Bank:
    def make(indices: range) -> Part:
        if indices.start >= stop_at:
            raise KeyboardInterrupt
        made.append(indices)
        return Part({"x": torch.tensor([[float(i), i * i] for i in indices])}, [f"item {i}" for i in indices])

    return build_bank(folder, "test", spec or SPEC, count, make, part_size=3, display=LineDisplay(1000))


def test_items_and_labels_come_back_in_order_across_parts(tmp_path: Path) -> None:
    bank = build(tmp_path, [])
    assert len(bank) == 7
    assert bank.labels[4] == "item 4"
    assert bank.rows("x", [6, 0, 3]).tolist() == [[6, 36], [0, 0], [3, 9]]


def test_a_second_build_makes_nothing_and_more_items_only_what_is_missing(tmp_path: Path) -> None:
    made: list[range] = []
    build(tmp_path, made)
    build(tmp_path, made)
    assert made == [range(0, 3), range(3, 6), range(6, 7)]
    build(tmp_path, made, count=9)
    assert made[3:] == [range(6, 9)]


def test_an_interrupted_build_continues_at_the_missing_part(tmp_path: Path) -> None:
    made: list[range] = []
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, made, stop_at=3)
    build(tmp_path, made)
    assert made == [range(0, 3), range(3, 6), range(6, 7)]


@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_damaged_part_is_made_again(tmp_path: Path, harm: str) -> None:
    made: list[range] = []
    build(tmp_path, made)
    path = next(tmp_path.rglob("part-000003-*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if harm == "flip" else content[: len(content) // 2])
    assert build(tmp_path, made).rows("x", [5]).tolist() == [[5, 25]]
    assert made[3:] == [range(3, 6)]


def test_another_description_is_another_bank(tmp_path: Path) -> None:
    made: list[range] = []
    build(tmp_path, made)
    build(tmp_path, made, spec={**SPEC, "seed": 4})
    assert len(made) == 6
