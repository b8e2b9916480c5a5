"""Sources are functions of position: the same batch every time, every item once an epoch."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewstep.diffusion.ode import ode_grid
from fewstep.models.cache import Context
from fewstep.models.dit import VideoDiT
from fewstep.models.layout import ChunkLayout
from fewstep.models.presets import PRESETS
from fewstep.models.prompt_store import StoreError
from fewstep.models.text import TextEncoder
from fewstep.models.weights import save_transformer
from fewstep.recipes import aad1, teacher, text, vae
from fewstep.recipes.worlds import TINY
from fewstep.sampling import CausalManySteps, ManySteps
from fewstep.shapes.dataset import ShapeWorld
from fewstep.training.data import LatentData, PromptData, PromptFileData, Shuffled, TrajectoryData
from fewstep.training.log import LineDisplay
from fewstep.training.materials import TOKENS_AT_ONCE, Materials, trajectories_at_once
from fewstep.training.networks import RecipeNetworks


def materials(cache: Path, recipe=None) -> Materials:
    recipe = recipe or teacher.tiny()
    networks = RecipeNetworks(recipe, recipe.stages[-1], device=torch.device("cpu"), dtype=torch.float32)
    return Materials(networks, cache, LineDisplay(1000, io.StringIO()))


def test_an_epoch_visits_every_item_once_and_orders_differ() -> None:
    order = Shuffled(6, seed=1)
    epochs = [order.take(0, 3) + order.take(1, 3), order.take(2, 3) + order.take(3, 3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert Shuffled(6, seed=1).take(3, 3) == epochs[1][3:]


def test_latents_are_those_of_the_clip_that_the_caption_tells(tmp_path: Path) -> None:
    made = materials(tmp_path)
    source = LatentData(world=TINY.world, count=3, paraphrases=2).open(made)
    batch = source.batch(5, 2)
    again = source.batch(5, 2)
    assert batch.captions == again.captions
    assert torch.equal(batch.latents, again.latents)
    assert batch.latents.shape == (2, *TINY.latent_shape)
    index = source.order.take(5, 2)[0]
    clip = torch.from_numpy(ShapeWorld(0, "train", TINY.world).clip(index)[0]).permute(0, 3, 1, 2)[None]
    torch.testing.assert_close(batch.latents[:1], made.encode(clip), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    ("world", "there"), [(replace(TINY.world, frames=5), "2 of 8 x 8"), (replace(TINY.world, size=32), "3 of 4 x 4")]
)
def test_clips_shorter_than_the_methods_or_of_another_size_are_refused_before_any_is_drawn(
    tmp_path: Path, world, there
) -> None:
    made = materials(tmp_path, aad1.tiny())
    with pytest.raises(ValueError, match=f"works on 3 latent frames of 8 x 8, the clips of the world have {there}"):
        LatentData(world=world, count=2).open(made)
    with pytest.raises(ValueError, match="have 1 of 8 x 8"):
        LatentData(world=TINY.world, count=2, frames=1).open(made)
    assert not list(tmp_path.iterdir())


def test_the_first_latents_of_clips_are_banked_without_the_rest(tmp_path: Path) -> None:
    made = materials(tmp_path)
    whole, first = (
        LatentData(world=TINY.world, count=2, frames=frames).open(made).reference(2).latents for frames in (None, 1)
    )
    assert first.shape[1] == 1
    torch.testing.assert_close(first, whole[:, :1], atol=2e-3, rtol=2e-3)


def test_pixels_and_captions_of_the_base_parts(tmp_path: Path) -> None:
    frames = vae.tiny().stages[0].data.open(materials(tmp_path)).batch(3, 2).frames
    assert frames.shape == (2, 5, 3, 64, 64)
    assert frames.min() >= -1
    assert frames.max() <= 1
    recipe = text.tiny()
    batch = recipe.stages[0].data.open(materials(tmp_path, recipe)).batch(0, 3)
    assert batch.tokens.shape[0] == batch.targets["colour"].shape[0] == 3


def test_prompts_repeat_after_their_epoch_and_have_their_clips_as_reference(tmp_path: Path) -> None:
    source = PromptData(world=TINY.world, distinct=2).open(materials(tmp_path))
    first, later = source.batch(0, 2), source.batch(7, 2)
    assert set(first.captions) == set(later.captions)
    assert first.text.shape == (2, 8, 32)
    assert first.null_text.shape == (2, 8, 32)
    assert source.reference(2).latents.shape == (2, *TINY.latent_shape)


def prompts_file(folder: Path) -> Path:
    path = folder / "prompts.txt"
    path.write_text("a red circle\n\na blue square moves left\na red circle\n", "utf-8")
    return path


def test_a_prompt_file_is_embedded_once_and_read_by_line(tmp_path: Path) -> None:
    made, path = materials(tmp_path), prompts_file(tmp_path)
    source = PromptFileData(path=str(path), negative_prompt="blurred").open(made)
    assert not made.text.is_loaded
    batch = source.batch(0, 2)
    assert set(batch.captions) == {"a red circle", "a blue square moves left"}
    expected = made.text.encoder.encode(list(batch.captions)).detach()
    torch.testing.assert_close(batch.text, expected, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(batch.null_text[0], made.text.encoder.null("blurred")[0].detach(), atol=1e-2, rtol=1e-2)
    with pytest.raises(ValueError, match="found no file"):
        PromptFileData(path=str(tmp_path / "none.txt")).open(made)


def test_training_with_a_whole_store_never_loads_the_text_encoder(tmp_path: Path, monkeypatch) -> None:
    torch.manual_seed(0)
    components = tmp_path / "components"
    TextEncoder.from_preset("tiny").save(components)
    recipe, path = replace(teacher.tiny(), components=str(components)), prompts_file(tmp_path)
    data = PromptFileData(path=str(path), negative_prompt="blurred")
    first = data.open(materials(tmp_path / "cache", recipe)).batch(0, 2)
    store = next((tmp_path / "cache").glob("prompts-*"))

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the text encoder was loaded")

    monkeypatch.setattr(TextEncoder, "__init__", refuse)
    for config in (data, replace(data, store=str(store))):
        again = config.open(materials(tmp_path / "cache", recipe)).batch(0, 2)
        assert torch.equal(again.text, first.text)
        assert torch.equal(again.null_text, first.null_text)
    # the machine that trains need not have it at all
    shutil.rmtree(components / "text_encoder")
    assert torch.equal(replace(data, store=str(store)).open(materials(tmp_path, recipe)).batch(0, 2).text, first.text)
    with pytest.raises(StoreError, match="1 are not in it, the first is 'ugly'"):
        replace(data, store=str(store), negative_prompt="ugly").open(materials(tmp_path, recipe))


def test_trajectories_begin_with_noise_and_grow_without_being_made_again(tmp_path: Path) -> None:
    shared = {**TINY.trajectories, "world": TINY.world, "steps": 3, "shift": 3.0, "guidance": 1.0}
    made = materials(tmp_path)
    few = TrajectoryData(**shared, count=2).open(made)
    path = few.batch(0, 2).trajectory
    assert path.shape == (2, 3, *TINY.latent_shape)
    assert abs(float(path[:, 0].std()) - 1) < 0.1
    more = TrajectoryData(**shared, count=3).open(made)
    assert torch.equal(more.bank.item("trajectory", 1), few.bank.item("trajectory", 1))
    assert few.reference(2).captions == tuple(few.prompts.at([0, 1]).captions)


def test_trajectories_are_the_same_however_many_are_made_together(
    tmp_path: Path, tiny_net: VideoDiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_transformer(tiny_net, tmp_path / "teacher" / "transformer")
    recipe = replace(teacher.tiny(), teacher=str(tmp_path / "teacher"))
    shared = {**TINY.trajectories, "world": TINY.world, "steps": 3, "shift": 3.0, "guidance": 2.0}
    paths = []
    for tokens in (TOKENS_AT_ONCE, 1):
        monkeypatch.setattr("fewstep.training.materials.TOKENS_AT_ONCE", tokens)
        source = TrajectoryData(**shared, count=3).open(materials(tmp_path / str(tokens), recipe))
        paths.append(source.bank.rows("trajectory", range(3)))
    torch.testing.assert_close(*paths, atol=2e-3, rtol=2e-3)
    assert not torch.equal(paths[0][:, 0], paths[0][:, -1])


@pytest.mark.parametrize("layout", [None, ChunkLayout(1)])
def test_trajectories_that_are_not_stored_are_those_of_the_store(
    tmp_path: Path, tiny_net: VideoDiT, layout: ChunkLayout | None
) -> None:
    save_transformer(tiny_net, tmp_path / "teacher" / "transformer")
    made = materials(tmp_path / "cache", replace(teacher.tiny(), teacher=str(tmp_path / "teacher")))
    shared = {**TINY.trajectories, "world": TINY.world, "steps": 3, "shift": 3.0, "guidance": 2.0, "layout": layout}
    anew = TrajectoryData(**shared, count=5, stored=False).open(made)
    batches = [anew.batch(position, 2) for position in (1, 0, 1)]
    assert not list((tmp_path / "cache").glob("trajectories-*")), "nothing is written"
    stored = TrajectoryData(**shared, count=5).open(made)
    for position, batch in zip((1, 0, 1), batches, strict=True):
        kept = stored.batch(position, 2)
        assert batch.captions == kept.captions
        torch.testing.assert_close(batch.trajectory, kept.trajectory, atol=2e-3, rtol=2e-3)
        assert torch.equal(batch.trajectory[:, 0], kept.trajectory[:, 0]), "the same noise, to the bit"
    assert torch.equal(batches[0].trajectory, batches[2].trajectory)
    torch.testing.assert_close(anew.reference(2).latents, stored.reference(2).latents, atol=2e-3, rtol=2e-3)


def test_a_causal_teachers_trajectories_are_its_own_chunk_by_chunk_and_apart_from_a_bidirectional_ones(
    tmp_path: Path, tiny_net: VideoDiT
) -> None:
    save_transformer(tiny_net, tmp_path / "teacher" / "transformer")
    made = materials(tmp_path / "cache", replace(teacher.tiny(), teacher=str(tmp_path / "teacher")))
    whole = TrajectoryData(**TINY.trajectories, world=TINY.world, count=2, steps=3, shift=3.0, guidance=2.0)
    causal = replace(whole, layout=ChunkLayout(1))
    source, batch = causal.open(made), whole.open(made).batch(0, 2)
    path = source.batch(0, 2).trajectory
    assert torch.equal(path[:, 0], batch.trajectory[:, 0]), "the same noise"
    sampling = CausalManySteps(ManySteps(3, 3.0, 2.0), ChunkLayout(1), Context())
    grid = ode_grid(3, 3.0, TINY.levels)
    again = torch.cat(list(sampling.descend(tiny_net, path[:, 0], batch.text, batch.null_text, grid)), dim=1)
    torch.testing.assert_close(path[:, -1], again, atol=5e-3, rtol=5e-3)
    assert not torch.allclose(path[:, -1], batch.trajectory[:, -1], atol=5e-3)
    assert causal.open(made).bank.labels == source.bank.labels
    assert len(list((tmp_path / "cache").glob("trajectories-*"))) == 2


def test_large_trajectories_are_made_one_at_a_time() -> None:
    assert trajectories_at_once(PRESETS["wan_14b"], (21, 16, 60, 104)) == 1
    assert trajectories_at_once(PRESETS["shapes"], (9, 16, 8, 8)) == 16
