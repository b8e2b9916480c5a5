"""Shards as a source: every clip once an epoch, resumable; shards made for something else are refused at the start."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fewstep.ingest.shards import Sample, ShardError, ShardLabel, Shards, label_text, vae_fingerprint, write_shard
from fewstep.models.prompt_store import StoreError, build_store, fingerprint_of
from fewstep.models.text import TextEncoder
from fewstep.models.vae import VideoVAE
from fewstep.recipes import asd, teacher
from fewstep.recipes.worlds import TINY
from fewstep.training.log import LineDisplay
from fewstep.training.materials import Materials
from fewstep.training.networks import RecipeNetworks
from fewstep.training.recipe import Recipe
from fewstep.training.run import run_recipe
from fewstep.training.shards import ShardData

PROMPTS = ("a red circle", "a blue square", "a green star", "a red star", "a blue circle")


@pytest.fixture(scope="module")
def components(tmp_path_factory) -> Path:
    """An autoencoder and a text encoder in a folder."""
    folder = tmp_path_factory.mktemp("components")
    torch.manual_seed(0)
    TextEncoder.from_preset("tiny").save(folder)
    VideoVAE.from_preset("tiny").save(folder / "vae")
    return folder


def write(folder: Path, components: Path, prompts: tuple[str, ...] = PROMPTS, **changed: Any) -> Path:
    """A folder of shards of two clips each, whose latents are their numbers."""
    vae, encoder = VideoVAE.load(components / "vae"), TextEncoder.load(components)
    store = build_store(folder / "prompts", [*prompts, "no star", ""], lambda: encoder)
    plain = {
        "vae": vae_fingerprint(vae),
        "text_encoder": fingerprint_of(encoder.model.state_dict()),
        "text_len": 8,
        "latent_shape": TINY.latent_shape,
        "frames": 9,
        "fps": 16.0,
        "height": 64,
        "width": 64,
        "jump": 3.0,
    }
    label = ShardLabel(**{**plain, **changed})
    (folder / "shards.json").write_text(label_text(label))
    samples = [
        Sample(f"clip-{number}", torch.full(label.latent_shape, number).half(), store.read(prompt), prompt, {})
        for number, prompt in enumerate(prompts)
    ]
    for start in range(0, len(samples), 2):
        write_shard(folder / f"shard-{start // 2:06d}.tar", samples[start : start + 2], label)
    return folder


@pytest.fixture(scope="module")
def shards(components: Path, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("shards"), components)


def materials(recipe: Recipe, components: Path, cache: Path) -> Materials:
    recipe = replace(recipe, components=str(components))
    networks = RecipeNetworks(recipe, recipe.stages[-1], device=torch.device("cpu"), dtype=torch.float32)
    return Materials(networks, cache, LineDisplay(1000, io.StringIO()))


def test_every_clip_comes_once_an_epoch_with_its_own_caption(shards: Path, components: Path, tmp_path: Path) -> None:
    made = materials(teacher.tiny(), components, tmp_path)
    source = ShardData(paths=(str(shards),), negative_prompt="no star", seed=3).open(made)
    numbers = []
    for position in range(5):
        batch = source.batch(position, 1)
        numbers.append(int(batch.latents.mean()))
        assert batch.latents.shape == (1, *TINY.latent_shape)
        assert batch.latents.dtype == batch.text.dtype == torch.float32
        assert batch.captions == (PROMPTS[numbers[-1]],)
        expected = TextEncoder.load(components).encode(list(batch.captions))
        torch.testing.assert_close(batch.text, expected.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(batch.null_text, TextEncoder.load(components).null("no star").detach())
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    # another source, asked for a later batch first, gives the same
    again = ShardData(paths=(str(shards),), negative_prompt="no star", seed=3).open(made)
    assert torch.equal(again.batch(7, 2).latents, source.batch(7, 2).latents)
    assert not made.text.is_loaded
    assert source.reference(2).captions == PROMPTS[:2]


def test_several_folders_are_one_source_and_clips_may_be_shortened(
    shards: Path, components: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other", components, PROMPTS[:3])
    made = materials(teacher.tiny(), components, tmp_path)
    source = ShardData(paths=(str(shards), str(other)), frames=1).open(made)
    assert len(source.order.take(0, 8)) == len(set(source.order.take(0, 8))) == 8
    assert source.batch(0, 8).latents.shape == (8, 1, *TINY.latent_shape[1:])
    with pytest.raises(ShardError, match=r"frames must be 1..3"):
        ShardData(paths=(str(shards),), frames=4).open(made)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vae": "000000000000"}, "were made by VAE 000000000000, the run's is"),
        ({"text_encoder": "000000000000"}, "were made by text encoder 000000000000"),
        ({"fps": 24.0}, "64x64 at 16 a second, the shards in .* hold 64x64 at 24"),
        ({"width": 96}, "hold 96x64"),
    ],
)
def test_shards_of_other_networks_or_another_size_are_refused(
    components: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    folder = write(tmp_path / "shards", components, PROMPTS[:1], **changed)
    with pytest.raises(ShardError, match=message):
        ShardData(paths=(str(folder),)).open(materials(teacher.tiny(), components, tmp_path))


def test_clips_that_do_not_fill_the_students_chunks_are_refused(shards: Path, components: Path, tmp_path: Path) -> None:
    recipe = asd.tiny()
    stage = recipe.stages[-1]

    def opened(**changed: Any) -> None:
        method = replace(stage.method, **changed)
        other = replace(recipe, stages=(replace(stage, method=method),))
        ShardData(paths=(str(shards),)).open(materials(other, components, tmp_path))

    opened()
    with pytest.raises(ShardError, match="do not fill the student's chunks"):
        opened(layout=replace(stage.method.layout, chunk=2), latent_shape=(4, *TINY.latent_shape[1:]))
    with pytest.raises(ShardError, match=r"works on latents \(5, 16, 8, 8\)"):
        opened(latent_shape=(5, *TINY.latent_shape[1:]))


def test_damaged_foreign_and_missing_shards_say_so(shards: Path, components: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"holds no shards\.json"):
        Shards([tmp_path])
    copy = Path(shutil.copytree(shards, tmp_path / "copy"))
    path = copy / "shard-000001.tar"
    content = path.read_bytes()
    path.write_bytes(content[:3000])
    with pytest.raises(ShardError, match=r"shard-000001\.tar is damaged"):
        Shards([copy])
    path.write_bytes(content.replace(b"a green star", b"a green pear"))
    with pytest.raises(ShardError, match="does not match its checksum"):
        Shards([copy])
    foreign = write(tmp_path / "foreign", components, PROMPTS[:1], vae="000000000000")
    shutil.copy(foreign / "shard-000000.tar", path)
    with pytest.raises(ShardError, match="was made by vae 000000000000, unlike its folder's label"):
        Shards([copy])
    with pytest.raises(ShardError, match="cannot be read together: vae"):
        Shards([shards, foreign])
    (copy / "shards.json").write_text(json.dumps({"vae": "x"}))
    with pytest.raises(ShardError, match="cannot be read"):
        Shards([copy])
    with pytest.raises(StoreError, match="does not hold 'ugly'"):
        ShardData(paths=(str(shards),), negative_prompt="ugly").open(materials(teacher.tiny(), components, tmp_path))


def test_a_fingerprint_is_that_of_the_encoder_in_any_format() -> None:
    torch.manual_seed(0)
    vae = VideoVAE.from_preset("tiny")
    name = vae_fingerprint(vae)
    with torch.no_grad():
        vae.model.decoder.conv_in.weight.add_(1)
    assert vae_fingerprint(vae) == name
    assert vae_fingerprint(vae.to(torch.bfloat16)) == name
    with torch.no_grad():
        vae.model.encoder.conv_in.weight.add_(1)
    changed = vae_fingerprint(vae)
    assert changed != name
    vae.set_latent_stats(torch.ones(16), torch.ones(16))
    assert vae_fingerprint(vae) != changed


def test_a_teacher_learns_from_shards(shards: Path, components: Path, tmp_path: Path) -> None:
    recipe = teacher.tiny()
    stage = replace(recipe.stages[-1], data=ShardData(paths=(str(shards),)), steps=2)
    recipe = replace(recipe, stages=(stage,), components=str(components))
    model = run_recipe(recipe, tmp_path / "run", display=LineDisplay(1000, io.StringIO()))
    assert (model / "fewstep.json").is_file()
