"""Commands at Wan's size: each is one that the command line takes, and none is lacking."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import tyro

from fewstep.cli import main
from fewstep.commands import bench, sample, vbench
from fewstep.commands import eval as scoring
from fewstep.diffusion.steps import shifted_levels
from fewstep.reproduce.aad1 import wan as aad1
from fewstep.reproduce.asd import wan as asd
from fewstep.reproduce.full_plan import Cluster
from fewstep.reproduce.full_scale import I2V, T2V, Costs
from fewstep.reproduce.paper import Training
from fewstep.training.recipe import Recipe, resolve

VBENCH = {"prompts": vbench.PromptOptions, "export": vbench.ExportOptions, "run": vbench.RunOptions,
          "score": vbench.ScoreOptions}  # fmt: skip
PAPERS = {"asd": asd.full_paper(), "aad1": aad1.full_paper()}


@cache
def parse(command: tuple[str, ...]) -> object:
    """What the command's own options make of a line."""
    program, name, *rest = command
    assert program == "fewstep"
    if name == "vbench":
        return tyro.cli(VBENCH[rest[0]], args=rest[1:])
    return tyro.cli({"sample": sample.Options, "eval": scoring.Options, "bench": bench.Options}[name], args=rest)


def trained(command: tuple[str, ...]) -> Recipe:
    """The recipe of a line of `fewstep train`, changed as it says."""
    _, _, name, *words = command
    assert (words[0], words[2]) == ("--out", "--seed")
    return tyro.cli(Recipe, default=resolve(name)(), args=words[4:])


def lines(paper: str, *, items: tuple[str, ...] = (), seed: int = 1) -> list[tuple[str, ...]]:
    full = PAPERS[paper]
    full = replace(full, paper=full.paper.select(items))
    return [run.command for run in Cluster(full).commands((seed,))]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_command_is_one_that_its_parser_takes_and_comes_once(paper: str) -> None:
    found = lines(paper)
    assert max(Counter(found).values()) == 1
    recipes = {}
    for command in found:
        if command[1] == "train":
            recipes[command] = trained(command)
        else:
            parse(command)
    assert recipes
    for recipe in recipes.values():
        for stage in recipe.stages:
            for name in ("levels", "latent_shape"):
                if hasattr(stage.data, name):
                    assert getattr(stage.data, name) == getattr(stage.method, name)


@pytest.mark.parametrize("paper", PAPERS)
def test_what_a_command_reads_an_earlier_one_leaves(paper: str) -> None:
    made: set[str] = set()
    for command in lines(paper):
        if command[1] == "train":
            recipe, out = resolve(command[2])(), command[command.index("--out") + 1]
            if "--stages.0.init" in command:
                assert command[command.index("--stages.0.init") + 1] in made
            made |= {f"{out}/model", *(f"{out}/{stage.name}/model" for stage in recipe.stages)}
        elif command[1] == "sample":
            options = parse(command)
            row, _, model = options.models[0].partition("=")
            assert model in made or model.startswith("Wan-AI/")
            assert str(Path(options.prompts).parent) in made
            (plan,) = options.plans if "--plans" in command else (str(options.teacher_steps),)
            seed = model.partition(".seed")[2].partition("/")[0] or "0"
            made.add(f"{options.output}/{row}-seed{seed}-{plan.replace('*', 'star')}")
        elif command[1] == "vbench":
            options = parse(command)
            read = {"prompts": (), "export": getattr(options, "folders", ())}.get(command[2], ())
            assert all(str(folder) in made for folder in read), command
            made.add(str(getattr(options, "output", "")))
            if command[2] in ("run", "score"):
                assert {str(each) for each in getattr(options, "sets", ())} <= made
        elif command[1] == "eval":
            options = parse(command)
            assert str(options.folders[0]) in made
            assert options.reference is None or str(options.reference) in made


def test_every_row_of_aad1_with_an_arm_is_trained_sampled_and_scored() -> None:
    text = [" ".join(command) for command in lines("aad1", seed=0)]
    for words in (
        "train aad1.wan_14b_refined --out runs/wan/aad1.wan_14b_refined.no_warmup",
        "--stages.0.method.discriminator.visibility causal --stages.0.method.discriminator.granularity frame",
        "--stages.0.method.penalty-weight 50",
        "sample aad1_2=runs/wan/aad1.wan_14b.2step/model --plans 2",
        "--images vbench-prompts-i2v-720p/pictures --size 1280x720",
        "--count 100 --seeds 0 --images vbench-prompts-i2v/pictures --frames 321",
        "sample dmd4=runs/wan/self_forcing.wan_1_3b/model --plans 4",
        "eval runs/wan/clips/i2v-prompts/lambda50-seed0-1 --metrics grid_energy",
        "bench --preset wan_14b --steps 1 4",
    ):
        assert any(words in line for line in text), words
    assert all("--zero-shot" in line for line in text if " sample dmd4=" in line)
    assert not any("--zero-shot" in line for line in text if " sample aad1=" in line)


def test_long_clips_of_asd_see_a_window_and_its_distances_have_noise_of_their_own() -> None:
    found = [parse(command) for command in lines("asd") if command[1] == "sample"]
    long = [options for options in found if options.frames == 321]
    assert long
    assert all((options.window, options.sink) == (21, 0) for options in long)
    noise = [options.seeds for options in found if options.count == asd.FEW]
    assert len(noise) == len(set(noise)) == 5
    assert all(options.window is None for options in found if options.frames is None)


def test_items_are_respected() -> None:
    assert {command[1] for command in lines("asd", items=("figure14",))} == {"train"}
    assert all("self_forcing" not in " ".join(command) for command in lines("aad1", items=("figure9",)))
    assert main(["reproduce", "asd", "--scale", "wan", "--dry-run", "--items", "figure99"]) == 2


def test_the_retrained_levels_are_those_of_the_paper() -> None:
    for name, raw in (("2step", (1000, 500)), ("1step", (1000,))):
        assert tuple(map(float, asd.LEVELS[name])) == pytest.approx(shifted_levels(raw))
    assert tuple(map(float, aad1.TWO)) == pytest.approx(shifted_levels((1000, 500)))


def test_counts_of_clips_and_costs_are_those_of_the_lists() -> None:
    assert (T2V.clips, I2V.clips) == (4720 + 1500, 1775)
    full = replace(PAPERS["asd"], paper=PAPERS["asd"].paper.select(("table1",)))
    costs = Costs(gpus=8, rate=990e12)
    costs._clips[("wan_1_3b", 2, "*", 1, 1)] = 1e15  # rehearsed elsewhere
    (arm,) = [arm for arm in full.paper.arms() if arm.key == "asd@2*"]
    cluster = Cluster(full, costs=costs)
    runs = cluster.of_arm(arm, 0)
    assert runs[1].gpu_hours == pytest.approx(4720 * 1e15 / (990e12 * 0.4) / 3600)
    assert [run.command[1:3] for run in runs[3:]] == [("vbench", name) for name in ("export", "run", "score")]


def test_a_share_of_a_recipes_work_is_that_share_of_its_cost() -> None:
    costs = Costs(gpus=8, rate=990e12)
    whole, half = costs.training("self_forcing.tiny", 1.0), costs.training("self_forcing.tiny", 0.5)
    assert half[0] == pytest.approx(whole[0] / 2)
    assert half[1:] == whole[1:]
    assert whole[1] > 0


@pytest.mark.parametrize("paper", PAPERS)
def test_every_embedded_run_has_one_at_full_size(paper: str) -> None:
    full = PAPERS[paper]
    for training in full.paper.trainings():
        assert isinstance(full.trainings[training.key], Training)
        resolve(full.trainings[training.key].recipe)
