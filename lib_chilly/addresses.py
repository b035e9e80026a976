"""What an axis, a slider or an API field may set in a recipe, by its address, and the recipe that setting it makes.

An address is the name of a constant, `STEP.parameter` or `STEP.parameter.LANE`; without STEP the result's step is meant.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from .architecture import architectures
from .block_rules import lanes_of
from .errors import RecipeError, nearest
from .expression import EXTRACT, Call, Node, Rules, children, number_node, shortened, walk, with_children
from .recipe import Line, Recipe
from .recipe_text import parse_recipe
from .registry import get_method


@dataclass(frozen=True)
class _Place:
    """Where a value goes: a constant's line, or a parameter of one call in a step's line, as a whole or in one lane."""

    line: Line
    call: Call | None = None
    parameter: str = ""
    lane: str = ""


def addresses(recipe: Recipe) -> tuple[str, ...]:
    """Everything that can be set, in the order of the text, then the result's parameters without their step.

    A parameter that takes block weights can also be set in one lane: `.LANE` is added to its address.
    """
    found = list(recipe.constants)
    for name in recipe.steps:
        found += [f"{name}.{parameter}" for parameter in _parameters(recipe.steps[name])]
    found += _parameters(recipe.steps[recipe.result])
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Target:
    """What an address means: a constant, or a parameter of a line, as a whole or in one lane; the same for all its spellings."""

    line: str
    parameter: str = ""
    lane: str = ""


def target_of(recipe: Recipe, address: str) -> Target:
    """What `set_value` would set.

    Raises:
        RecipeError: no such address, with the nearest.
    """
    place = _find(recipe, unicodedata.normalize("NFC", address))
    return Target(place.line.name, place.parameter, place.lane)


def value_at(recipe: Recipe, address: str) -> Node | None:
    """What is given there now; None where nothing is, in a lane too."""
    place = _find(recipe, unicodedata.normalize("NFC", address))
    if place.call is None:
        return place.line.expression
    return None if place.lane else dict(place.call.parameters).get(place.parameter)


def set_value(recipe: Recipe, address: str, value: Fraction | float | Node) -> Recipe:
    """The same recipe with another value; its text is its canonical text.

    In one lane the value becomes a rule: what was there stays as the default, and a rule for that lane is replaced where it
    stands unless a later rule speaks of the lane too; then the new rule comes last.

    Args:
        address: one of `addresses(recipe)`, or one of them with `.LANE`. The longest name of a step that fits is meant.
        value: a number, or what may stand as the value: a list, a preset or rules. A float is its shortest decimal text.

    Raises:
        RecipeError: no such address, with the nearest; or the value does not fit there, as sums that add to 1 no longer.
    """
    place = _find(recipe, unicodedata.normalize("NFC", address))
    line = replace(place.line, expression=_changed(place, _value_node(value)))
    changed = replace(recipe, lines=tuple(line if other is place.line else other for other in recipe.lines))
    # Reading it again checks all that a recipe promises, and gives every node a place in the new text.
    read = parse_recipe(changed.canonical())
    if read != changed:
        raise RecipeError(f"the value for '{shortened(address)}' cannot be written in a recipe.")
    return replace(read, notes=recipe.notes)


def _find(recipe: Recipe, address: str) -> _Place:
    constant = next((line for line in recipe.lines if line.is_constant and line.name == address), None)
    if constant is not None:
        return _Place(constant)
    for step in sorted(recipe.steps, key=len, reverse=True):
        if address.startswith(f"{step}.") and (place := _in_step(recipe.steps[step], address[len(step) + 1 :])):
            return place
    if place := _in_step(recipe.steps[recipe.result], address):
        return place
    settable = addresses(recipe)
    known = [*settable, *(f"{name}.{lane}" for name in settable if name not in recipe.constants for lane in _lanes())]
    raise RecipeError(
        f"there is no '{shortened(address)}' to set.{nearest(address, known)} Known: {', '.join(settable) or 'nothing'}."
    )


def _in_step(step: Line, rest: str) -> _Place | None:
    """What `parameter` or `parameter.LANE` means in a step."""
    parameter, dot, lane = rest.partition(".")
    call = _call_with(step, parameter)
    if call is None or (dot and lane not in _lanes(get_method(call.method).parameters[parameter][0].per_block)):
        return None
    return _Place(step, call, parameter, lane)


def _parameters(step: Line) -> list[str]:
    named = [name for call in _calls(step) for name in get_method(call.method).parameters]
    return [name for name in dict.fromkeys(named) if _call_with(step, name) is not None]


def _calls(step: Line) -> list[Call]:
    return [node for node in walk(step.expression) if isinstance(node, Call) and node.method != EXTRACT]


def _call_with(step: Line, parameter: str) -> Call | None:
    """The call whose parameter is meant: the whole right side, else the only one in it that has the parameter."""
    calls = [call for call in _calls(step) if parameter in get_method(call.method).parameters]
    return calls[0] if calls and (len(calls) == 1 or calls[0] is step.expression) else None


def _lanes(per_block: bool = True) -> Iterator[str]:
    """Every lane of every architecture, and BASE."""
    if per_block:
        yield "BASE"
        yield from dict.fromkeys(lane for architecture in architectures() for lane in architecture.lanes)


def _changed(place: _Place, value: Node) -> Node:
    call = place.call
    if call is None:
        return value
    given = dict(call.parameters)
    if place.lane:
        default = number_node(Fraction(str(get_method(call.method).parameters[place.parameter][1])))
        value = _with_rule(given.get(place.parameter, default), place.lane, value)
    return _swapped(place.line.expression, call, replace(call, parameters=tuple({**given, place.parameter: value}.items())))


def _with_rule(old: Node, lane: str, value: Node) -> Rules:
    entries: list[tuple[str, Node]] = list(old.entries) if isinstance(old, Rules) else [("*", old)]
    own = [index for index, (pattern, _) in enumerate(entries) if pattern == lane]
    stays = own and not any(_covers(pattern, lane) for pattern, _ in entries[own[-1] + 1 :] if pattern != "*")
    place = own[-1] if stays else len(entries)
    before, after = ([entry for entry in part if entry[0] != lane] for part in (entries[:place], entries[place:]))
    return Rules((*before, (lane, value), *after))


def _covers(pattern: str, lane: str) -> bool:
    """Whether a rule for whole lanes speaks of the lane in any architecture."""
    return any((lanes_of(lane, each) or {lane}) & (lanes_of(pattern, each) or frozenset()) for each in architectures())


def _swapped(node: Node, old: Node, new: Node) -> Node:
    return new if node is old else with_children(node, [_swapped(child, old, new) for child in children(node)])


def _value_node(value: Fraction | float | Node) -> Node:
    if isinstance(value, Node):
        return value
    if isinstance(value, int):
        value = Fraction(value)
    elif not isinstance(value, Fraction) and not math.isfinite(value):
        raise RecipeError(f"{value} is no number that can be set.")
    return number_node(value if isinstance(value, Fraction) else float(value))
