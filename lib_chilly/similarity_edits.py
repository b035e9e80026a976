"""From looking to doing: what was measured, written into a recipe as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from .architecture import Architecture
from .errors import RecipeError
from .expression import Call, ModelRef, Node, Rules, StepRef, number_node, walk
from .recipe import Line, Recipe
from .recipe_text import parse_recipe

_DECIMALS = 4
_NO_FIGURE = "no block has a figure, so there is nothing to write a recipe from."


def replaced_below(recipe: Recipe, donor: str, blocks: Mapping[str, float], limit: float, architecture: Architecture) -> Recipe:
    """The recipe with a last step that takes `donor`'s blocks where the figure is below `limit`; blocks without one stay.

    Args:
        donor: a model's name.
        blocks: lane to figure; minus infinity of one that is broken.

    Raises:
        RecipeError: there is no such block, or the recipe has a step of the donor's name.
    """
    if not blocks:
        raise RecipeError(_NO_FIGURE)
    chosen = [lane for lane in architecture.lanes if lane in blocks and blocks[lane] < limit]
    if not chosen:
        least = min(blocks, key=lambda lane: blocks[lane])
        raise RecipeError(f"no block is below {limit:g}: the least is {least} with {blocks[least]:.4f}.")
    rules = [*((run, number_node(Fraction(1))) for run in _lane_runs(chosen, architecture)), ("*", number_node(Fraction(0)))]
    return _with_step(recipe, ModelRef(donor), Rules(tuple(rules)))


def weighted_by(base: str, recipe: Recipe, blocks: Mapping[str, float]) -> Recipe:
    """`base` with as much of each block of the recipe's result as they are alike there; blocks without a figure are `base`'s.

    Raises:
        RecipeError: there is none with a figure, or the recipe has a step of the base's name.
    """
    if not blocks:
        raise RecipeError(_NO_FIGURE)
    rules: list[tuple[str, Node]] = []
    for lane, value in blocks.items():
        share = Fraction(f"{min(max(value / 100, 0.0), 1.0):.{_DECIMALS}f}")
        rules.append((lane, number_node(share)))
    return _with_step(recipe, ModelRef(base), Rules((*rules, ("*", number_node(Fraction(0))))), is_first=True)


def refuse_captured(name: str, recipe: Recipe) -> None:
    """RecipeError where a model's name would mean a line of the recipe."""
    if any(line.name == name for line in _kept_lines(recipe)):
        raise RecipeError(f"the recipe has a step '{name}', which the model '{name}' would be taken for. Rename the step.")


def _kept_lines(recipe: Recipe) -> tuple[Line, ...]:
    """All lines, but none where the only one is a model and nothing else: that stands in the new step by its name."""
    is_model = len(recipe.lines) == 1 and isinstance(recipe.steps[recipe.result].expression, ModelRef)
    return () if is_model else recipe.lines


def _with_step(recipe: Recipe, other: ModelRef, alpha: Rules, is_first: bool = False) -> Recipe:
    """One more step, of the result so far and another model; in the place of a step that is a model and nothing else."""
    refuse_captured(other.name, recipe)
    result, lines = recipe.steps[recipe.result], list(_kept_lines(recipe))
    operand: Node = StepRef(result.name) if lines else result.expression
    nodes = [node for line in recipe.lines for node in walk(line.expression)]
    taken = {line.name for line in lines} | {node.name for node in nodes if isinstance(node, ModelRef)} | {other.name}
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
