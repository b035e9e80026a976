"""What a cell of a grid shows that has no picture: why. The webui leaves it black, and says it on its console alone.

Cells are known by what the webui says of its work before a picture is begun, "3 out of 12"; where it says something else, they
stay black.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from modules import shared

from .webui_request import Grid, grid_of

_CELL = re.compile(r"(\d{1,9}) out of (\d{1,9})")
_NUMBER = "chilly_cell_number"
_LETTER_SHARE, _LINE_SHARE = 0.55, 1.3
"""Of a font's size: the width of a letter, the height of a line."""
_SMALLEST, _LARGEST = 9, 24
_NOT_BEGUN = "not made: the plot was stopped before"
_NOT_DRAWN = "the webui made no picture. Its console says why."
_current: list[Grid] = []
"""The grid whose cells are made now, or which the webui puts together."""


def begin_cell(p: Any) -> None:
    """A picture is begun; where it is a cell, it has no picture until `end_cell`."""
    _current[:] = []
    grid, match = grid_of(p), _CELL.fullmatch(str(shared.state.job))
    if grid is None or match is None:
        return
    number, grid.count, grid.pictures = int(match[1]) - 1, int(match[2]), 0
    setattr(p, _NUMBER, number)
    grid.failures[number] = _NOT_DRAWN
    _current.append(grid)


def count_pictures(p: Any) -> None:
    """A batch of a cell was drawn; of several pictures the webui makes a grid of their own."""
    if grid := grid_of(p):
        grid.pictures += p.batch_size


def fail_cell(p: Any, said: str) -> None:
    """A cell has no picture, for this reason."""
    grid, number = grid_of(p), getattr(p, _NUMBER, None)
    if grid is not None and number is not None:
        grid.failures[number], grid.pictures = said, 0


def end_cell(p: Any) -> None:
    """A cell has its picture."""
    grid, number = grid_of(p), getattr(p, _NUMBER, None)
    if grid is not None and number is not None:
        grid.failures.pop(number, None)
        grid.drawn.add(number)
        grid.pictures = 0


def forget() -> None:
    """No grid is under way."""
    _current.clear()


def write_failures(params: Any) -> None:
    """Called by the webui for the pictures of a cell, where those are several; at the end for each sheet with its cells, and for
    all sheets together."""
    if not _current:
        return
    (grid,) = _current
    if grid.pictures == len(params.imgs):  # none are left of a cell that has ended
        return
    grid.on_end()
    for number, image in enumerate(params.imgs, grid.cells_seen):
        if number not in grid.drawn and image.convert("RGB").getbbox() is None:
            _write(image, grid.failures.get(number, _NOT_BEGUN))
    grid.cells_seen += len(params.imgs)
    if grid.cells_seen >= grid.count:
        _current.clear()


def _write(image: Any, said: str) -> None:
    from modules.images import get_font
    from PIL import ImageDraw

    width, height = image.size
    size = min(_LARGEST, max(_SMALLEST, width // 20))
    lines = textwrap.wrap(said, max(8, int(width / (size * _LETTER_SHARE))) - 1)[: max(1, int(height / (size * _LINE_SHARE)))]
    white: Any = (255, 255, 255)
    if image.mode == "P":  # as the first cell is where it has failed
        image.putpalette([0, 0, 0, 255, 255, 255])
        white = 1
    drawing = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        drawing.text((size // 2, int((number + 0.3) * size * _LINE_SHARE)), line, fill=white, font=get_font(size))
