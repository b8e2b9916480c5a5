from __future__ import annotations

from dataclasses import replace

import pytest

from fewstep.reproduce import aad1, asd
from fewstep.reproduce.asd.tables import PRINTED_2X2
from fewstep.reproduce.jobs import training_command
from fewstep.reproduce.paper import Training
from fewstep.training.recipe import resolve

PAPERS = [asd.paper(), aad1.paper()]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.key)
def test_items_and_arms_have_names_of_their_own(paper):
    keys = [item.key for item in paper.items]
    assert len(set(keys)) == len(keys)
    arms = [arm.key for arm in paper.arms()]
    assert len(set(arms)) == len(arms)
    figures = [figure.name for item in paper.items for figure in item.figures]
    assert len(set(figures)) == len(figures)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.key)
def test_an_item_asks_for_all_that_its_rows_and_claims_need(paper):
    for item in paper.items:
        rows = {row.arm for table in item.tables for row in table.rows if row.arm}
        assert rows <= set(item.arms), item.key
        for claim in item.claims:
            assert set(claim.needs) <= set(item.arms), (item.key, claim.says)
            assert claim.needs or item.trainings, claim.says
            assert claim.margin > 0


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.key)
def test_every_run_is_a_recipe_and_comes_after_the_one_it_starts_from(paper):
    seen = []
    for training in paper.trainings():
        resolve(training.recipe)()
        if training.start is not None:
            assert training.start.source in seen
        seen.append(training)


def test_published_differences_follow_from_the_published_rows():
    claims = {claim.says: claim.published for item in PAPERS[0].items for claim in item.claims}
    totals = {key: {steps: triple[0] for steps, triple in both.items()} for key, both in PRINTED_2X2.items()}
    for steps, word in (("2", "2 steps"), ("1", "1 step")):
        of_asd = sum(totals["ASD", ffe][steps] - totals["×", ffe][steps] for ffe in ("×", "FFE")) / 2
        of_ffe = sum(totals[training, "FFE"][steps] - totals[training, "×"][steps] for training in ("×", "ASD")) / 2
        assert claims[f"ASD raises Total at {word}"] == pytest.approx(of_asd)
        assert claims[f"FFE raises Total at {word}"] == pytest.approx(of_ffe)
    rows = {row.label: row.published for row in PAPERS[0].items[0].tables[0].rows}
    gain = rows["ASD, 1*"]["total"] - rows["Self Forcing retrained, 1"]["total"]
    assert claims["At 1 step, enhanced, it beats DMD retrained for 1"] == pytest.approx(gain)
    equal = totals["ASD", "×"]["1"] - rows["Self Forcing retrained, 1"]["total"]
    assert claims["At 1 step it beats DMD retrained for 1 at equal cost"] == pytest.approx(equal)


@pytest.mark.parametrize("item", [PAPERS[1].items[0], PAPERS[1].items[3]], ids=lambda item: item.key)
def test_published_differences_of_aad1_follow_from_its_rows(item):
    printed = {row.arm: row.published for row in item.tables[0].rows if row.arm}
    for claim in item.claims:
        ours, theirs = (printed[arm] for arm in claim.needs)
        differences = {round(abs(ours[name] - theirs[name]), 2) for name in ours}
        assert round(claim.published, 2) in differences, claim.says


def test_table_3_of_aad1_compares_motion_by_granularity_and_drift_by_visibility():
    item = PAPERS[1].items[2]
    printed = {row.arm.key.replace(",x4", ""): row.published for row in item.tables[0].rows}
    compared = {claim.needs: claim for claim in item.claims if len(claim.needs) == 2}
    for (ours, theirs), claim in compared.items():
        measure = "clip.drift" if ours.length > 1 else "clip.dynamic_degree"
        change = printed[ours.key.replace(",x4", "")][measure] - printed[theirs.key.replace(",x4", "")][measure]
        assert claim.published == pytest.approx(-change if measure == "clip.drift" else change), claim.says
        seen = ["causal" if arm.row.startswith("causal") else "bidirectional" for arm in (ours, theirs)]
        assert claim.kind == ("same" if seen == ["bidirectional"] * 2 else "more")
        assert measure == "clip.drift" or seen[0] == seen[1]
    assert len(compared) == 4
    (still,) = (claim for claim in item.claims if len(claim.needs) == 1)
    assert still.published == pytest.approx(5 - 1.08)


def test_speed_is_compared_seed_by_seed(make_evidence):
    item = next(item for item in PAPERS[1].items if item.key == "table5")
    evidence = make_evidence(dict.fromkeys(item.arms, 0.5))
    one, four = item.arms
    for arm, times in ((one, (0.1, 0.2, 0.1)), (four, (0.2, 0.4, 0.3))):
        cells = tuple(
            replace(cell, timing=replace(cell.timing, seconds=seconds))
            for cell, seconds in zip(evidence.samples[arm].cells, times, strict=True)
        )
        evidence.samples[arm] = replace(evidence.samples[arm], cells=cells)
    found = item.claims[0].statistic(evidence)
    assert found.drawn[:, 0].tolist() == pytest.approx([2.0, 2.0, 1.0])  # 4 less 2, 2 and 3 times
    assert found.estimate().half_width == pytest.approx(4.30265 / 3, rel=1e-4)


def test_every_published_triple_is_a_total_of_its_parts():
    triples = [row.published for item in PAPERS[0].items for table in item.tables for row in table.rows]
    triples = [triple for triple in triples if "semantic" in triple]
    assert len(triples) == 25  # 23 different ones: two of Table 1's rows are Table 2's
    for triple in triples:
        assert (4 * triple["quality"] + triple["semantic"]) / 5 == pytest.approx(triple["total"], abs=0.0061)


def test_a_starred_row_and_its_control_cost_the_same():
    table2 = next(item for item in PAPERS[0].items if item.key == "table2")
    plans = {arm.plan for arm in table2.arms}
    assert {"1*", "1+", "2*", "2+"} <= plans


def test_items_can_be_chosen_by_name():
    assert [item.key for item in PAPERS[0].select(("table2",)).items] == ["table2"]
    assert PAPERS[0].select(()) is PAPERS[0]
    with pytest.raises(ValueError, match="choose from table1"):
        PAPERS[0].select(("table9",))


def test_seeds_start_from_the_run_of_their_own_seed(tmp_path):
    start = next(training for training in PAPERS[1].trainings() if training.start is not None)
    command = training_command(start, tmp_path, 2)
    assert command[:3] == ("fewstep", "train", start.recipe)
    assert str(tmp_path / f"{start.recipe}.seed2") in command
    assert command[-2] == "--stages.0.init"
    assert "aad1.shapes.seed2/" in command[-1]


def test_seed_0_has_no_number_in_its_name(tmp_path):
    run = Training(recipe="asd.shapes", variant="alpha0.3")
    assert run.folder(tmp_path, 0).name == "asd.shapes.alpha0.3"
    assert run.folder(tmp_path, 1).name == "asd.shapes.alpha0.3.seed1"
