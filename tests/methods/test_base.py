"""What no config of a method accepts."""

from __future__ import annotations

import pytest

from fewstep.methods.aad import AADConfig
from fewstep.methods.asd import ASDConfig
from fewstep.methods.base import OptimConfig
from fewstep.methods.causal_ode import CausalODEConfig
from fewstep.methods.causal_teacher import CausalTeacherConfig
from fewstep.methods.consistency import ConsistencyConfig
from fewstep.methods.dmd import DMDConfig
from fewstep.methods.ode_init import ODEInitConfig
from fewstep.methods.teacher import TeacherConfig
from fewstep.models.cache import Context
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
