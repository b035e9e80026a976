"""Pictures of likeness: the U of a network's blocks, curves over the blocks, a matrix with its dendrogram."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .canvas import (
    FAINT,
    GRID,
    INK,
    LINES,
    NONE,
    PALE,
    SHAPES,
    Box,
    Canvas,
    Dot,
    Stroke,
    Words,
    colour,
    fitted,
    ink_on,
    text_width,
)
from .dendrogram import below_100
from .errors import OutputError
from .similarity import MEASURES
from .similarity_words import Matrix, Ranking

_MARGIN, _GAP, _HEAD, _ROW = 24, 4, 52, 22
_CELL, _MIDDLE, _ACROSS = 92, 92, 12
_U_WIDTH = 2 * _CELL + _MIDDLE + 2 * _GAP
_MOST_U, _MOST_CURVES, _IN_A_ROW = 6, 8, 3
_CURVES_HEIGHT = 300
_LEAST_SPAN = 0.001
_NUMBERED = re.compile(r"(IN|OUT)\d\d")
Shade = Callable[[float], str]


def ranking_picture(ranking: Ranking) -> Canvas:
    """The blocks of the most alike models as they lie in the network, and all models' curves over the blocks."""
    with_figures = [row for row in ranking.rows if row[1].blocks]
    if not with_figures:
        raise OutputError("there is nothing to draw: no block has a figure.")
    ranking = replace(ranking, rows=with_figures)
    shown = with_figures[:_MOST_U]
    figures = [value for _, each in with_figures[:_MOST_CURVES] for value in each.blocks.values()]
    low, high = _limits(figures, MEASURES[ranking.measure].unit)
    columns = min(len(shown), _IN_A_ROW)
    heights = [_blocks_height(each.blocks) for _, each in shown]
    rows = [max(heights[start : start + columns]) for start in range(0, len(shown), columns)]
    block_width = max(_blocks_width(each.blocks) for _, each in shown)
    width = 2 * _MARGIN + max(760, columns * block_width + (columns - 1) * _MARGIN)
    top = _MARGIN + _HEAD
    canvas = Canvas(width, top + sum(rows) + (len(rows) + 1) * _MARGIN + _CURVES_HEIGHT)
    unit = MEASURES[ranking.measure].unit
    _title(canvas, f"How alike {ranking.base}: {ranking.measure}{unit and ', ' + unit}", low, high)
    for number, (name, each) in enumerate(shown):
        left = _MARGIN + number % columns * (block_width + _MARGIN)
        place = top + sum(rows[: number // columns]) + number // columns * _MARGIN
        total = each.totals["all"]
        said = "" if total is None else f"  {_figure(total)}"
        canvas.shapes.append(Words(left, place + 12, fitted(name, block_width - text_width(said, 13), 13) + said, 13))
        _draw_blocks(canvas, each.blocks, left, place + _ROW, lambda value: colour(_share(value, low, high)))
    _draw_curves(canvas, ranking, top + sum(rows) + (len(rows) + 1) * _MARGIN, low, high)
    return canvas


def matrix_picture(matrix: Matrix) -> Canvas:
    """All against all, in the order of the dendrogram beside it."""
    order = matrix.order()
    low, high = _limits(list(matrix.likeness.values()), MEASURES[matrix.measure].unit)
    count, cell = len(order), 56 if len(order) <= 14 else 26
    names = [fitted(f"{place + 1}  {matrix.names[number]}", 240) for place, number in enumerate(order)]
    left = _MARGIN + 12 + max(text_width(name) for name in names)
    top, tree = _MARGIN + _HEAD + 20, left + count * cell + _MARGIN
    canvas = Canvas(max(tree + 300 + _MARGIN, 760), top + count * cell + 40 + _MARGIN)
    unit = MEASURES[matrix.measure].unit
    _title(canvas, f"Each against each: {matrix.measure}, total {matrix.by}{unit and ', ' + unit}", low, high)
    for row, a in enumerate(order):
        middle = top + row * cell + cell / 2 + 4
        canvas.shapes += [Words(left - 8, middle, names[row], anchor="end")]
        canvas.shapes += [Words(left + row * cell + cell / 2, top - 7, str(row + 1), anchor="middle", fill=PALE)]
        for column, b in enumerate(order):
            value = None if a == b else matrix.found[min(a, b), max(a, b)].totals[matrix.by]
            fill = NONE if value is None else colour(_share(value, low, high))
            canvas.shapes.append(Box(left + column * cell, top + row * cell, cell - 1, cell - 1, fill))
            if value is not None and cell > 40:
                words = Words(left + column * cell + cell / 2, middle, _figure(value), 11, "middle", ink_on(fill))
                canvas.shapes.append(words)
    _draw_tree(canvas, matrix, order, tree, top, cell, (low, high))
    return canvas


def _draw_tree(
    canvas: Canvas, matrix: Matrix, order: Sequence[int], left: float, top: float, cell: float, limits: tuple[float, float]
) -> None:
    """From the models at the left to the likeness at which groups meet."""
    width, bottom = 290.0, top + len(order) * cell
    low, high = limits

    def across(value: float) -> float:
        return left + width * (1 - _share(value, low, high))

    for tick in _ticks(low, high):
        canvas.shapes += [Stroke([(across(tick), top), (across(tick), bottom)], GRID)]
        canvas.shapes += [Words(across(tick), bottom + 16, f"{tick:g}", 11, "middle", PALE)]
    canvas.shapes.append(Words(left + width / 2, bottom + 34, "joined at (average linkage)", 11, "middle", PALE))
    ends: dict[tuple[int, ...], tuple[float, float]] = {
        (number,): (left, top + row * cell + cell / 2) for row, number in enumerate(order)
    }
    for join in matrix.joins():
        (x_a, y_a), (x_b, y_b) = ends[join.left], ends[join.right]
        x = max(across(join.likeness), x_a, x_b)
        canvas.shapes.append(Stroke([(x_a, y_a), (x, y_a), (x, y_b), (x_b, y_b)], INK, 1.5))
        ends[join.left + join.right] = (x, (y_a + y_b) / 2)


def _draw_curves(canvas: Canvas, ranking: Ranking, top: float, low: float, high: float) -> None:
    shown = ranking.rows[:_MOST_CURVES]
    lanes = list(dict.fromkeys(lane for _, each in shown for lane in each.blocks))
    lanes.sort(key=lambda lane: max(list(each.blocks).index(lane) for _, each in shown if lane in each.blocks))
    label = min(220.0, max(text_width(name) for name, _ in shown) + 26)
    left, right, bottom = _MARGIN + 48.0, canvas.width - _MARGIN - label, top + _CURVES_HEIGHT - 56

    def at(number: int, value: float) -> tuple[float, float]:
        return left + (right - left) * (number + 0.5) / len(lanes), bottom - (bottom - top) * _share(value, low, high)

    canvas.shapes.append(Words(_MARGIN, top - 14, "By block", 13))
    for tick in _ticks(low, high):
        y = at(0, tick)[1]
        canvas.shapes += [Stroke([(left, y), (right, y)], GRID), Words(left - 8, y + 4, f"{tick:g}", 11, "end", PALE)]
    every = math.ceil(len(lanes) * 18 / (right - left))  # in two rows
    for number, lane in enumerate(lanes):
        if number % every == 0:
            canvas.shapes.append(Words(at(number, low)[0], bottom + 16 + 12 * (number // every % 2), lane, 10, "middle", PALE))
    for number, (name, each) in enumerate(shown):
        points = [at(place, each.blocks[lane]) for place, lane in enumerate(lanes) if lane in each.blocks]
        line, shape = LINES[number % len(LINES)], SHAPES[number % len(SHAPES)]
        canvas.shapes += [Stroke(points, line, 1.75), *(Dot(x, y, line, shape) for x, y in points)]
        y = top + 17 * number
        canvas.shapes += [Dot(right + 10, y, line, shape), Words(right + 18, y + 4, fitted(name, label - 18))]
    if len(ranking.rows) > len(shown):
        said = f"The {len(shown)} most alike of {len(ranking.rows)} models."
        canvas.shapes.append(Words(left, bottom + 46, said, 11, fill=PALE))


def _title(canvas: Canvas, text: str, low: float, high: float) -> None:
    """A heading, and the scale of colours below it."""
    canvas.shapes.append(Words(_MARGIN, _MARGIN + 12, fitted(text, canvas.width - 2 * _MARGIN, 16), 16))
    left, steps, width = _MARGIN + text_width(f"{low:g}", 11) + 8, 60, 4
    canvas.shapes.append(Words(left - 8, _MARGIN + 36, f"{low:g}", 11, "end", PALE))
    canvas.shapes += [
        Box(left + step * width, _MARGIN + 26, width + (step < steps - 1), 12, colour(step / (steps - 1)))
        for step in range(steps)
    ]
    canvas.shapes.append(Words(left + steps * width + 8, _MARGIN + 36, f"{high:g}", 11, fill=PALE))


def _is_u(blocks: Mapping[str, float]) -> bool:
    return any(map(_NUMBERED.fullmatch, blocks))


def _lanes(blocks: Mapping[str, float]) -> list[str]:
    """What is drawn: also the blocks of a U-Net that have no figure."""
    if not _is_u(blocks):
        return list(blocks)
    depth = 1 + max(int(lane[-2:]) for lane in blocks if _NUMBERED.fullmatch(lane))
    core = [*(f"IN{n:02}" for n in range(depth)), "M00", *(f"OUT{n:02}" for n in range(depth))]
    return [*(lane for lane in blocks if lane not in core), *core]


def _places(blocks: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Where a lane's cell lies: IN down on the left, M00 below, OUT up on the right, all others above; or in rows."""
    lanes = _lanes(blocks)
    if not _is_u(blocks):
        return {lane: (n % _ACROSS * (_CELL + _GAP), n // _ACROSS * (_ROW + _GAP)) for n, lane in enumerate(lanes)}
    depth = sum(lane.startswith("IN") for lane in lanes)
    others = lanes[: -2 * depth - 1]
    above = math.ceil(len(others) / 3) * (_ROW + _GAP) + (_ROW / 2 if others else 0)
    found: dict[str, tuple[float, float]] = {
        lane: (n % 3 * (_CELL + _GAP), n // 3 * (_ROW + _GAP)) for n, lane in enumerate(others)
    }
    for n in range(depth):
        found[f"IN{n:02}"] = (0, above + n * (_ROW + _GAP))
        found[f"OUT{n:02}"] = (2 * (_CELL + _GAP), above + (depth - 1 - n) * (_ROW + _GAP))
    return found | {"M00": (_CELL + _GAP, above + depth * (_ROW + _GAP))}


def _blocks_height(blocks: Mapping[str, float]) -> float:
    return _ROW + max(y for _, y in _places(blocks).values()) + _ROW


def _blocks_width(blocks: Mapping[str, float]) -> float:
    return max(_U_WIDTH if _is_u(blocks) else 0, max(x for x, _ in _places(blocks).values()) + _CELL)


def _draw_blocks(canvas: Canvas, blocks: Mapping[str, float], left: float, top: float, shade: Shade) -> None:
    for lane, (x, y) in _places(blocks).items():
        fill = shade(blocks[lane]) if lane in blocks else NONE
        ink = ink_on(fill) if lane in blocks else FAINT
        canvas.shapes += [Box(left + x, top + y, _CELL, _ROW, fill), Words(left + x + 5, top + y + 15, lane, 11, fill=ink)]
        if lane in blocks:
            canvas.shapes.append(Words(left + x + _CELL - 5, top + y + 15, _figure(blocks[lane]), 11, "end", ink))


def _limits(values: Sequence[float], unit: str) -> tuple[float, float]:
    """The ends of the scale: round numbers around the figures; 100 where they are percentages."""
    most = 100.0 if unit else max(values, default=1.0)
    least = min(*values, most - _LEAST_SPAN, most)
    step = 10.0 ** math.floor(math.log10(most - least)) / 2
    return math.floor(least / step) * step, most if unit else math.ceil(most / step) * step


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between both, some five of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [round(step * number, 10) for number in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 1.0


def _figure(value: float) -> str:
    return below_100(value, 2 if value < 99.995 or value >= 100 else 4)
