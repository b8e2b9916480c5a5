"""What a recipe takes: memory by role and turn, work, time and disk, and what would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from fewstep.models.dit import DiTConfig
from fewstep.models.presets import PRESETS
from fewstep.planning.flops import cache_bytes, commit_flops, forward_flops
from fewstep.planning.generate import decoding, vae_numbers, whole_pass
from fewstep.planning.plan import Phase, Plan, Switch
from fewstep.planning.sizes import block_numbers, model_of, text_numbers, transformer_numbers
from fewstep.planning.turns import Cast, Rehearsed, TurnCost, at_full_depth, latent_shape
from fewstep.training.data import PromptFileData, TrajectoryData
from fewstep.training.materials import trajectories_at_once
from fewstep.training.recipe import Chunkwise, Recipe, Stage

MASTER, MOMENTS, GRADIENT, AVERAGE = 4, 8, 4, 4
"""Bytes per learned number: weight, AdamW's two moments, gradient, running average; all float32."""
PROMPT_TOKENS = 128
"""Tokens of a prompt as people and language models write them for Wan; the store is trimmed to them."""


def plan_stage(recipe: Recipe, stage: Stage, *, gpus: int = 1) -> Plan:
    """One stage of a recipe, on `gpus` that hold all lasting state in equal parts. Raises RecipeError, ModelError."""
    dtype = torch.float32 if recipe.runtime.precision == "float32" else torch.bfloat16
    cast = cast_of(recipe, stage)
    rehearsed = _rehearsed(recipe, stage, cast, dtype)
    lasting, learned = {}, rehearsed.players
    for name, numbers in learned.items():
        lasting[f"{name}: weights"] = numbers * MASTER / gpus
        lasting[f"{name}: moments"] = numbers * MOMENTS / gpus
        if name in rehearsed.averaged:
            lasting[f"{name}: average"] = numbers * AVERAGE / gpus
    if rehearsed.uses_teacher or _records_always(stage):
        lasting["teacher"] = _teacher_bytes(recipe, cast.teacher, dtype) / gpus
    gathered = 0.0 if gpus == 1 else 2 * dtype.itemsize * max(map(_block, (cast.student, cast.teacher)))
    phases = []
    for player, numbers in learned.items():
        kinds = [turn for turn in rehearsed.turns.values() if turn.player == player]
        worst = max(kinds, key=lambda turn: turn.peaks[turn.worst])
        times = sum(turn.times for turn in kinds)
        flops = sum(turn.flops * turn.times for turn in kinds) / times * stage.accumulate
        passing = {f"{player}: gradients": numbers * GRADIENT / gpus, "gathered blocks": gathered}
        passing |= _activations(stage, cast.student, worst, dtype)
        phases.append(Phase(f"{player}'s turn", lasting, passing, flops, times))
    if recipe.runtime.sample_every:
        phases.append(_sampling(recipe, stage, lasting, rehearsed, cast, dtype))
    before, once = _preparing(recipe, stage, cast, lasting, dtype)
    blocks = {"teacher's blocks": transformer_numbers(cast.teacher) * dtype.itemsize}
    waiting = blocks if recipe.runtime.offload_teacher else {}
    clips = stage.batch * stage.accumulate
    return Plan(
        name=recipe.name if len(recipe.stages) == 1 else f"{recipe.name}, stage {stage.name}",
        unit=f"cycle of {sum(turn.times for turn in rehearsed.turns.values()):g} updates of {clips} clips",
        units=stage.steps,
        phases=(*before, *phases),
        once=once,
        host=waiting,
        disk=_disk(recipe, stage, rehearsed),
        notes=tuple(_notes(recipe, gpus)),
    )


def plan_recipe(recipe: Recipe, *, gpus: int = 1) -> list[Plan]:
    """Every stage of a recipe, in order."""
    return [plan_stage(recipe, stage, gpus=gpus) for stage in recipe.stages]


def switches(recipe: Recipe, index: int, memory: float, *, gpus: int = 1) -> list[Switch]:
    """Changes that let a stage learn the same in less memory, each on top of those before, until it fits."""
    found: list[Switch] = []
    plan = plan_stage(recipe, recipe.stages[index], gpus=gpus)
    for say, change in _changes(index):
        if plan.fits(memory):
            break
        changed = change(recipe)
        if changed == recipe:
            continue
        smaller = plan_stage(changed, changed.stages[index], gpus=gpus)
        if smaller.peak < plan.peak:
            recipe, plan = changed, smaller
            found.append(Switch(say, plan))
    return found


def cast_of(recipe: Recipe, stage: Stage) -> Cast:
    """The networks of a stage. What runs are yet to leave, under `runs/`, has the recipe's own size."""
    own, earlier = PRESETS[recipe.preset], {each.name for each in recipe.stages}

    def shape(name: str | None) -> DiTConfig:
        if name is None or name in earlier or (name.startswith("runs/") and not Path(name).is_dir()):
            return own
        return model_of(name).transformer

    teacher = shape(recipe.teacher)
    return Cast(own, teacher, shape(recipe.fake_score) if recipe.fake_score else teacher)


def _rehearsed(recipe: Recipe, stage: Stage, cast: Cast, dtype: torch.dtype) -> Rehearsed:
    """Remembered, for most changes of a recipe leave its turns as they are."""
    clip, checkpointing = latent_shape(recipe, stage), recipe.runtime.gradient_checkpointing
    key = repr((stage.method, stage.batch, cast, clip, dtype, checkpointing))
    if key not in _memory:
        _memory[key] = at_full_depth(stage, cast, clip, dtype=dtype, checkpointing=checkpointing)
    return _memory[key]


_memory: dict[str, Rehearsed] = {}


def _activations(stage: Stage, student: DiTConfig, turn: TurnCost, dtype: torch.dtype) -> dict[str, float]:
    """What a turn makes besides gradients, at its worst moment."""
    peak, kept = turn.peaks[turn.worst], turn.kept.get(turn.worst, 0.0)
    past = min(_past(stage, student, dtype, committed=True), kept) if turn.rolls_out else 0.0
    return {"keys and values": past, "block inputs": kept - past, "working set": peak - kept}


def _past(stage: Stage, student: DiTConfig, dtype: torch.dtype, *, committed: bool) -> float:
    """Bytes of the keys and values of a batch of clips: all their frames, or all but the last chunk's."""
    if not isinstance(stage.method, Chunkwise):
        return 0.0
    frames, _, rows, cols = stage.method.latent_shape
    frames -= stage.method.layout.chunk if committed else 0
    tokens = stage.batch * frames * (rows // student.patch[1]) * (cols // student.patch[2])
    return float(cache_bytes(student, tokens, dtype.itemsize))


def _sampling(
    recipe: Recipe, stage: Stage, lasting: Mapping[str, float], rehearsed: Rehearsed, cast: Cast, dtype: torch.dtype
) -> Phase:
    """Sample clips, one at a time, with the averaged weights in the place of the generator's own."""
    name = next(iter(rehearsed.players))
    vae, (_, _, rows, cols) = model_of(recipe.preset).vae, latent_shape(recipe, stage)
    _, piece, _ = decoding(vae, rows, cols, 1, None, dtype)
    aside = rehearsed.players[name] * MASTER if name in rehearsed.averaged else 0
    making = max(_past(replace(stage, batch=1), cast.student, dtype, committed=False), piece.peak)
    lasting = {**lasting, "autoencoder": vae_numbers(vae) * MASTER}
    return Phase("sample clips", lasting, {"weights put aside": aside, "past, then decoding": making}, times=0.0)


def _records_always(stage: Stage) -> bool:
    """Whether trajectories are made while the student learns, by a teacher that stays."""
    return isinstance(stage.data, TrajectoryData) and not stage.data.stored


def _preparing(
    recipe: Recipe, stage: Stage, cast: Cast, lasting: Mapping[str, float], dtype: torch.dtype
) -> tuple[list[Phase], float]:
    """What happens before the first cycle, and its FLOPs; trajectories that are not stored come in every cycle."""
    phases, once, data = [], 0.0, stage.data
    if isinstance(data, PromptFileData | TrajectoryData) and data.store is None and _reads_prompts(data):
        encoder, _ = text_numbers(model_of(recipe.preset).vae)
        phases.append(Phase("embed prompts", {"text encoder": encoder * dtype.itemsize}, {}, times=0.0))
    if isinstance(data, TrajectoryData):
        branches, (frames, _, rows, cols) = 1 if data.guidance == 1 else 2, data.latent_shape
        area = (rows // cast.teacher.patch[1]) * (cols // cast.teacher.patch[2])
        each = branches * _trajectory_flops(data, cast.teacher, area)
        once, teacher = data.count * each, {"teacher": _teacher_bytes(recipe, cast.teacher, dtype)}
        together = min(trajectories_at_once(cast.teacher, data.latent_shape), data.count)
        chunk = (frames if data.layout is None else data.layout.chunk, *data.latent_shape[1:])
        passing = {"working set": together * branches * whole_pass(cast.teacher, chunk, dtype).peak}
        if data.layout is not None:
            past = cache_bytes(cast.teacher, (frames - data.layout.chunk) * area, dtype.itemsize)
            passing["keys and values"] = together * branches * float(past)
        if data.stored:
            phases.append(Phase("record trajectories", teacher, passing, times=0.0))
        else:
            clips = stage.batch * stage.accumulate
            once, phases = 0.0, [*phases, Phase("record trajectories", lasting, passing, clips * each)]
    return phases, once


def _trajectory_flops(data: TrajectoryData, teacher: DiTConfig, area: int) -> float:
    """One branch of one clip, of `area` tokens a frame, down the ODE."""
    frames = data.latent_shape[0]
    if data.layout is None:
        return data.steps * forward_flops(teacher, frames * area, frames * area)
    total, done = 0.0, 0
    for size in data.layout.sizes(frames):
        done += size
        sizes = size * area, min(done, data.context.window or done) * area
        total += data.steps * forward_flops(teacher, *sizes)
        total += commit_flops(teacher, *sizes) if done < frames else 0.0
    return total


def _reads_prompts(data: PromptFileData | TrajectoryData) -> bool:
    return isinstance(data, PromptFileData) or data.prompts is not None


def _disk(recipe: Recipe, stage: Stage, rehearsed: Rehearsed) -> dict[str, float]:
    """Bytes of what a stage leaves behind."""
    state = sum(
        numbers * (MASTER + MOMENTS + (AVERAGE if name in rehearsed.averaged else 0))
        for name, numbers in rehearsed.players.items()
    )
    storage = 4 if recipe.storage == "float32" else 2
    kept = recipe.runtime.keep + 1  # the newest is written before the oldest goes
    disk = {
        f"{kept} checkpoints": float(kept * state),
        "model": float(next(iter(rehearsed.players.values())) * storage),
    }
    if isinstance(stage.data, PromptFileData):
        width = PRESETS[recipe.preset].text_dim
        disk["prompt store, each 10,000 prompts"] = 10_000.0 * PROMPT_TOKENS * width * 2
    if isinstance(stage.data, TrajectoryData) and stage.data.stored:
        states = len(stage.data.levels) + 1
        disk["trajectories"] = float(stage.data.count * states * prod(stage.data.latent_shape) * 2)
    return disk


def _notes(recipe: Recipe, gpus: int) -> Iterator[str]:
    if gpus > 1:
        yield f"as if fully sharded over {gpus} GPUs, which fewstep does not train on yet"
    if recipe.runtime.compile:
        yield "rehearsed without compilation, which needs less"


def _changes(index: int) -> list[tuple[str, Callable[[Recipe], Recipe]]]:
    """Ways to need less, the cheapest first."""
    at = f"--stages.{index}"

    def with_stage(recipe: Recipe, **changed: Any) -> Recipe:
        stage = replace(recipe.stages[index], **changed)
        return replace(recipe, stages=(*recipe.stages[:index], stage, *recipe.stages[index + 1 :]))

    def one_branch(recipe: Recipe) -> Recipe:
        method: Any = recipe.stages[index].method
        return (
            with_stage(recipe, method=replace(method, batch_guidance=False))
            if hasattr(method, "batch_guidance")
            else recipe
        )

    def one_clip(recipe: Recipe) -> Recipe:
        stage = recipe.stages[index]
        return with_stage(recipe, batch=1, accumulate=stage.batch * stage.accumulate)

    def with_runtime(**changed: Any) -> Callable[[Recipe], Recipe]:
        return lambda recipe: replace(recipe, runtime=replace(recipe.runtime, **changed))

    return [
        ("--runtime.gradient-checkpointing", with_runtime(gradient_checkpointing=True)),
        (f"{at}.method.no-batch-guidance", one_branch),
        (f"{at}.batch 1, and {at}.accumulate as many times more", one_clip),
        ("--runtime.sample-every 0", with_runtime(sample_every=0)),
        ("--runtime.offload-teacher", with_runtime(offload_teacher=True)),
    ]


def _teacher_bytes(recipe: Recipe, teacher: DiTConfig, dtype: torch.dtype) -> float:
    """Of the teacher on the device."""
    numbers, blocks = transformer_numbers(teacher), block_numbers(teacher)
    on_device = numbers - blocks + 2 * _block(teacher) if recipe.runtime.offload_teacher else numbers
    return on_device * dtype.itemsize


def _block(cfg: DiTConfig) -> float:
    """Numbers in one block."""
    return block_numbers(cfg) / cfg.num_layers
