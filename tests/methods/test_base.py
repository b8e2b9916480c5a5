"""What no config of a method accepts."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest

from fewstep.methods.aad import AADConfig
from fewstep.methods.asd import ASDConfig
from fewstep.methods.autoencoder import AutoencoderConfig
from fewstep.methods.base import OptimConfig
from fewstep.methods.causal_ode import CausalODEConfig
from fewstep.methods.causal_teacher import CausalTeacherConfig
from fewstep.methods.consistency import ConsistencyConfig
from fewstep.methods.dmd import DMDConfig
from fewstep.methods.ode_init import ODEInitConfig
from fewstep.methods.teacher import TeacherConfig
from fewstep.methods.text_pretrain import TextPretrainConfig
from fewstep.models.cache import Context
from fewstep.models.discriminator import DiscriminatorConfig
from fewstep.models.layout import ChunkLayout


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (CausalTeacherConfig, "weighting"),
        (CausalODEConfig, "first_frame"),
        (ConsistencyConfig, "first_frame"),
        (ODEInitConfig, "first_frame"),
        (DMDConfig, "exits"),
        (DMDConfig, "commit"),
        (ASDConfig, "sampling"),
        (AADConfig, "real"),
    ],
)
def test_words_that_mean_nothing_are_refused(config, field) -> None:
    with pytest.raises(ValueError, match=rf"{config.__name__}\.{field} must be one of '.*', got 'givn'"):
        config(**{field: "givn"})


@pytest.mark.parametrize("config", [TeacherConfig, CausalTeacherConfig])
@pytest.mark.parametrize("chance", [7.0, -0.1])
def test_the_chance_to_drop_a_prompt_is_one(config, chance) -> None:
    with pytest.raises(ValueError, match=rf"text_drop is a chance and must lie in \[0, 1\], got {chance}"):
        config(text_drop=chance)
    assert config(text_drop=1.0).text_drop == 1.0


@pytest.mark.parametrize("changed", [{"ema": 1.5}, {"ema": 1.0}, {"ema": -0.1}, {"betas": (0.9, 1.0)}])
def test_averages_fade(changed) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        OptimConfig(lr=1e-3, **changed)
    assert OptimConfig(lr=1e-3, ema=0.0).ema == 0.0


AMOUNTS = {
    ASDConfig: ("alpha", "penalty_weight", "penalty_sigma", "guidance", "fake_guidance", "normaliser_eps"),
    DMDConfig: ("guidance", "fake_guidance", "normaliser_eps"),
    AADConfig: ("penalty_weight", "penalty_sigma", "backbone_rate", "discriminator_head_start"),
    ConsistencyConfig: ("guidance",),
    AutoencoderConfig: ("edges", "squares", "kl", "latent_noise"),
    TextPretrainConfig: ("masked_weight",),
    partial(OptimConfig, lr=1e-3): ("lr", "weight_decay", "warmup", "ema_start"),
}


@pytest.mark.parametrize(("config", "name"), [(config, name) for config, names in AMOUNTS.items() for name in names])
def test_amounts_are_finite_and_not_below_zero(config, name) -> None:
    for value in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"{name} must be a finite number of 0 or more, got {value}"):
            config(**{name: value})
    assert getattr(config(**{name: 0}), name) == 0


@pytest.mark.parametrize(
    ("config", "name", "least"),
    [
        (DMDConfig, "ratio", 1),
        (ASDConfig, "fake_score_updates", 1),
        (ASDConfig, "discriminator_updates", 0),
        (AADConfig, "discriminator_updates", 1),
    ],
)
def test_a_cycle_has_updates_enough(config, name, least) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be a finite number of {least} or more, got {least - 1}"):
        config(**{name: least - 1})
    assert getattr(config(**{name: least}), name) == least


@pytest.mark.parametrize(
    ("name", "value"),
    [("clip", 0.0), ("clip", -1.0), ("eps", 0.0), ("clip", math.nan)],
)
def test_a_clipped_gradient_keeps_its_direction_and_a_denominator_its_floor(name, value) -> None:
    with pytest.raises(ValueError, match=rf"OptimConfig\.{name} must be a finite number above 0, got {value}"):
        OptimConfig(lr=1e-3, **{name: value})


def test_rates_of_parts_of_a_network_are_no_less_than_zero() -> None:
    with pytest.raises(ValueError, match=r"OptimConfig\.muon_lr must be .* got -1"):
        OptimConfig(lr=1e-3, muon_lr=-1)
    with pytest.raises(ValueError, match=r"OptimConfig\.lr_scale\['head'\] must be .* got nan"):
        OptimConfig(lr=1e-3, lr_scale={"head": math.nan})
    OptimConfig(lr=0.0, lr_scale={"head": 0.0})


@pytest.mark.parametrize("config", [TeacherConfig, DMDConfig, ASDConfig, AADConfig])
@pytest.mark.parametrize(
    "law", [{"shift": 0.0}, {"shift": math.inf}, {"t_min": 0.5, "t_max": 0.5}, {"t_max": math.nan}]
)
def test_levels_of_the_scores_are_levels(config, law) -> None:
    with pytest.raises(ValueError, match="levels need a finite shift > 0 and 0 <= lowest < highest <= 1"):
        config(**law)


@pytest.mark.parametrize("config", [CausalTeacherConfig, ConsistencyConfig])
def test_a_warp_is_above_zero(config) -> None:
    with pytest.raises(ValueError, match="shift"):
        config(shift=0.0)


@pytest.mark.parametrize("config", [ConsistencyConfig, CausalODEConfig, ODEInitConfig, DMDConfig, ASDConfig, AADConfig])
@pytest.mark.parametrize("levels", [(0.5, 2.0), (), (1.0, 0.5, 0.75)])
def test_lists_that_are_no_levels_are_refused(config, levels) -> None:
    with pytest.raises(ValueError, match=r"must descend strictly from 1\.0"):
        config(levels=levels)


@pytest.mark.parametrize("config", [CausalTeacherConfig, ConsistencyConfig, CausalODEConfig, ODEInitConfig, DMDConfig])
def test_a_window_must_hold_a_first_chunk_of_its_own_size(config) -> None:
    with pytest.raises(ValueError, match="window=5 cannot hold a first chunk of 6 frames"):
        config(layout=ChunkLayout(3, first=6), context=Context(window=5), latent_shape=(9, 16, 8, 8))
    config(layout=ChunkLayout(3, first=6), context=Context(window=6), latent_shape=(9, 16, 8, 8))


HEADS = DiscriminatorConfig(layers=(0, 1), num_logits=1, num_heads=2, ffn_dim=64, backbone="own")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": Context(1, 2)}, "window of at least 3"),
        ({"layout": ChunkLayout(2), "latent_shape": (6, 16, 4, 4)}, r"ChunkLayout\(2, first=1\)"),
        ({"layout": ChunkLayout(4, first=1)}, "use 5 or 9 latent frames"),
        ({"latent_shape": (1, 16, 4, 4)}, "at least one chunk behind it"),
        ({"layout": ChunkLayout(7), "first_frame": "either", "context": Context()}, "8 latent frames or more"),
        (
            {
                "layout": ChunkLayout(2),
                "latent_shape": (6, 16, 4, 4),
                "first_frame": "either",
                "discriminator": replace(HEADS, visibility="causal"),
            },
            r"needs ChunkLayout\(2, first=1\)",
        ),
        ({"discriminator": replace(HEADS, num_logits=3)}, "must be 1, for all step counts, or 1"),
    ],
)
def test_geometry_that_aad_cannot_train_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AADConfig(
            **{"latent_shape": (7, 16, 4, 4), "layout": ChunkLayout(2, first=1), "discriminator": HEADS, **settings}
        )


def test_switches_of_a_discriminator_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="visibility must be one of bidirectional, causal; got 'both'"):
        replace(HEADS, visibility="both")
    with pytest.raises(ValueError, match="granularity must be one of clip, frame"):
        replace(HEADS, granularity="video")
    with pytest.raises(ValueError, match="backbone must be one of shared, own, frozen"):
        replace(HEADS, backbone="borrowed")
