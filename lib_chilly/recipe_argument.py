"""What RECIPE means on the command line: a file, or the text itself."""

from __future__ import annotations

from pathlib import Path

from .errors import RecipeError
from .models import SUFFIXES
from .notations import read_recipe
from .random_weights import Draw
from .recipe import Recipe
from .text_files import read_text

_LARGEST_RECIPE_BYTES = 1 << 20
_RECIPE_SUFFIXES = (".chilly", ".txt", ".mecha", ".json", ".csv", ".tsv")
"""Of recipes' files: text on one line that ends so is taken for the name of one."""


def load_recipe(argument: str, draw: Draw | None = None) -> Recipe:
    """The recipe that RECIPE means.

    Args:
        draw: puts numbers in the places of random weights.

    Raises:
        RecipeError: as `recipe_text`, or the text is no recipe.
    """
    return read_recipe(recipe_text(argument), draw)


def recipe_text(argument: str) -> str:
    """What RECIPE says: an existing file's text, else the argument itself.

    Raises:
        RecipeError: it looks like a file's name and there is none, or it is a model.
    """
    is_one_line = "\n" not in argument.strip()
    try:
        is_file = is_one_line and Path(argument).is_file()
    except (OSError, ValueError):  # too long for a name
        is_file = False
    if is_file and argument.lower().endswith(SUFFIXES):
        raise RecipeError(f"'{argument}' is a model, no recipe; --from '{argument}' carries out what made it, out of its header.")
    if is_file:
        return read_text(Path(argument), _LARGEST_RECIPE_BYTES, "recipe")
    if is_one_line and argument.strip().lower().endswith(_RECIPE_SUFFIXES):
        raise RecipeError(f"the recipe '{argument}' was not found.")
    return argument
