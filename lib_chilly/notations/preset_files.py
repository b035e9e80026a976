"""Files of named block weights, as MBW, SuperMerger and model-mixer keep them; their numbers are written into a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from ..errors import RecipeError
from ..expression import ListValue, Node, PresetValue, children, number_node, shortened, with_children
from ..recipe import Recipe
from ..recipe_text import parse_recipe
from ..text_files import read_text
from .draft import WEIGHT

LARGEST_FILE_BYTES = 1 << 20
_COUNTS = (26, 25, 20, 19, 110, 61, 58)


@dataclass(frozen=True)
class NamedWeights:
    """One row of a preset file: `texts` are its numbers as they stand there, or letters for random ones."""

    name: str
    texts: tuple[str, ...]
    file: str

    def numbers(self) -> tuple[Fraction, ...]:
        """RecipeError where one is no number."""
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
    with a list for SDXL too has that one under `NAME.XL`, as in model-mixer; of two alike the later one counts. Other lines are
    passed over: headings, comments, lists for LoRAs.

    Raises:
        RecipeError: the file cannot be read, or holds no preset.
    """
    text = read_text(path, LARGEST_FILE_BYTES, "file of presets")
    found: dict[str, NamedWeights] = {}
    for name, texts in filter(None, map(_row, text.splitlines())):
        weights = NamedWeights(name, texts, str(path))
        if len(texts) in (20, 19):
            found[f"{name}.XL"] = weights
        if len(texts) not in (20, 19) or name not in found or len(found[name].texts) in (20, 19):
            found[name] = weights
    if not found:
        raise RecipeError(
            f"there is no preset in '{path}': a line is NAME, a tab, a colon or a comma, and 26, 25, 20 or 19 numbers."
        )
    return found


def read_preset_files(paths: Sequence[Path]) -> dict[str, NamedWeights]:
    """The presets of several files; of two with one name the later file's counts."""
    return {name: weights for path in paths for name, weights in read_preset_file(path).items()}


def with_presets(recipe: Recipe, presets: Mapping[str, NamedWeights]) -> Recipe:
    """The same recipe with the numbers of those presets in the place of their names, so that it needs no file.

    A preset of a file wins over one of ours with its name; names that no file has stay.

    Raises:
        RecipeError: a preset holds something else than numbers, with the place in the recipe.
    """
    lines = tuple(replace(line, expression=_filled(line.expression, presets, recipe)) for line in recipe.lines)
    if lines == recipe.lines:
        return recipe
    canonical = replace(recipe, lines=lines).canonical()
    return replace(parse_recipe(canonical), notes=recipe.notes)


def _row(line: str) -> tuple[str, tuple[str, ...]] | None:
    """(name, numbers) of a line that is a preset."""
    for separator in ("\t", ":", ","):
        name, sign, rest = line.partition(separator)
        texts = tuple(text.strip() for text in rest.split(","))
        if sign and name.strip() and len(texts) in _COUNTS and all(0 < len(text) <= 40 for text in texts):
            return name.strip().strip('"'), texts
    return None


def _filled(node: Node, presets: Mapping[str, NamedWeights], recipe: Recipe) -> Node:
    if isinstance(node, PresetValue) and node.name in presets:
        try:
            numbers = presets[node.name].numbers()
        except RecipeError as error:
            raise error.at(recipe.text, node.position) from None
        return ListValue(tuple(number_node(number) for number in numbers), node.position)
    below: Sequence[Node] = children(node)
    return with_children(node, [_filled(each, presets, recipe) for each in below]) if below else node
