"""What a cell of a grid shows that has no picture: why. The webui leaves it black, and says it on its console alone.

Cells are known by what the webui says of its work, "3 out of 12"; where it says something else, they stay black.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from modules import shared

from .webui_request import Grid, grid_of

_PLACE = re.compile(r"(\d{1,9}) out of (\d{1,9})")
_LETTER_SHARE, _LINE_SHARE = 0.55, 1.3
"""Of a font's size: the width of a letter, the height of a line."""
_SMALLEST, _LARGEST = 9, 24
_ENDED: list[Grid] = []
"""The grid whose last cell has ended, and which the webui puts together now."""


def remember_failure(p: Any, said: str) -> None:
    """A cell has no picture, for this reason."""
    grid, place = grid_of(p), _place()
    if grid is not None and place is not None:
        grid.failures[place[0] - 1] = said


def end_of_cell(p: Any) -> bool:
    """A cell has ended; whether it was the last one, after which the webui puts the grid together."""
    grid, place = grid_of(p), _place()
    if grid is None or place is None or place[0] != place[1]:
        return False
    _ENDED[:] = [grid] if grid.failures else []
    return True


def write_failures(params: Any) -> None:
    """Called by the webui for each sheet of a grid, with its cells; then for all sheets together."""
    if not _ENDED:
        return
    grid = _ENDED[0]
    for number, image in enumerate(params.imgs, grid.cells_seen):
        if number in grid.failures and image.convert("RGB").getbbox() is None:
            _write(image, grid.failures[number])
    grid.cells_seen += len(params.imgs)
    if grid.cells_seen > max(grid.failures):
        _ENDED.clear()


def _place() -> tuple[int, int] | None:
    """(number of the cell that is made now, of how many)."""
    match = _PLACE.fullmatch(str(shared.state.job))
    return (int(match[1]), int(match[2])) if match else None


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
