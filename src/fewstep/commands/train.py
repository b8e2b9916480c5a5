"""`fewstep train`: a recipe by name, its fields as options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import arg

if TYPE_CHECKING:
    from fewstep.training.recipe import Recipe

USAGE = "usage: fewstep train RECIPE [--out DIR] [--resume | --no-resume] [--FIELD VALUE ...]"


def main(argv: Sequence[str]) -> None:
    """Find the recipe, apply the overrides, train."""
    arguments = list(argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        if not arguments:
            raise ValueError("a recipe is required, got none: fewstep train asd.tiny")
        return
    name, overrides = arguments[0], arguments[1:]
    if name.startswith("-"):
        raise ValueError(f"the recipe comes first, got '{name}': fewstep train RECIPE [options]")

    from fewstep.training import recipe as recipes
    from fewstep.training.run import run_recipe

    chosen = recipes.resolve(name)()
    settings = _parse(chosen, name, overrides)
    result = run_recipe(settings.recipe, settings.out, resume=settings.resume)
    print(f"trained: {result}")


def _parse(chosen: Recipe, name: str, overrides: list[str]) -> Any:
    """`recipe` with `--stages.1.method.alpha 0.5` and the like applied, `out` and `resume`."""
    fields = [
        ("recipe", Annotated[type(chosen), arg(name="")], chosen),
        ("out", Annotated[Path, arg(help="Folder of checkpoints, logs and results.")], Path("runs") / name),
        ("resume", Annotated[bool, arg(help="Go on where an earlier run in the folder stopped.")], True),
    ]
    settings = make_dataclass("Settings", fields, frozen=True, kw_only=True)
    description = f"Train {name}; every field of the recipe is an option."
    flags_only = (tyro.conf.AvoidSubcommands,)  # a part that is None stays so, and is no subcommand
    return tyro.cli(settings, prog=f"fewstep train {name}", description=description, args=overrides, config=flags_only)


def _overview() -> str:
    from fewstep.training.recipe import available

    lines = (f"  {name}" for name in available())
    return "\n".join([USAGE, "", "recipes:", *lines, "", "`fewstep train RECIPE --help` lists a recipe's fields."])
