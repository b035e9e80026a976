"""One picture of many: what each source paints, what each step of a recipe makes of it, and what a weight does on its way.

Every picture is a preview of a plan, merged in memory, at one seed, so that what differs is what the weights do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError
from .host.base import GenParams, Host
from .plan import Plan

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

_CELL, _GAP, _GUTTER, _MARGIN = 128, 6, 200, 16
_TITLE, _TEXT, _LEADING = 20, 13, 17
_HEAD = 2 * _LEADING + _GAP
_INK, _PALE, _PAPER = "#1b1b1f", "#5c5c66", "#ffffff"
FORMATS = {".png": "PNG", ".webp": "WEBP"}
MOST_PIXELS_ON_A_SIDE = 16_383
"""Of a WebP file."""


@dataclass(frozen=True)
class Cell:
    """One picture of the sheet: the plan that makes it, and the prompt."""

    plan: Plan
    prompt: str


@dataclass(frozen=True)
class Section:
    """Pictures in rows and columns.

    Attributes:
        columns: what stands above each.
        rows: (what stands beside it, its cells for `paint_sections`) from top to bottom.
        caption: what stands below the title.
        size: width and height of a picture on the sheet.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    caption: str = ""
    size: tuple[int, int] = (_CELL, _CELL)


def paint_sections(
    host: Host, sections: Sequence[Section], params: GenParams, on_picture: Callable[[], None] = lambda: None
) -> list[list[list[Image]]]:
    """The pictures of each section's rows; all with `params` but for the prompt.

    Raises:
        MergeError: one of them cannot be made.
    """

    def paint(cell: Cell) -> Image:
        image = host.preview(cell.plan, replace(params, prompt=cell.prompt)).image
        on_picture()
        return image

    return [[[paint(cell) for cell in cells] for _, cells in section.rows] for section in sections]


def count_pictures(sections: Sequence[Section]) -> int:
    """How many pictures the sections have."""
    return sum(len(cells) for section in sections for _, cells in section.rows)


def draw_sheet(sections: Sequence[Section], painted: Sequence[Sequence[Sequence[Image]]]) -> Image:
    """The sections below each other, titled, as one RGB picture."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", size_of(sections), _PAPER)
    pen, top = ImageDraw.Draw(sheet), _MARGIN
    for section, rows in zip(sections, painted, strict=True):
        _draw_section(sheet, pen, section, rows, top)
        top += _height(section)
    return sheet


def size_of(sections: Sequence[Section]) -> tuple[int, int]:
    """Width and height of the sheet that the sections make."""
    width = max(_GUTTER + len(section.columns) * (section.size[0] + _GAP) for section in sections)
    return 2 * _MARGIN + width, 2 * _MARGIN + sum(_height(section) for section in sections)


def save_sheet(sheet: Image, path: Path) -> None:
    """Write a PNG, or what else the name ends with, beside its place and put it there when it is whole.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        sheet.save(temporary, FORMATS.get(path.suffix.lower(), "PNG"), optimize=True, quality=90)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _height(section: Section) -> int:
    above = _TITLE + _TEXT + _LEADING * bool(section.caption) + _head(section)
    return above + len(section.rows) * (section.size[1] + _GAP) + 2 * _MARGIN


def _head(section: Section) -> int:
    """What the words above the columns take."""
    lines = [len(list(_lines(column, _font(_TEXT), section.size[0]))) for column in section.columns]
    return max([_HEAD, *(count * _LEADING + _GAP for count in lines)])


def _draw_section(sheet: Image, pen: ImageDraw, section: Section, rows: Sequence[Sequence[Image]], top: int) -> None:
    title, text, (width, height) = _font(_TITLE), _font(_TEXT), section.size
    most = sheet.width - 2 * _MARGIN
    pen.text((_MARGIN, top), _fitted(section.title, title, most), _INK, title)
    top += _TITLE + _TEXT
    if section.caption:
        pen.text((_MARGIN, top - _TEXT // 2), _fitted(section.caption, text, most), _PALE, text)
        top += _LEADING
    left = _MARGIN + _GUTTER
    for number, column in enumerate(section.columns):
        for line, words in enumerate(_lines(column, text, width)):
            pen.text((left + number * (width + _GAP), top + line * _LEADING), words, _PALE, text)
    top += _head(section)
    for (name, _), images in zip(section.rows, rows, strict=True):
        most_lines = (height - height // 3) // _LEADING
        for line, words in enumerate(itertools.islice(_lines(name, text, _GUTTER - _GAP), most_lines)):
            pen.text((_MARGIN, top + height // 3 + line * _LEADING), words, _INK, text)
        for number, image in enumerate(images):
            sheet.paste(image.resize(section.size, resample=0), (left + number * (width + _GAP), top))
        top += height + _GAP


def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _lines(text: str, font: FreeTypeFont, width: int) -> Iterator[str]:
    """The words in lines that fit; a word that is too long is cut."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) > width and line:
            yield line
            longer = word
        line = _fitted(longer, font, width)
    yield line


def _fitted(text: str, font: FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}\u2026") > width:
        text = text[:-1]
    return f"{text}\u2026"
