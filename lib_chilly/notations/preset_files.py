"""Files of named block weights, as MBW, SuperMerger and model-mixer keep them; their numbers are written into a recipe."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from ..errors import RecipeError
from ..expression import ListValue, Node, PresetValue, children, number_node, shortened, with_children
from ..number_lists import presets as our_presets
from ..recipe import Recipe
from ..recipe_text import parse_recipe
from ..text_files import read_text
from .draft import WEIGHT

LARGEST_FILE_BYTES = 1 << 20
_COUNTS = (26, 25, 20, 19, 110, 61, 58)
_EXPECTED = "26, 25, 20 or 19 were expected (Flux.1 has lists of 58 and 61, SDXL one of 110)"
_MOST_SHOWN = 12


@dataclass(frozen=True)
class NamedWeights:
    """One row of a preset file: `texts` are its numbers as they stand there, or letters for random ones; perhaps too few."""

    name: str
    texts: tuple[str, ...]
    file: str

    @property
    def is_list(self) -> bool:
        """Whether it has as many numbers as a list of block weights can have."""
        return len(self.texts) in _COUNTS

    def numbers(self) -> tuple[Fraction, ...]:
        """RecipeError where one is no number, or where they are too few or too many."""
        if not self.is_list:
            raise RecipeError(f"the preset '{self.name}' of '{self.file}' has {len(self.texts)} numbers; {_EXPECTED}.")
        for text in self.texts:
            if not WEIGHT.fullmatch(text):
                what = "a random weight" if text[:1] in tuple("RUXDE") else "no number"
                raise RecipeError(
                    f"the preset '{self.name}' of '{self.file}' holds '{shortened(text)}', {what}. Use another preset."
                )
        return tuple(map(Fraction, self.texts))


def read_preset_file(path: Path) -> dict[str, NamedWeights]:
    """The presets of a file, by name.

    A line is a name, then a tab, a colon or a comma, then 26, 25, 20 or 19 numbers with commas between. A name that stands there
    with a list for SDXL too has that one under `NAME.XL`, as in model-mixer; of two alike the later one counts. A line with
    another count of numbers, such as a list for LoRAs, is kept to be named. Other lines are passed over: headings, comments.

    Raises:
        RecipeError: the file cannot be read, or holds no preset.
    """
    text = read_text(path, LARGEST_FILE_BYTES, "file of presets")
    found: dict[str, NamedWeights] = {}
    others: dict[str, NamedWeights] = {}
    for name, texts in filter(None, map(_row, text.splitlines())):
        weights = NamedWeights(name, texts, str(path))
        if not weights.is_list:
            others[name] = weights
            continue
        if len(texts) in (20, 19):
            found[f"{name}.XL"] = weights
        if len(texts) not in (20, 19) or name not in found or len(found[name].texts) in (20, 19):
            found[name] = weights
    if not found:
        raise RecipeError(
            f"there is no preset in '{path}': a line is NAME, a tab, a colon or a comma, and 26, 25, 20 or 19 numbers."
        )
    return {**others, **found}


def read_preset_files(paths: Sequence[Path]) -> dict[str, NamedWeights]:
    """The presets of several files; of two with one name the later file's counts."""
    rows = [row for path in paths for row in read_preset_file(path).items()]
    return dict(sorted(rows, key=lambda row: row[1].is_list))  # of two alike a list of block weights counts


def with_presets(recipe: Recipe, presets: Mapping[str, NamedWeights]) -> Recipe:
    """The same recipe with the numbers of those presets in the place of their names, so that it needs no file.

    A preset of a file wins over one of ours with its name; names of ours stay.

    Raises:
        RecipeError: no preset has the name, or it holds something else than a list of numbers, with the place in the recipe.
    """
    recipe = replace(recipe, notes=(*recipe.notes, *_miscounts(presets)))
    if not presets:
        return recipe
    lines = tuple(replace(line, expression=_filled(line.expression, presets, recipe)) for line in recipe.lines)
    if lines == recipe.lines:
        return recipe
    canonical = replace(recipe, lines=lines).canonical()
    return replace(parse_recipe(canonical), notes=recipe.notes)


def _miscounts(presets: Mapping[str, NamedWeights]) -> list[str]:
    """A sentence for each file with lists that are none of block weights."""
    wrong: dict[str, list[str]] = {}
    for name, weights in presets.items():
        if not weights.is_list:
            wrong.setdefault(weights.file, []).append(f"'{name}' ({len(weights.texts)})")
    return [
        f"'{file}' has presets whose count of numbers is none of block weights: {_some(names)}." for file, names in wrong.items()
    ]


def _some(names: Sequence[str]) -> str:
    shown = [shortened(name) for name in names[:_MOST_SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def _row(line: str) -> tuple[str, tuple[str, ...]] | None:
    """(name, numbers) of a line that is a preset."""
    for separator in ("\t", ":", ","):
        name, sign, rest = line.partition(separator)
        texts = tuple(text.strip() for text in rest.split(","))
        is_list = len(texts) in _COUNTS and all(0 < len(text) <= 40 for text in texts)
        if sign and name.strip() and (is_list or _is_miscounted(name, texts)):
            return name.strip().strip('"'), texts
    return None


def _is_miscounted(name: str, texts: Sequence[str]) -> bool:
    """Whether a line that is no list of block weights has a name and numbers all the same."""
    return len(texts) > 1 and not name.lstrip().startswith("#") and all(map(WEIGHT.fullmatch, texts))


def _called(name: str, presets: Mapping[str, NamedWeights]) -> NamedWeights:
    if name in presets:
        return presets[name]
    for names in (list(presets), list(our_presets())):
        spellings = {spelling.upper(): spelling for spelling in names}
        if near := difflib.get_close_matches(name.upper(), spellings, 1):
            raise RecipeError(f"there is no preset '{name}'. Did you mean '{shortened(spellings[near[0]])}'?")
    raise RecipeError(f"there is no preset '{name}'. Known: {_some([*presets, *our_presets()])}.")


def _filled(node: Node, presets: Mapping[str, NamedWeights], recipe: Recipe) -> Node:
    if isinstance(node, PresetValue) and (node.name in presets or node.name not in our_presets()):
        try:
            numbers = _called(node.name, presets).numbers()
        except RecipeError as error:
            raise error.at(recipe.text, node.position) from None
        return ListValue(tuple(number_node(number) for number in numbers), node.position)
    below: Sequence[Node] = children(node)
    return with_children(node, [_filled(each, presets, recipe) for each in below]) if below else node
