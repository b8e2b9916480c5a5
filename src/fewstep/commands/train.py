"""`fewstep train`: a recipe by name, its fields as options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes

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
    recipe, out, resume = _parse(chosen, name, overrides)
    result = run_recipe(recipe, out, resume=resume)
    print(f"trained: {result}")


def _parse(chosen: Recipe, name: str, overrides: list[str]) -> tuple[Recipe, Path, bool]:
    """The recipe with `--stages.1.method.alpha 0.5` and the like applied, the folder, and whether to resume."""
    kind: Any = type(chosen)

    def options(
        recipe: Annotated[kind, OmitArgPrefixes] = chosen,  # type: ignore[valid-type]
        out: Path = Path("runs") / name,
        resume: bool = True,
    ) -> tuple[Recipe, Path, bool]:
        """Train a recipe.

        Args:
            recipe: The fields of the recipe.
            out: Folder of checkpoints, logs and results.
            resume: Go on from the newest checkpoint in the folder, where there is one.
        """
        return recipe, out, resume

    return tyro.cli(options, prog=f"fewstep train {name}", args=overrides)


def _overview() -> str:
    from fewstep.training.recipe import available

    lines = (f"  {name}" for name in available())
    return "\n".join([USAGE, "", "recipes:", *lines, "", "`fewstep train RECIPE --help` lists a recipe's fields."])
