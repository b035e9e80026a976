"""What of ours hangs on a request of the webui for pictures: the grid that it is for, and what our axes set in one cell.

The webui makes a copy of the request for each cell; the copies share their objects, so what is a cell's own is a new object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import MergeError

if TYPE_CHECKING:
    from ..architecture import Architecture
    from ..ui.cell_recipe import Coordinate

_GRID, _CELL = "chilly_grid", "chilly_cell"


@dataclass
class Grid:
    """What our axes set, and which cells have failed.

    Attributes:
        axes: the values of each, in the order of the webui's loops.
        given: (cost of an axis by itself, its values, the webui's option for it), what costs most first.
        again: recipes, in canonical text, that come again after others.
        moved_bytes: what its merges read and write; 0 where that is not known.
        text: of the recipe that they act on, as it was before the first cell.
        architectures: names of models to what they are.
        is_checked: whether all cells were looked at.
        count: of the cells, of which `drawn` have their picture.
        failures: number of a cell that was begun to why it has none.
        cells_seen: how many the webui has put together.
        pictures: of the cell that is made now, so far.
        on_end: called when the last cell was made.
    """

    axes: list[list[Coordinate]] = field(default_factory=list)
    given: list[tuple[float, list[Coordinate], Any]] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    moved_bytes: int = 0
    text: str = ""
    architectures: dict[tuple[str, ...], Architecture] = field(default_factory=dict)
    is_checked: bool = False
    count: int = 0
    drawn: set[int] = field(default_factory=set)
    failures: dict[int, str] = field(default_factory=dict)
    cells_seen: int = 0
    pictures: int = 0
    on_end: Callable[[], None] = lambda: None


def grid_of(p: Any) -> Grid | None:
    """The grid that a request, or the copy of it for a cell, belongs to."""
    found: Grid | None = getattr(p, _GRID, None)
    return found


def add_axis(p: Any, values: list[Coordinate], option: Any, cost: float) -> None:
    """Take the values of one more axis.

    Args:
        option: of the webui's script; its loop over the option that costs most is the outermost, as it is when all axes are read.
        cost: of the axis by itself.

    Raises:
        MergeError: there are none.
    """
    if not values:
        raise MergeError("an axis has no values. Write some, or take the axis out.")
    grid = grid_of(p) or Grid()
    setattr(p, _GRID, grid)
    grid.given = sorted([*grid.given, (cost, values, option)], key=lambda each: -each[0])
    nest(grid, range(len(grid.given)))


def nest(grid: Grid, order: Sequence[int]) -> None:
    """Give the webui's loops over our axes an order, the outermost first: numbers of `grid.given`."""
    grid.axes = [grid.given[number][1] for number in order]
    for (cost, _, _), number in zip(grid.given, order, strict=True):
        grid.given[number][2].cost = cost


def cell_of(p: Any) -> tuple[Coordinate, ...]:
    """What the axes set in a cell."""
    found: tuple[Coordinate, ...] = getattr(p, _CELL, ())
    return found


def add_value(p: Any, value: Coordinate) -> None:
    """Take what one more axis sets in a cell."""
    setattr(p, _CELL, (*cell_of(p), value))


def text_given(p: Any) -> str:
    """The recipe that came with a request; empty where none did."""
    script = next((each for each in getattr(p.scripts, "alwayson_scripts", ()) if hasattr(each, "takes_recipe")), None)
    given = (p.script_args or ())[script.args_from : script.args_to] if script is not None else ()
    return str(given[0] or "").strip() if given else ""
