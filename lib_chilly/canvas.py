"""A drawing of a few kinds of shapes, as SVG by itself or as PNG by Pillow; its colours are those that all eyes tell apart."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    from PIL.Image import Image

INK, PALE, FAINT, PAPER, GRID, NONE = "#1b1b1f", "#5c5c66", "#8a8a94", "#ffffff", "#e3e3e8", "#f1f1f4"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1b1f", "#8a8678")
"""Okabe and Ito's colours, which all eyes tell apart, without their yellow: it is not seen on white."""
_CIVIDIS = (
    *("#00224e", "#0a2f6d", "#2b3f6d", "#434f6c", "#575d6d", "#686c70", "#7b7b78", "#8f8b77", "#a59c74", "#bcae6c", "#d3c164"),
    *("#ecd552", "#fee838"),
)
_PNG_SCALE = 2
_PILLOW = (10, 1)
"""From this version on it writes in every size."""


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True)
class Words:
    """Text; `anchor` is "start", "middle" or "end", and y its baseline."""

    x: float
    y: float
    text: str
    size: float = 12
    anchor: str = "start"
    fill: str = INK


@dataclass(frozen=True)
class Stroke:
    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A mark of a curve; curves differ in `shape` too, not in colour alone."""

    x: float
    y: float
    colour: str
    shape: str = "circle"
    radius: float = 3.5

    def corners(self) -> list[tuple[float, float]]:
        """Of all but circles."""
        r = self.radius
        around = {
            "square": ((-r, -r), (r, -r), (r, r), (-r, r)),
            "triangle": ((0, -r * 1.2), (r * 1.1, r * 0.9), (-r * 1.1, r * 0.9)),
            "diamond": ((0, -r * 1.35), (r * 1.35, 0), (0, r * 1.35), (-r * 1.35, 0)),
        }[self.shape]
        return [(self.x + dx, self.y + dy) for dx, dy in around]


SHAPES = ("circle", "square", "triangle", "diamond")


@dataclass
class Canvas:
    """The drawing, in pixels from its upper left corner."""

    width: float
    height: float
    shapes: list[Box | Words | Stroke | Dot] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it beside its place, and put it there when it is whole.

        Raises:
            OutputError: the name ends neither in .svg nor in .png, there is no Pillow, or it cannot be written.
        """
        check_picture(path)
        temporary = path.with_name(f".{path.name}.partial")
        try:
            if path.suffix.lower() == ".svg":
                temporary.write_text(self.svg(), "utf-8")
            else:
                self.image().save(temporary, "PNG", optimize=True)
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from None
        finally:
            temporary.unlink(missing_ok=True)

    def svg(self) -> str:
        """The drawing as a text of its own."""
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">',
                f'<rect width="100%" height="100%" fill="{PAPER}"/>',
                *map(_as_svg, self.shapes),
                "</svg>\n",
            ]
        )

    def image(self) -> Image:
        """The drawing as a picture, twice as fine."""
        from PIL import Image, ImageDraw, ImageFont

        scale = _PNG_SCALE
        found = Image.new("RGB", (round(self.width * scale), round(self.height * scale)), PAPER)
        pen = ImageDraw.Draw(found)
        for shape in self.shapes:
            if isinstance(shape, Box):
                right, bottom = shape.x + shape.width, shape.y + shape.height
                pen.rectangle((shape.x * scale, shape.y * scale, right * scale - 1, bottom * scale - 1), shape.fill)
            elif isinstance(shape, Words):
                font = ImageFont.load_default(shape.size * scale)
                anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
                pen.text((shape.x * scale, shape.y * scale), _clean(shape.text), shape.fill, font, anchor)
            elif isinstance(shape, Stroke):
                pen.line([(x * scale, y * scale) for x, y in shape.points], shape.colour, round(shape.width * scale), "curve")
            elif shape.shape == "circle":
                x, y, r = shape.x * scale, shape.y * scale, shape.radius * scale
                pen.ellipse((x - r, y - r, x + r, y + r), shape.colour)
            else:
                pen.polygon([(x * scale, y * scale) for x, y in shape.corners()], shape.colour)
        return found


def check_picture(path: Path) -> None:
    """OutputError where no picture can be written under this name."""
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise OutputError(f"'{path.name}' is no name for a picture; end it in .svg or .png.")
    if suffix == ".png" and (lacking := lacking_pillow()):
        raise OutputError(f"a .png is drawn by {lacking}; name the picture '.svg', or install that.")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"the folder '{path.absolute().parent}' does not exist.")


def lacking_pillow() -> str:
    """ "" where there is a Pillow that writes in every size; else which is needed, and which there is."""
    needed = f"Pillow {'.'.join(map(str, _PILLOW))}"
    try:
        import PIL
    except ImportError:
        return f"{needed}, which is not installed"
    found = tuple(int(part) for part in re.findall(r"\d+", PIL.__version__)[:2])
    return "" if found >= _PILLOW else f"{needed} or newer, and {PIL.__version__} is installed"


def colour(share: float) -> str:
    """Cividis at 0 to 1, from dark blue to yellow."""
    place = min(max(share, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    low = min(int(place), len(_CIVIDIS) - 2)
    mixed = (
        round(int(_CIVIDIS[low][at : at + 2], 16) * (low + 1 - place) + int(_CIVIDIS[low + 1][at : at + 2], 16) * (place - low))
        for at in (1, 3, 5)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink_on(fill: str) -> str:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = (int(fill[at : at + 2], 16) for at in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def text_width(text: str, size: float = 12) -> float:
    """About how wide a text is."""
    return sum(size * (1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.56) for letter in text)


def fitted(text: str, width: float, size: float = 12) -> str:
    """The text, its middle left out where it is too wide: names that begin alike often end apart."""
    text = _clean(text)
    if text_width(text, size) <= width:
        return text
    kept = len(text)
    while kept > 1 and text_width(text[: kept // 2] + "\u2026" + text[len(text) - kept // 2 :], size) > width:
        kept -= 1
    return text[: kept // 2] + "\u2026" + text[len(text) - kept // 2 :]


def _clean(text: str) -> str:
    """Names come out of files: nothing that no picture shows, and nothing that XML forbids."""
    return "".join(letter if letter.isprintable() else "\u00b7" for letter in text)


def _as_svg(shape: Box | Words | Stroke | Dot) -> str:
    if isinstance(shape, Box):
        return f'<rect x="{shape.x:g}" y="{shape.y:g}" width="{shape.width:g}" height="{shape.height:g}" fill="{shape.fill}"/>'
    if isinstance(shape, Words):
        place = f'x="{shape.x:g}" y="{shape.y:g}" font-size="{shape.size:g}" text-anchor="{shape.anchor}"'
        return f'<text {place} fill="{shape.fill}">{html.escape(_clean(shape.text))}</text>'
    if isinstance(shape, Stroke):
        points = " ".join(f"{x:g},{y:g}" for x, y in shape.points)
        return f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"/>'
    if shape.shape == "circle":
        return f'<circle cx="{shape.x:g}" cy="{shape.y:g}" r="{shape.radius:g}" fill="{shape.colour}"/>'
    return f'<polygon points="{" ".join(f"{x:g},{y:g}" for x, y in shape.corners())}" fill="{shape.colour}"/>'
