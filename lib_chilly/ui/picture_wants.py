"""The pictures that a page wants of a step -> the recipe of each, in the order in which they are best made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..architecture import Architecture
from ..expression import shortened
from ..recipe import Recipe
from .open_step import OpenStep
from .problem import FieldError

MOST_PICTURES = 120
_ORDER = ("of", "block", "strength", "variant")
_LARGEST = 10.0
"""Of strengths and weights."""


@dataclass(frozen=True)
class Wanted:
    """One picture.

    Attributes:
        id: the page's name for it.
        kind: "of", "block", "strength" or "variant".
        recipe: what it is a picture of; its result is that.
        text: the whole recipe of the user with this change, to go on with.
    """

    id: str
    kind: str
    recipe: Recipe
    text: str

    @property
    def own_text(self) -> str:
        """The recipe of this picture alone."""
        return _alone(self.recipe).canonical()


def read_wanted(step: OpenStep, pictures: Sequence[Any], architecture: Architecture) -> list[Wanted]:
    """The pictures that a page asks for, in the order in which they are best made.

    The merge and its operands come first, then moved blocks, of which each differs from the one before in two blocks only; the
    rest follow, which differ everywhere.

    Raises:
        FieldError: one of them is none.
        MergeError: the step cannot be changed so.
    """
    if not pictures or len(pictures) > MOST_PICTURES:
        raise FieldError(f"1 to {MOST_PICTURES} pictures can be asked for at once; these are {len(pictures)}.", "pictures")
    found = [_wanted(step, given, architecture) for given in pictures]
    if len({each.id for each in found}) < len(found):
        raise FieldError("two pictures have the same id.", "pictures")
    return sorted(found, key=lambda each: _ORDER.index(each.kind))


def _wanted(step: OpenStep, given: Any, architecture: Architecture) -> Wanted:
    kinds = [kind for kind in _ORDER if isinstance(given, dict) and kind in given]
    if len(kinds) != 1 or not isinstance(given.get("id"), str) or len(given["id"]) > 100:
        raise FieldError(f"a picture has an id and one of {', '.join(_ORDER)}.", "pictures")
    (kind,) = kinds
    if kind == "of":
        makers: Mapping[Any, Callable[[], Recipe]]
        makers = {"merged": lambda: step.recipe, "a": lambda: step.operand(0), "b": lambda: step.operand(1)}
        if not isinstance(given["of"], str) or given["of"] not in makers:
            raise FieldError("a picture is of 'merged', 'a' or 'b'.", "pictures")
        recipe = makers[given["of"]]()
    elif kind == "strength":
        recipe = step.strength(_number(given, "strength"), architecture)
    elif kind == "block":
        lane = given["block"]
        if lane != "BASE" and (not isinstance(lane, str) or lane not in architecture.lanes):
            raise FieldError(f"{architecture.title} has no block '{shortened(str(lane))}'.", "pictures")
        recipe = step.block(lane, _number(given, "to", 1))
    else:
        variant, seed = (given.get(name, 0) for name in ("variant", "seed"))
        if not all(isinstance(each, int) and 0 <= each < 2**63 for each in (variant, seed)):
            raise FieldError("variant and seed are whole numbers, 0 or more.", "pictures")
        recipe = step.variant(variant, seed, (_number(given, "low", 0), _number(given, "high", 1)), architecture)
    if given.get("of") in ("a", "b"):  # alone, so that it is the same while other steps are changed
        return Wanted(given["id"], kind, _alone(recipe), recipe.canonical())
    return Wanted(given["id"], kind, recipe, recipe.with_options(step=step.saved).canonical())


def _alone(recipe: Recipe) -> Recipe:
    """The lines that a recipe's result is made of."""
    return replace(recipe, lines=recipe.used_lines()).with_options(step=None)


def _number(given: Mapping[str, Any], name: str, default: float = 0) -> Fraction:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise FieldError(f"'{name}' is a number from {-_LARGEST:g} to {_LARGEST:g}.", "pictures")
    return Fraction(str(value))
