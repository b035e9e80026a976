"""One picture of many: what each source paints, what each step of a recipe makes of it, and what a weight does on its way.

Every picture is a preview of a plan, merged in memory, at one seed, so that what differs is what the weights do.
"""

from __future__ import annotations

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
        rows: (what stands beside it, its cells) from top to bottom.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


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

    widest = max(len(section.columns) for section in sections)
    width = 2 * _MARGIN + _GUTTER + widest * (_CELL + _GAP)
    height = 2 * _MARGIN + sum(_height(section) for section in sections)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen, top = ImageDraw.Draw(sheet), _MARGIN
    for section, rows in zip(sections, painted, strict=True):
        _draw_section(sheet, pen, section, rows, top)
        top += _height(section)
    return sheet


def save_sheet(sheet: Image, path: Path) -> None:
    """Write a PNG beside its place and put it there when it is whole.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        sheet.save(temporary, "PNG", optimize=True)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _height(section: Section) -> int:
    return _TITLE + _TEXT + _HEAD + len(section.rows) * (_CELL + _GAP) + 2 * _MARGIN


def _draw_section(sheet: Image, pen: ImageDraw, section: Section, rows: Sequence[Sequence[Image]], top: int) -> None:
    title, text = _font(_TITLE), _font(_TEXT)
    pen.text((_MARGIN, top), section.title, _INK, title)
    top += _TITLE + _TEXT
    left = _MARGIN + _GUTTER
    for number, column in enumerate(section.columns):
        for line, words in enumerate(_lines(column, text, _CELL)):
            pen.text((left + number * (_CELL + _GAP), top + line * _LEADING), words, _PALE, text)
    top += _HEAD
    for (name, _), images in zip(section.rows, rows, strict=True):
        for line, words in enumerate(_lines(name, text, _GUTTER - _GAP)):
            pen.text((_MARGIN, top + _CELL // 3 + line * _LEADING), words, _INK, text)
        for number, image in enumerate(images):
            sheet.paste(image.resize((_CELL, _CELL), resample=0), (left + number * (_CELL + _GAP), top))
        top += _CELL + _GAP


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
