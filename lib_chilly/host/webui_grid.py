"""A grid of the webui's X/Y/Z plot: what our axes set, in which recipe, and a look at all of it before its first cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, cast

from ..architecture import Architecture
from ..errors import Interrupted, MergeError, RecipeError
from ..grid_plan import Merges, best_nesting, spell_bytes, spell_seconds
from ..header import counted
from ..plan import Plan, make_plan
from ..recipe import Recipe
from ..ui.cell_recipe import RECIPE, Coordinate, cell_recipe
from ..ui.recipe_view import CurrentRecipe
from .merge_pace import merging_seconds
from .webui import WebuiHost
from .webui_entry import room
from .webui_features import why_no_pictures
from .webui_merged import CHOSEN, MARK
from .webui_pictures import check_settings
from .webui_queue import is_interrupted
from .webui_request import Grid, add_value, cell_of, grid_of, nest, text_given
from .webui_tensors import check_can_be_shown
from .webui_weights import has_own_vae

Cell = Sequence[Coordinate]
_MOST_READ = 10_000
"""Cells whose recipes are read before the first one is made; in those beyond, a mistake shows when their turn comes."""
_MOST_COMPARED = 4
"""Values of an axis that are planned to see what it changes."""
_NO_RECIPE = (
    "there is no recipe that the axes could act on. Open one in the ChillyMerge tab, take the axis 'recipe', or give a text in "
    'the API: "alwayson_scripts": {"ChillyMerge": {"args": [TEXT]}}.'
)


def add_to_cell(p: Any, value: Coordinate) -> None:
    """Take what an axis sets in a cell.

    Raises:
        MergeError: before the first cell: something in the grid cannot be.
    """
    grid = grid_of(p)
    if grid is not None and not grid.is_checked:
        _check(p, grid)
        grid.is_checked = True
    add_value(p, value)


def nest_best(p: Any) -> None:
    """Let the webui change least often what changes most of the merge, as the values of the axes are; called before its loops.

    Its loops are nested and go through the values as they are written: their nesting is all that can be chosen.
    """
    grid = grid_of(p)
    assert grid is not None
    grid.moved_bytes = 0
    merges, first = Merges(), tuple(axis[0] for axis in grid.axes)
    text = Grid(text=_text_of(p), architectures=grid.architectures)
    numbers = []
    try:
        for place, axis in enumerate(grid.axes):
            cells = [(*first[:place], value, *first[place + 1 :]) for value in axis[:_MOST_COMPARED]]
            found = [merges.add(plan_of(_recipe_of_cell(text, cell))) for cell in cells]
            numbers.append(found + [found[1 + after % (len(found) - 1)] for after in range(len(axis) - len(found))])
    except MergeError:  # which is said before the first cell; another axis may still come, too
        return
    order, grid.moved_bytes = best_nesting(merges, numbers)
    nest(grid, order)


def recipe_of(p: Any) -> Recipe:
    """The recipe of a picture.

    Raises:
        MergeError: there is none, or it cannot be what the axes say.
    """
    return _recipe_of_cell(grid_of(p) or Grid(text=_text_of(p)), cell_of(p))


def plan_of(recipe: Recipe) -> Plan:
    """The plan of a recipe.

    Raises:
        MergeError: it cannot be carried out, or the webui could make no picture of it.
    """
    plan = make_plan(recipe, room().host.library())
    check_can_be_shown(plan, has_own_vae())
    return plan


def check_request(p: Any) -> None:
    """MergeError where no picture of a merge can be made, or where something else has chosen the model of it."""
    if why := why_no_pictures():
        raise MergeError(why)
    check_settings([CHOSEN])
    other = p.override_settings.get(CHOSEN)
    if other is not None and not str(other).startswith(MARK):  # that of a merge was pasted with a picture of it
        raise MergeError(
            f"the model '{str(other)[:80]}' is chosen for this picture, by an axis or by its override settings, and a merge too. "
            "Leave one out."
        )


def _text_of(p: Any) -> str:
    """The recipe that a request brings, else that of the page."""
    return text_given(p) or room().one(CurrentRecipe, CurrentRecipe).text.strip() or room().recipe


def _recipe_of_cell(grid: Grid, cell: Cell) -> Recipe:
    if not grid.text and not any(each.kind == RECIPE for each in cell):
        raise RecipeError(_NO_RECIPE)

    def architecture(recipe: Recipe) -> Architecture:
        names = tuple(model.name for model in recipe.models())
        if names not in grid.architectures:
            grid.architectures[names] = plan_of(recipe).architecture
        return grid.architectures[names]

    return cell_recipe(grid.text, cell, architecture)


def _check(p: Any, grid: Grid) -> None:
    """Read the recipe of every cell, and plan those that may need other files, keys or blocks."""
    check_request(p)
    cast(WebuiHost, room().host).weights.tidy()  # of a grid that was stopped
    grid.text = _text_of(p)
    before, seen = "", set[str]()
    for cell in itertools.islice(itertools.product(*grid.axes), _MOST_READ):
        text = _recipe_of_cell(grid, cell).canonical()
        if text != before and text in seen:
            grid.again.add(text)
        before = text
        seen.add(text)
        if is_interrupted():
            raise Interrupted("stopped before the first cell.")
    planned = set[Recipe]()
    for changed, beside in _beside_the_first(grid.axes):
        if planned and isinstance(changed.value, Fraction):  # needs nothing else than the first cell does
            continue
        recipe = _recipe_of_cell(grid, beside)
        if recipe not in planned:
            planned.add(recipe)
            plan_of(recipe)
    if grid.moved_bytes:
        takes = spell_seconds(merging_seconds(grid.moved_bytes))
        print(
            f"ChillyMerge: the grid has {counted(len(seen), 'merge')}, which read and write {spell_bytes(grid.moved_bytes)} "
            f"and take {takes} beside the pictures."
        )


def _beside_the_first(axes: Sequence[Sequence[Coordinate]]) -> Iterator[tuple[Coordinate, Cell]]:
    """The first cell, and those that differ from it in one value; with that value."""
    first = tuple(axis[0] for axis in axes)
    yield first[0], first
    for number, axis in enumerate(axes):
        yield from ((value, (*first[:number], value, *first[number + 1 :])) for value in axis[1:])
