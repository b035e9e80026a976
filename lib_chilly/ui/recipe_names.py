"""Recipes by name: those of the history by their titles, and the files of the user's and of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import RecipeError, nearest
from ..expression import shortened
from ..hashes import user_folder
from ..history import MOST_ROWS, History
from ..notations import LONGEST_TEXT
from ..text_files import read_text

_SUFFIXES = (".chilly", ".txt")
_OURS = Path(__file__).parents[2] / "recipes"


def recipe_names(history: History) -> list[str]:
    """Every name, those of files first."""
    return list(_known(history))


def recipe_named(name: str, history: History) -> str:
    """The text of a recipe.

    Args:
        name: one of `recipe_names`, or a recipe's text itself.

    Raises:
        RecipeError: there is none of that name, with the nearest.
    """
    known = _known(history)
    if (plain := name.strip()) in known:
        found = known[plain]
        return read_text(found, LONGEST_TEXT, "recipe") if isinstance(found, Path) else found
    if any(sign in plain for sign in "=(+\n"):
        return name
    raise RecipeError(
        f"there is no recipe '{shortened(plain)}'.{nearest(plain, known)} Recipes are those of the history, by their titles, "
        f"and files in '{user_folder() / 'recipes'}'."
    )


def _known(history: History) -> Mapping[str, Path | str]:
    found: dict[str, Path | str] = {}
    for folder in (user_folder() / "recipes", _OURS):
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix in _SUFFIXES and path.is_file():
                found.setdefault(path.stem, path)
    for name, text in _of_history(history):
        found.setdefault(name, text)
    return found


def _of_history(history: History) -> Iterator[tuple[str, str]]:
    """(title, text) of the newest; one whose title a newer one has is told apart by its number."""
    titles = set()
    for entry in history.rows(count=MOST_ROWS)[0]:
        yield (f"{entry.title} #{entry.number}" if entry.title in titles else entry.title), entry.recipe
        titles.add(entry.title)
