"""The report at Wan's size, from files as VBench, `fewstep eval` and `fewstep train` leave them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fewstep.cli import main
from fewstep.evaluation.scoring import SCORES
from fewstep.manifest import Entry, Manifest, Settings
from fewstep.reproduce.aad1 import wan as aad1
from fewstep.reproduce.asd import wan as asd
from fewstep.reproduce.full_evidence import gather
from fewstep.reproduce.full_plan import Cluster
from fewstep.reproduce.paper import Arm
from fewstep.vbench.aggregate import scores
from fewstep.vbench.dimensions import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, Suite
from fewstep.vbench.export import EXPORT, Export
from fewstep.vbench.results import clip_name
from fewstep.vbench.run import RESULTS

PROMPTS = tuple(f"prompt {number}" for number in range(6))


def judge(folder: Path, suite: Suite, level: float, without: tuple[str, ...] = (), seed: int = 0) -> dict[str, float]:
    """An exported folder with VBench's results of every dimension; its raw means."""
    label = Export(
        suite=suite.name, list_sha256="0", official=True, extended=None, extended_sha256=None,
        settings={"frames": 81, "fps": 16.0}, prompts={each.name: PROMPTS for each in suite}, clips=(),
    )  # fmt: skip
    (folder / RESULTS).mkdir(parents=True)
    (folder / EXPORT).write_text(json.dumps(asdict(label)))
    raw, rng = {}, np.random.default_rng(seed)
    for dimension in suite:
        if dimension.name in without:
            continue
        names = [clip_name(prompt, index) for prompt in PROMPTS for index in range(5)]
        values = np.clip(level + 0.01 * rng.standard_normal(len(names)), 0, 1)
        raw[dimension.name] = float(values.mean())
        clips = [{"video_path": f"v/{name}", "video_results": float(v)} for name, v in zip(names, values, strict=True)]
        text = json.dumps({dimension.name: [raw[dimension.name], clips]})
        (folder / RESULTS / f"{dimension.name}_eval_results.json").write_text(text)
    return raw


def sampled(folder: Path, metrics: dict[str, float], clips: int = 4) -> None:
    """A folder of clips as its manifest and `fewstep eval` speak of them."""
    folder.mkdir(parents=True)
    manifest, lines = Manifest(folder), []
    for index in range(clips):
        settings = Settings(
            prompt=f"prompt {index}", seed=0, index=index, batch=(index, 1), model="m", fingerprint={}, sampling={},
            negative_prompt=None, begins_with=None, frames=321, height=480, width=832, enlarge=1, fps=16.0, dtype="f",
        )  # fmt: skip
        seconds = {"denoise": 3.0, "decode": 1.0, "total": 4.0}
        manifest.add(
            Entry(file=f"{index}.mp4", sha256=f"s{index}", settings=settings, network_evaluations=27, commits=26,
                  seconds=seconds)
        )  # fmt: skip
        said = {name: {"version": 1, "extractor": None, "values": {name: value}} for name, value in metrics.items()}
        lines.append(json.dumps({"sha256": f"s{index}", "prompt": settings.prompt, "scores": said}))
    lines.append(json.dumps({"sha256": "gone", "prompt": "prompt 0", "scores": {}}))
    (folder / SCORES).write_text("\n".join(lines) + "\n")


def arms(cluster: Cluster) -> dict[str, Arm]:
    return {arm.key: arm for arm in cluster.full.paper.arms()}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(asd.full_paper(), tmp_path / "wan")


def test_totals_are_vbenchs_own_and_a_missing_dimension_leaves_its_part_out(cluster: Cluster) -> None:
    known = arms(cluster)
    raw = judge(cluster.scored(known["asd@4"], 0), TEXT_TO_VIDEO, 0.8)
    judge(cluster.scored(known["dmd4@4"], 0), TEXT_TO_VIDEO, 0.8, without=("color",))
    evidence = gather(cluster, (0,))
    found, expected = evidence.of(known["asd@4"]), scores(TEXT_TO_VIDEO, raw)
    for part in ("quality", "semantic", "total"):
        assert found.estimate(part).value == pytest.approx(100 * expected[part], abs=1e-6)
        assert found.estimate(part).low < found.estimate(part).value < found.estimate(part).high
    assert found.estimate("clip.imaging_quality").value == pytest.approx(100 * raw["imaging_quality"], abs=1e-6)
    partial = evidence.of(known["dmd4@4"])
    assert partial.estimate("quality").value > 0
    with pytest.raises(ValueError, match="no measure 'total'"):
        partial.estimate("total")


def test_what_is_absent_names_the_command_that_comes_next_and_damage_is_told(cluster: Cluster) -> None:
    known = arms(cluster)
    evidence = gather(cluster, (0,))
    assert "needs `fewstep train asd.wan_1_3b --out" in evidence.absent[known["asd@4"]]
    Path(cluster.model(known["asd@4"], 0)).mkdir(parents=True)
    assert "needs `fewstep sample asd=" in gather(cluster, (0,)).absent[known["asd@4"]]
    sampled(cluster.clips(known["asd@4"], 0)[0], {})
    assert "needs `fewstep vbench export" in gather(cluster, (0,)).absent[known["asd@4"]]
    scored = cluster.scored(known["asd@4"], 0)
    judge(scored, TEXT_TO_VIDEO, 0.8)
    (scored / RESULTS / "color_eval_results.json").write_text("{")
    assert "color_eval_results.json is no JSON" in gather(cluster, (0,)).absent[known["asd@4"]]


def test_our_own_measures_stand_beside_vbenchs_and_features_count_only_when_whole(cluster: Cluster) -> None:
    known = arms(cluster)
    long, near = known["asd@2*,x4"], known["asd@1,noise1"]
    judge(cluster.scored(long, 0), TEXT_TO_VIDEO, 0.7)
    sampled(cluster.clips(long, 0)[0], {"drift": 3.5})
    folder = cluster.clips(near, 0)[0]
    sampled(folder, {})
    for number in range(3):
        path = folder / "features" / "i3d-abc" / "00" / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full(2, number, np.float32))
    evidence = gather(cluster, (0,))
    assert evidence.of(long).estimate("clip.drift").value == pytest.approx(3.5)
    assert (evidence.of(long).evaluations, evidence.of(long).seconds) == (27, 4.0)
    assert near not in evidence.samples, "three features of four clips"
    np.save(path.with_name("3.npy"), np.zeros(2, np.float32))
    (features,) = gather(cluster, (0,)).of(near).array("features")
    assert features.shape == (4, 2)


def test_a_claim_is_decided_by_three_seeds_and_the_report_is_written(tmp_path: Path, capsys) -> None:
    cluster = Cluster(asd.full_paper(), tmp_path / "wan")
    known = arms(cluster)
    for seed in range(3):
        judge(cluster.scored(known["asd@1*"], seed), TEXT_TO_VIDEO, 0.85, seed=seed)
        judge(cluster.scored(known["dmd1@1"], seed), TEXT_TO_VIDEO, 0.75, seed=seed)
    words = ["reproduce", "asd", "--scale", "wan", "--items", "table1,figure6", "--runs", str(cluster.runs)]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "absent: ASD, 4: seed 0: not run: needs `fewstep train" in printed
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [item["key"] for item in report["items"]] == ["table1", "figure6"]
    verdicts = {claim["says"]: claim["outcome"] for claim in report["items"][0]["claims"]}
    assert verdicts["At 1 step, enhanced, it beats DMD retrained for 1"] == "held"
    assert verdicts["At 4 steps one ASD student is as good as DMD"] == "cannot be told"
    assert (tmp_path / "out" / "report.html").is_file()


def test_columns_of_image_to_video_are_vbenchs_raw_ones(tmp_path: Path) -> None:
    full = aad1.full_paper()
    cluster = Cluster(replace(full, paper=full.paper.select(("table3", "table1"))), tmp_path)
    known = arms(cluster)
    raw = judge(cluster.scored(known["aad1@1,i2v"], 0), IMAGE_TO_VIDEO, 0.9, without=("camera_motion",))
    found = gather(cluster, (0,)).of(known["aad1@1,i2v"])
    for name in ("i2v_subject", "dynamic_degree", "imaging_quality"):
        assert found.estimate(f"clip.{name}").value == pytest.approx(100 * raw[name], abs=1e-6)


def test_nothing_there_is_one_message_with_what_to_do(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["reproduce", "aad1", "--scale", "wan", "--runs", str(tmp_path / "wan"), "-o", str(out)]) == 2
    assert "--dry-run prints the commands" in capsys.readouterr().err
    assert not out.exists() or not list(out.iterdir())
