"""Points between points that are known by their dot products or distances alone: each is a weighted sum of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_ROUNDS = 1000
"""The most steps that are taken. A few are enough, but hundreds where a median lies beside one of its points."""

_NEAR = 1e-12
"""What counts as no distance, beside the largest one."""

_OPPOSITE = -math.cos(1e-4)
"""Below that cosine, 1e-4 radians from a half turn, vectors count as opposite: the arcs between them go every way."""

Table = Sequence[Sequence[float]]


def shares(weights: Sequence[float]) -> list[float]:
    """Weights that add to 1; those below 0 count as 0, and where all do the first is taken."""
    kept = [max(weight, 0.0) for weight in weights]
    total = sum(kept)
    return [weight / total for weight in kept] if total > 0 else [1.0, *(0.0 for _ in kept[1:])]


def on_sphere(dots: Table, weights: Sequence[float]) -> list[float]:
    """The factors of the vectors' Karcher mean: the direction from which the way to theirs adds to nothing, at their mean length.

    A vector that is 0 has no direction. Where they have no direction in common, or one
    is opposite to it, it is the weighted mean.

    Args:
        dots: of all pairs.
        weights: that add to 1.
    """
    lengths = [math.sqrt(max(row[number], 0.0)) for number, row in enumerate(dots)]
    used = [number for number, length in enumerate(lengths) if length > 0 and weights[number] > 0]
    cosines = [[dots[one][other] / lengths[one] / lengths[other] for other in used] for one in used]
    pull = shares([weights[number] for number in used]) if used else []
    if not used or _size(cosines, pull) < 1e-6 or (len(used) == 2 and cosines[0][1] < _OPPOSITE):
        return list(weights)
    point = _of_length_one(cosines, pull)
    for _ in range(_ROUNDS):
        near = [min(1.0, max(-1.0, value)) for value in _times(cosines, point)]
        if min(near) < _OPPOSITE:
            return list(weights)
        sines = [math.sqrt(1 - value * value) for value in near]
        bends = [math.atan2(sine, value) / sine if sine > 1e-9 else 1.0 for sine, value in zip(sines, near, strict=True)]
        forces = [weight * bend for weight, bend in zip(pull, bends, strict=True)]
        back = sum(force * value for force, value in zip(forces, near, strict=True))
        way = [force - back * place for force, place in zip(forces, point, strict=True)]
        size = _size(cosines, way)
        if size < _NEAR:
            break
        step = math.sin(size) / size
        point = _of_length_one(cosines, [math.cos(size) * place + step * part for place, part in zip(point, way, strict=True)])
    mean = sum(weight * length for weight, length in zip(weights, lengths, strict=True))
    found = [0.0] * len(weights)
    for number, place in zip(used, point, strict=True):
        found[number] = place * mean / lengths[number]
    return found


def of_least_way(squares: Table, weights: Sequence[float]) -> list[float]:
    """The factors, which add to 1, of the points' geometric median, to which the weighted distances add to the least.

    It is one of the points where that pulls no less than all others together, else it is found by Weiszfeld's steps from the
    mean.

    Args:
        squares: of the distances of all pairs.
        weights: that add to 1.
    """
    numbers = range(len(weights))
    for point in numbers:
        own = sum(weights[other] for other in numbers if squares[point][other] == 0)
        if own > 0 and _pull(squares, weights, point) < own * (1 - _NEAR):
            return [float(number == point) for number in numbers]
    place = list(weights)
    least = _NEAR * math.sqrt(max(max(row) for row in squares))
    for _ in range(_ROUNDS):
        ways = _times(squares, place)
        half = sum(share * way for share, way in zip(place, ways, strict=True)) / 2
        distances = [max(math.sqrt(max(way - half, 0.0)), least) for way in ways]
        moved = shares([weight / distance for weight, distance in zip(weights, distances, strict=True)])
        change = sum(abs(new - old) for new, old in zip(moved, place, strict=True))
        place = moved
        if change < 1e-10:
            break
    return place


def _pull(squares: Table, weights: Sequence[float], point: int) -> float:
    """How strongly all others pull at a point."""
    row = squares[point]
    others = [number for number, square in enumerate(row) if square > 0]
    total = 0.0
    for one in others:
        for other in others:
            along = (row[one] + row[other] - squares[one][other]) / 2 / math.sqrt(row[one]) / math.sqrt(row[other])
            total += weights[one] * weights[other] * along
    return math.sqrt(max(total, 0.0))


def _times(table: Table, vector: Sequence[float]) -> list[float]:
    return [sum(value * factor for value, factor in zip(row, vector, strict=True)) for row in table]


def _size(table: Table, vector: Sequence[float]) -> float:
    return math.sqrt(max(sum(one * other for one, other in zip(vector, _times(table, vector), strict=True)), 0.0))


def _of_length_one(table: Table, vector: Sequence[float]) -> list[float]:
    size = _size(table, vector)
    return [value / size for value in vector] if size > 0 else list(vector)
