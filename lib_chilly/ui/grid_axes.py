"""An axis of a grid as the command line has it, `alpha = 0-1 [5]` -> what stands beside each cell, and what it sets there."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import RecipeError
from ..expression import shortened
from .axis_labels import label_of
from .axis_values import split_recipes, split_settings, split_values
from .cell_recipe import LORA, METHOD, RECIPE, SEED, VALUE, WEIGHTS, Coordinate

_MODEL = re.compile(r"(?:model )?([A-Z])")


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        labels: what stands beside the cells, by value.
        coordinates: what each value sets.
    """

    labels: tuple[str, ...]
    coordinates: tuple[Coordinate, ...]


def read_axis(text: str) -> Axis:
    """An axis: `alpha`, `beta`, `density`, `preset`, `weights`, `method`, `A`, `B`, `C`, `lora`, `seed`, `recipe`, or an address.

    Raises:
        RecipeError: it has no name, no values, or values that cannot be.
    """
    name, sign, values = text.partition("=")
    name = " ".join(name.split())
    if not sign or not name or not values.strip():
        raise RecipeError(f"'{shortened(text)}' is no axis. Write what is set and its values, as in 'alpha = 0-1 [5]'.")
    kind = name.lower()
    if kind in _SPLIT:
        title, split, make = _SPLIT[kind]
        found = split(values)
        return Axis(tuple(label_of(title, each) for each in found), tuple(make(each) for each in found))
    if match := _MODEL.fullmatch(name):
        text = f"{match[1]} = {values}"
    settings = split_settings(text)
    pairs = [setting.partition(" = ")[::2] for setting in settings]
    if match:
        return Axis(tuple(label_of(f"model {name[-1]}", value) for _, value in pairs), _values(pairs))
    return Axis(tuple(label_of("parameter", each) for each in settings), _values(pairs))


def _values(pairs: Sequence[tuple[str, str]]) -> tuple[Coordinate, ...]:
    return tuple(Coordinate(VALUE, value, address) for address, value in pairs)


def _listed(text: str) -> list[str]:
    """Values apart by commas, ranges spelt out."""
    return [each.partition(" = ")[2] for each in split_settings(f"_ = {text}")]


def _seed(value: str) -> Coordinate:
    try:
        return Coordinate(SEED, int(value))
    except ValueError:
        raise RecipeError(f"'{shortened(value)}' is no seed. It is a whole number.") from None


def _setting(address: str) -> Callable[[str], Coordinate]:
    return lambda value: Coordinate(VALUE, value, address)


_WEIGHTS = ("block weights", split_values, _setting(WEIGHTS))
_SPLIT: dict[str, tuple[str, Callable[[str], list[str]], Callable[[str], Coordinate]]] = {
    "preset": ("preset", split_values, _setting(WEIGHTS)),
    "weights": _WEIGHTS,
    "block weights": _WEIGHTS,
    "method": ("method", _listed, _setting(METHOD)),
    "lora": ("LoRA strength", _listed, _setting(LORA)),
    "lora strength": ("LoRA strength", _listed, _setting(LORA)),
    "seed": ("seed", _listed, _seed),
    "recipe": ("recipe", split_recipes, lambda value: Coordinate(RECIPE, value)),
}
"""Name to its title in labels, how its values stand apart, and what one sets."""
