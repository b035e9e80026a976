"""From looking to doing: what was measured, written into a recipe as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from .architecture import Architecture
from .errors import RecipeError
from .expression import Call, ModelRef, Node, Rules, StepRef, number_node
from .recipe import Line, Recipe
from .recipe_text import parse_recipe

_DECIMALS = 4


def replaced_below(recipe: Recipe, donor: str, blocks: Mapping[str, float], limit: float, architecture: Architecture) -> Recipe:
    """The recipe with a last step that takes `donor`'s blocks where the figure is below `limit`; blocks without one stay.

    Args:
        donor: a model's name.
        blocks: lane to figure.

    Raises:
        RecipeError: there is no such block.
    """
    chosen = [lane for lane in architecture.lanes if lane in blocks and blocks[lane] < limit]
    if not chosen:
        least = min(blocks, key=lambda lane: blocks[lane])
        raise RecipeError(f"no block is below {limit:g}: the least is {least} with {blocks[least]:.4f}.")
    rules = [*((run, number_node(Fraction(1))) for run in _lane_runs(chosen, architecture)), ("*", number_node(Fraction(0)))]
    return _with_step(recipe, ModelRef(donor), Rules(tuple(rules)))


def weighted_by(base: str, recipe: Recipe, blocks: Mapping[str, float]) -> Recipe:
    """`base` with as much of each block of the recipe's result as they are alike there; blocks without a figure are `base`'s."""
    rules: list[tuple[str, Node]] = []
    for lane, value in blocks.items():
        share = Fraction(f"{min(max(value / 100, 0.0), 1.0):.{_DECIMALS}f}")
        rules.append((lane, number_node(share)))
    return _with_step(recipe, ModelRef(base), Rules((*rules, ("*", number_node(Fraction(0))))), is_first=True)


def _with_step(recipe: Recipe, other: ModelRef, alpha: Rules, is_first: bool = False) -> Recipe:
    """One more step, of the result so far and another model; in the place of a step that is a model and nothing else."""
    result = recipe.steps[recipe.result]
    lines: list[Line] = list(recipe.lines)
    operand: Node = StepRef(result.name)
    if len(lines) == 1 and isinstance(result.expression, ModelRef):
        lines, operand = [], result.expression
    taken = {line.name for line in lines} | {model.name for model in recipe.models()} | {other.name}
    name = next(name for number in range(1, len(taken) + 2) if (name := f"MIX{number if number > 1 else ''}") not in taken)
    operands = (other, operand) if is_first else (operand, other)
    lines.append(Line(name, Call("weighted_sum", operands, (("alpha", alpha),))))
    made = replace(recipe, lines=tuple(lines)).with_options(step=None)
    return parse_recipe(made.canonical())


def _lane_runs(lanes: Sequence[str], architecture: Architecture) -> list[str]:
    """Lanes as patterns: neighbours of one kind as a range."""
    order = list(architecture.lanes)
    found: list[list[str]] = []
    for lane in lanes:
        before = found[-1][-1] if found else ""
        if before and before[:2] == lane[:2] and order.index(lane) == order.index(before) + 1:
            found[-1].append(lane)
        else:
            found.append([lane])
    return [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found]
