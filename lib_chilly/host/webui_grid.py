"""A grid of the webui's X/Y/Z plot: what our axes set, in which recipe, and a look at all of it before its first cell.

What belongs to a grid hangs on its request, of which the webui makes a copy for each cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..architecture import Architecture
from ..errors import Interrupted, MergeError, RecipeError
from ..plan import Plan, make_plan
from ..recipe import Recipe
from ..ui.cell_recipe import RECIPE, VALUE, Coordinate, cell_recipe
from ..ui.recipe_view import CurrentRecipe
from .webui_entry import room
from .webui_features import why_no_pictures
from .webui_merged import CHOSEN
from .webui_pictures import check_settings
from .webui_queue import is_interrupted
from .webui_script import CELL
from .webui_tensors import check_can_be_shown
from .webui_weights import has_own_vae

Cell = Sequence[Coordinate]
_GRID = "chilly_grid"
_MOST_READ = 10_000
"""Cells whose recipes are read before the first one is made; in those beyond, a mistake shows when their turn comes."""
_NO_RECIPE = (
    "there is no recipe that the axes could act on. Open one in the ChillyMerge tab, take the axis 'recipe', or give a text in "
    'the API: "alwayson_scripts": {"ChillyMerge": {"args": [TEXT]}}.'
)


@dataclass
class Grid:
    """What our axes set, and which cells have failed.

    Attributes:
        axes: the values of each.
        failures: why cells have no picture, in their order.
    """

    axes: list[list[Coordinate]] = field(default_factory=list)
    is_checked: bool = False
    failures: list[str] = field(default_factory=list)


def grid_of(p: Any) -> Grid | None:
    """The grid that a request, or the copy of it for a cell, belongs to."""
    found: Grid | None = getattr(p, _GRID, None)
    return found


def add_axis(p: Any, values: list[Coordinate]) -> None:
    """Take the values of one more axis."""
    if grid_of(p) is None:
        setattr(p, _GRID, Grid())
    p.chilly_grid.axes.append(values)


def add_to_cell(p: Any, value: Coordinate) -> None:
    """Take what an axis sets in a cell.

    Raises:
        MergeError: before the first cell: something in the grid cannot be.
    """
    grid = grid_of(p)
    if grid is not None and not grid.is_checked:
        _check(p, grid)
        grid.is_checked = True
    setattr(p, CELL, (*cell_of(p), value))  # a new one: copies of a request share their objects


def cell_of(p: Any) -> tuple[Coordinate, ...]:
    """What the axes set in a cell."""
    found: tuple[Coordinate, ...] = getattr(p, CELL, ())
    return found


def text_given(p: Any) -> str:
    """The recipe that came with a request; empty where none did."""
    script = next((each for each in getattr(p.scripts, "alwayson_scripts", ()) if hasattr(each, "takes_recipe")), None)
    given = (p.script_args or ())[script.args_from : script.args_to] if script is not None else ()
    return str(given[0] or "") if given else ""


def recipe_of(p: Any, cell: Cell) -> Recipe:
    """The recipe of a cell: of the axis of recipes, else the request's, else that of the page.

    Raises:
        MergeError: there is none, or it cannot be what the axes say.
    """
    text = ""
    if not any(each.kind == RECIPE for each in cell):
        text = text_given(p) or room().one(CurrentRecipe, CurrentRecipe).text or room().recipe
        if not text.strip():
            raise RecipeError(_NO_RECIPE)
    return cell_recipe(text, cell, _architecture_of)


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
    check_settings({CHOSEN: None})
    if (other := p.override_settings.get(CHOSEN)) is not None:
        raise MergeError(
            f"the model '{str(other)[:80]}' is chosen for this picture, by an axis or by its override settings, and a merge too. "
            "Leave one out."
        )


def _architecture_of(recipe: Recipe) -> Architecture:
    return plan_of(recipe).architecture


def _check(p: Any, grid: Grid) -> None:
    """Read the recipe of every cell, and plan those that may need other files, keys or blocks."""
    check_request(p)
    for cell in itertools.islice(itertools.product(*grid.axes), _MOST_READ):
        recipe_of(p, cell)
        if is_interrupted():
            raise Interrupted("stopped before the first cell.")
    planned = set()
    for cell in _beside_the_first(grid.axes):
        values = [each for each in cell if each.kind == VALUE]
        if cell != tuple(axis[0] for axis in grid.axes) and not any(isinstance(each.value, str) for each in values):
            continue
        recipe = recipe_of(p, cell)
        if recipe not in planned:
            planned.add(recipe)
            plan_of(recipe)


def _beside_the_first(axes: Sequence[Sequence[Coordinate]]) -> Iterator[tuple[Coordinate, ...]]:
    """The first cell, and those that differ from it in one axis."""
    first = tuple(axis[0] for axis in axes)
    yield first
    for number, axis in enumerate(axes):
        yield from ((*first[:number], value, *first[number + 1 :]) for value in axis[1:])
