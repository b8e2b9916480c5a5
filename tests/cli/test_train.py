"""A recipe's fields are options, those of its parts too."""

from __future__ import annotations

from fewstep.commands.train import _parse
from fewstep.recipes import causal_forcing, ode


def test_a_part_that_may_be_none_has_options_where_it_is_there_and_is_no_subcommand() -> None:
    there = _parse(causal_forcing.shapes(), "causal_forcing.shapes", ["--stages.1.data.layout.chunk", "1"])
    assert there.recipe.stages[1].data.layout.chunk == 1
    absent = _parse(ode.shapes(), "ode.shapes", ["--stages.0.batch", "2"])
    assert absent.recipe.stages[0].batch == 2
    assert absent.recipe.stages[0].data.layout is None
