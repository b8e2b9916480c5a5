"""What a passport says of a trained model."""

from __future__ import annotations

import pytest

from fewstep.recipes import aad1, asd, ode, self_forcing, teacher
from fewstep.training.export import make_passport


@pytest.mark.parametrize(
    ("recipe", "begins_with"),
    [
        (teacher.tiny, None),
        (ode.tiny, "text"),
        (self_forcing.tiny, "text"),
        (asd.tiny, "text"),
        (aad1.tiny, "image"),
        (aad1.shapes, "image"),
        (aad1.shapes_asd, "either"),
    ],
)
def test_a_clip_may_begin_with_what_clips_of_the_training_began_with(recipe, begins_with) -> None:
    made = recipe()
    assert make_passport(made, made.stages[-1], 1, {}).begins_with == begins_with
