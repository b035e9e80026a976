"""The recipe of one cell of a grid: a recipe's text and what the axes set in it, whatever their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ..addresses import Target, set_value, target_of, value_at
from ..architecture import Architecture
from ..errors import RecipeError
from ..expression import Constant, LoraRef, Node, number_node, shortened, walk
from ..notations import read_recipe
from ..random_weights import Draw
from ..recipe import Recipe
from ..recipe_check import Checker, is_number
from ..recipe_text import parse_recipe
from ..registry import get_method
from . import step_edits
from .axis_values import read_value
from .draft import read_draft
from .open_step import scaled
from .step_reading import read_step

RECIPE, SEED, VALUE = "recipe", "seed", "value"
WEIGHTS = ""
"""The address of the first parameter of the result's step that takes block weights."""
METHOD = "method"
LORA = "lora"
"""The address of the strength of a recipe's one LoRA."""
_OPERAND = re.compile(r"[A-Z]")


@dataclass(frozen=True)
class Coordinate:
    """What one axis sets in a cell.

    Attributes:
        kind: RECIPE, SEED or VALUE.
        value: a recipe's text, a seed, or a value as a text or a number.
        address: of a VALUE: WEIGHTS, LORA, one that `addresses.set_value` knows, or STEP.method, STEP.A, STEP.B, ... for the
            method and the models of a step; without STEP the result's.
    """

    kind: str
    value: str | int | Fraction
    address: str = WEIGHTS


def cell_recipe(text: str, cell: Sequence[Coordinate], architecture: Callable[[Recipe], Architecture]) -> Recipe:
    """The recipe of a cell, in canonical text.

    Another recipe comes first, then the seed of its random weights, methods, models, parameters and constants, and single lanes
    last. A number and block weights that are set in the same place go together: the weights times the number.

    Args:
        text: of the recipe that the axes act on, unless one of them is a recipe itself.
        architecture: of a recipe's models; asked where block weights are multiplied.

    Raises:
        MergeError: a value fits nowhere in this recipe, or two axes set the same.
    """
    texts, seeds = ([each.value for each in cell if each.kind == kind] for kind in (RECIPE, SEED))
    for given, what in ((texts, "the recipe"), (seeds, "the seed")):
        if len(given) > 1:
            raise RecipeError(f"two axes set {what}. Leave one out.")
    recipe = _drawn(str(texts[0]) if texts else text, int(seeds[0]) if seeds else None)
    recipe = parse_recipe(recipe.canonical())
    values = [each for each in cell if each.kind == VALUE]
    parts = [(found, each) for each in values if (found := _part_of_step(recipe, each.address))]
    _refuse_twice([(found, each.address) for found, each in parts])
    for (step, part), each in sorted(parts, key=lambda found: found[0][1] != METHOD):
        recipe = _with_part(recipe, step, part, str(each.value))
    return _with_values(recipe, [each for each in values if all(each is not other for _, other in parts)], architecture)


def _drawn(text: str, seed: int | None) -> Recipe:
    if seed is None:
        return read_recipe(text)
    draw = Draw(seed)
    recipe = read_recipe(text, draw)
    if not draw.count:
        raise RecipeError(
            "the recipe has no random weights, so that a seed changes nothing. Write R, U or X(0.2, 0.6) as weights."
        )
    return recipe


def _refuse_twice(found: Sequence[tuple[object, str]]) -> None:
    seen = set()
    for what, address in found:
        if what in seen:
            raise RecipeError(f"two axes set '{shortened(address or 'block weights')}'. Leave one out.")
        seen.add(what)


# ---- the method and the models of a step ----


def _part_of_step(recipe: Recipe, address: str) -> tuple[str, str] | None:
    """(step, METHOD or the letter of a model), where an address means that."""
    step, _, part = address.rpartition(".")
    is_part = part == METHOD or (_OPERAND.fullmatch(part) and part not in recipe.constants)
    return (step or recipe.result, part) if is_part and (step or recipe.result) in recipe.steps else None


def _with_part(recipe: Recipe, step: str, part: str, value: str) -> Recipe:
    draft = read_draft(recipe.canonical())
    written = draft.named(step)
    assert written is not None
    if part == METHOD:
        return parse_recipe(step_edits.set_method(draft, written, get_method(value.strip()).name))
    return parse_recipe(step_edits.set_operand(draft, written, ord(part) - ord("A"), value.strip()))


# ---- parameters and constants ----


def _with_values(recipe: Recipe, values: Sequence[Coordinate], architecture: Callable[[Recipe], Architecture]) -> Recipe:
    placed: list[tuple[Target, str, Node]] = []
    for each in values:
        is_strength = each.address == LORA and LORA not in recipe.constants
        address = _lora(recipe) if is_strength else each.address or _curve(recipe)
        recipe = _with_call(recipe, address)
        value, checker = each.value, Checker.of(recipe)
        node = read_value(value, checker) if isinstance(value, str) else number_node(Fraction(value))
        blocks = value_at(recipe, address) if is_strength and is_number(node) else None
        if blocks is not None and not is_number(blocks):  # a LoRA's block weights stay, times the number
            node = scaled(blocks, checker.number(node), architecture(recipe), checker)
        placed.append((target_of(recipe, address), address, node))
    numbers = [each for each in placed if is_number(each[2])]
    weights = [each for each in placed if not is_number(each[2])]
    for same in (numbers, weights):
        _refuse_twice([(target, address) for target, address, _ in same])
    for target, address, node in sorted(weights, key=lambda each: bool(each[0].lane)):
        before = value_at(recipe, address)
        recipe = set_value(recipe, address, node)
        factor = next((each for each in numbers if each[0] == target or _is_constant(before, each[0])), None)
        if factor is not None:
            numbers.remove(factor)
            checker = Checker.of(recipe)
            if (strength := checker.number(factor[2])) != 1:
                recipe = set_value(recipe, address, scaled(node, strength, architecture(recipe), checker))
    for _, address, node in sorted(numbers, key=lambda each: bool(each[0].lane)):
        recipe = set_value(recipe, address, node)
    return recipe


def _curve(recipe: Recipe) -> str:
    """The address of the parameter that block weights are for."""
    step = recipe.steps[recipe.result]
    method = read_step(step.expression, Checker.of(recipe)).registered
    names = [name for name, (parameter, _) in method.parameters.items() if parameter.per_block] if method else []
    if not names:
        raise RecipeError(f"'{step.name}' has no block weights to set. Make it a weighted sum first.")
    return f"{step.name}.{names[0]}"


def _lora(recipe: Recipe) -> str:
    """The address of the strength of the one LoRA in a recipe."""
    steps = [line.name for line in recipe.used_lines() for node in walk(line.expression) if isinstance(node, LoraRef)]
    if len(steps) != 1:
        found = f"{len(steps)} LoRAs, so that STEP.scale says which" if steps else "no LoRA whose strength could be set"
        raise RecipeError(f"the recipe has {found}. A LoRA is written MODEL + lora(NAME).")
    return f"{steps[0]}.scale"


def _with_call(recipe: Recipe, address: str) -> Recipe:
    """The recipe with a step that is written as a sum as the call that it is, where only that has what the address names."""
    try:
        target_of(recipe, address)
    except RecipeError as error:
        checker = Checker.of(recipe)
        for name in (recipe.result, *(step for step in recipe.steps if address.startswith(f"{step}."))):
            reading = read_step(recipe.steps[name].expression, checker)
            if not reading.is_sum:
                continue
            line = replace(recipe.steps[name], expression=reading.call())
            changed = replace(recipe, lines=tuple(line if each.name == name else each for each in recipe.lines))
            try:
                target_of(changed, address)
            except RecipeError:
                continue
            return parse_recipe(changed.canonical())
        raise error
    return recipe


def _is_constant(node: Node | None, target: Target) -> bool:
    """Whether what stands in a place is the constant that a target means."""
    return isinstance(node, Constant) and not target.parameter and node.name == target.line
