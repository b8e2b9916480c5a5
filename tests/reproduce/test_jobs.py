from __future__ import annotations

import json
from contextlib import ExitStack

import numpy as np
import pytest

from fewstep.evaluation.results import Protocol
from fewstep.planning.train import plan_recipe
from fewstep.reproduce.jobs import RATE, is_there, measuring_seconds, training_jobs, training_seconds
from fewstep.reproduce.logs import read_logs
from fewstep.reproduce.measuring import Measured
from fewstep.reproduce.paper import Arm, Item, Model, Paper, Training
from fewstep.reproduce.run import Settings, plan
from fewstep.reproduce.store import Store
from fewstep.training.recipe import resolve

TINY = Training(recipe="self_forcing.tiny")
ARM = Arm(key="dmd@1", title="DMD at 1", model=Model(TINY), plan="1")


def paper(*arms: Arm) -> Paper:
    return Paper(key="toy", title="toy", reference="", items=(Item(key="t", title="t", about="", arms=arms),))


def finish(folder, seconds: float = 2.0, stages=("teacher", "dmd")) -> None:
    """What a run leaves, as far as a plan looks at it."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "fewstep.json").write_text("{}")
    for stage in stages:
        (folder / stage).mkdir()
        lines = [json.dumps({"cycle": cycle, "seconds": seconds}) for cycle in (1, 2, 3)]
        (folder / stage / "log.jsonl").write_text("\n".join(lines) + '\n{"cycle": 4, "sec')


def test_a_run_that_is_there_costs_nothing_and_the_others_as_much_as_it_did(tmp_path):
    finish(tmp_path / "self_forcing.tiny")
    there, missing = training_jobs(paper(ARM), tmp_path, (0, 1))
    assert (there.there, there.seconds) == (True, 0.0)
    assert not missing.there
    assert missing.seconds == pytest.approx(2 * 2.0 + 2 * 2.0)  # two stages of two cycles
    assert missing.line.startswith("fewstep train self_forcing.tiny --out")
    assert is_there(ARM.model, tmp_path, 0)
    assert not is_there(ARM.model, tmp_path, 1)


def test_without_a_log_the_work_is_rehearsed(tmp_path):
    work = sum(each.once + each.units * each.flops for each in plan_recipe(resolve(TINY.recipe)()))
    assert work > 1e6
    assert training_seconds(TINY, tmp_path) == pytest.approx(work / RATE)


def test_a_torn_last_line_of_a_log_is_left_out(tmp_path):
    finish(tmp_path / "run")
    assert [len(lines) for lines in read_logs(tmp_path / "run").values()] == [3, 3]
    assert read_logs(tmp_path / "nothing") == {}


def test_more_steps_longer_and_larger_clips_cost_more():
    def cost(**changed) -> float:
        return measuring_seconds(Arm(**{**vars(ARM), **changed}), 100)

    assert cost() < cost(plan="1*") == cost(plan="1+") < cost(plan="4")
    assert cost(plan="4") < cost(plan="4", observe=True)
    assert cost(length=4) == pytest.approx(4 * cost(), rel=0.1)
    assert cost(enlarge=2) == pytest.approx(4 * cost(), rel=0.1)


def test_the_plan_counts_every_arm_for_every_seed_but_bundled_models_once(tmp_path):
    bundled = Arm(key="teacher@50", title="teacher", model=Model("shapes-teacher"), plan="50")
    finish(tmp_path / "self_forcing.tiny")
    jobs = plan(paper(ARM, bundled), Settings(runs=tmp_path, out=tmp_path / "out", seeds=(0, 1), clips=4))
    assert [job.title for job in jobs] == [
        "train self_forcing.tiny, seed 0",
        "train self_forcing.tiny, seed 1",
        "measure DMD at 1, seed 0",
        "measure DMD at 1, seed 1",
        "measure teacher, seed 0",
    ]


@pytest.fixture
def kept(tmp_path, cell):
    """A store with one cell, and the cell."""
    store, kept = Store(tmp_path / "out"), cell(ARM, 0.5)
    frames, arrays = np.zeros((9, 8, 8, 3), np.uint8), {"features": np.ones((40, 3))}
    store.save(kept, Measured(rows=kept.clips, shown=[frames] * 2, arrays=arrays, measures="x-1 drift:1:"))
    return store, kept


def test_results_are_found_again_for_the_same_weights_protocol_and_measures_only(kept):
    store, cell = kept
    same = {"fingerprint": "f", "protocol": cell.protocol, "measures": "x-1 drift:1:"}
    assert store.find(ARM, 0, **same) is not None
    other = Protocol(**{**vars(cell.protocol), "clips": 41})
    for changed in ({"fingerprint": "other"}, {"protocol": other}, {"measures": "x-1 drift:2:"}):
        assert store.find(ARM, 0, **{**same, **changed}) is None
    assert store.find(ARM, 1, **same) is None
    np.testing.assert_array_equal(store.arrays(cell)["features"], np.ones((40, 3)))
    assert set(store.arrays(cell)) == {"features"}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PK torn")])
@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_results_that_are_not_whole_are_measured_anew(kept, damage, suffix):
    store, cell = kept
    damage(store.path(ARM.key, 0, ARM.plan).with_suffix(suffix))
    assert store.find(ARM, 0, "f", cell.protocol, "x-1 drift:1:") is None


def test_a_cell_is_measured_by_one_at_a_time_and_free_again_when_that_one_fails(kept):
    store, _ = kept
    claims = ExitStack()
    assert claims.enter_context(store.claim(ARM, 0, wait=False))
    with store.claim(ARM, 0, wait=False) as second, store.claim(ARM, 1, wait=False) as another:
        assert (second, another) == (False, True)
    claims.push(lambda *failure: True)
    with claims:
        raise RuntimeError
    with store.claim(ARM, 0, wait=True) as free:
        assert free
