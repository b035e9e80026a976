"""A file of several recipes: which they are, and where their results go.

A line `--- NAME.safetensors` opens the recipe of that file. A file without such lines is one recipe, and its result is called
as the file is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from .errors import MergeError, RecipeError
from .notations import read_recipe
from .recipe import Recipe
from .recipe_lines import clean_text
from .text_files import read_text

SUFFIX = ".safetensors"
_OPENING = re.compile(r"^---[ \t]+(\S.*?)[ \t\r]*$", re.MULTILINE)
_LARGEST_FILE_BYTES = 1 << 22


@dataclass(frozen=True)
class QueuedRecipe:
    """One recipe of a queue.

    Attributes:
        output: the file that it makes.
        file: that it was read from.
        text: of the whole file.
        start, end: of the recipe in the text.
    """

    output: Path
    file: Path
    text: str
    start: int
    end: int

    def read(self) -> Recipe:
        """The recipe; errors are to be `placed`."""
        return read_recipe(self.text[self.start : self.end])

    def placed(self, error: MergeError) -> MergeError:
        """The same error, said of this recipe and, where it has a place, shown in the whole file."""
        subject = f"'{self.output.name}' of '{self.file.name}'"
        if isinstance(error, RecipeError):
            named = RecipeError(f"{subject}: {error.message}")
            return named if error.position is None else named.at(self.text, self.start + error.position)
        return type(error)(f"{subject}: {error}")


def read_queue(files: Sequence[Path], folder: Path) -> list[QueuedRecipe]:
    """The recipes of some files, in their order; none is read yet.

    Args:
        folder: where results go; names of results are relative to it and stay below it.

    Raises:
        RecipeError: a file cannot be read, holds no recipe, or two recipes have one result.
    """
    found: dict[Path, QueuedRecipe] = {}
    for file in files:
        for recipe in _recipes_of(file, clean_text(read_text(file, _LARGEST_FILE_BYTES, "file of recipes")), folder):
            twin = found.setdefault(recipe.output.resolve(), recipe)
            if twin is not recipe:
                raise RecipeError(
                    f"'{recipe.output}' is made twice, in '{twin.file.name}' and in '{recipe.file.name}'; give one another name."
                )
    return list(found.values())


def _recipes_of(file: Path, text: str, folder: Path) -> list[QueuedRecipe]:
    openings = list(_OPENING.finditer(text))
    if not openings:
        return [QueuedRecipe(folder / f"{file.stem}{SUFFIX}", file, text, 0, len(text))]
    before = re.sub(r"#.*", lambda comment: " " * len(comment[0]), text[: openings[0].start()])
    if before.strip():
        raise RecipeError(
            f"'{file.name}': a recipe stands above the first '---' line; give it a '--- NAME{SUFFIX}' line of its own.",
            text,
            len(before) - len(before.lstrip()),
        )
    ends = [opening.start() for opening in openings[1:]] + [len(text)]
    return [
        QueuedRecipe(folder / _result_name(opening, file, text), file, text, opening.end(), end)
        for opening, end in zip(openings, ends, strict=True)
    ]


def _result_name(opening: re.Match[str], file: Path, text: str) -> str:
    name = opening[1]
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or not name.lower().endswith(SUFFIX):
        raise RecipeError(
            f"'{file.name}': '{name}' is no name for a result: NAME{SUFFIX} was expected, below the folder of results.",
            text,
            opening.start(1),
        )
    return name
