"""In which order the merges of a grid are best made, and how much they move; from headers alone.

Each merge goes into the tensors of the one before it, and only keys whose sum or sources are others are merged again. So cells
with the same weights share one merge, and merges that differ in a block stand side by side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from .key_job import KeyJob
from .origins import origins
from .plan import Plan

_MOST_EXACT = 9
"""Merges of which the best order is looked for among all; of more it is bettered step by step."""
_MOST_SWEEPS = 30
_MOST_BETTERED = 1500
"""Merges beyond which the order is the given one, or the nearest neighbour's: bettering takes the square of them."""


@dataclass(frozen=True)
class Order:
    """An order of merges.

    Attributes:
        merges: their numbers, in the order in which they are made.
        moved_bytes: what is read of the sources and written into memory for all of them.
        given_bytes: the same in the order in which they were added.
    """

    merges: tuple[int, ...]
    moved_bytes: int
    given_bytes: int


class Merges:
    """The merges of a grid, each once, and what each takes after another one."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._known: dict[Hashable, int] = {}
        self._numbers: dict[tuple[int, ...], int] = {}
        self._moved: list[list[int]] = []

    def __len__(self) -> int:
        return len(self._moved)

    def add(self, plan: Plan) -> int:
        """The number of a plan's merge: the same for results that hold the same, however their recipes are written."""
        found = origins(plan)
        for key in found:
            self._columns.setdefault(key, len(self._columns))
        row, moved = [-1] * len(self._columns), [0] * len(self._columns)
        for job in plan.jobs:
            place = self._columns[job.key]
            row[place] = self._known.setdefault(found[job.key], len(self._known))
            moved[place] = moved_bytes(plan, job)
        while row[-1] == -1:  # keys of other results, which this one may have been added before
            row.pop()
        number = self._numbers.setdefault(tuple(row), len(self))
        if number == len(self):
            self._moved.append(moved)
        return number

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """(what the keys follow from, what they move), a row for each merge; keys that always change together are one column."""
        width = len(self._columns)
        ids = np.array([[*row, *[-1] * (width - len(row))] for row in self._numbers], np.int64)
        moved = np.array([[*row, *[0] * (width - len(row))] for row in self._moved], np.int64)
        alike, place = np.unique(ids, axis=1, return_inverse=True)
        sums = np.zeros(alike.shape, np.int64)
        np.add.at(sums.T, place.reshape(-1), moved.T)
        return alike, sums

    def costs(self) -> np.ndarray:
        """(N + 1, N) bytes: what the second merge moves after the first; the last row is what it moves by itself."""
        ids, moved = self.tables()
        rows = [((ids != row) * moved).sum(1) for row in ids]
        return np.array([*rows, moved.sum(1)])


def moved_bytes(plan: Plan, job: KeyJob) -> int:
    """What merging one key reads and writes."""
    return job.size_bytes + job.passes * sum(plan.sources[number].tensors[job.key].read_bytes for number in job.reads())


def best_order(merges: Merges) -> Order:
    """The order that moves least; of equals the one that is nearest to the order of adding. The same each time."""
    costs = merges.costs()
    given = list(range(len(merges)))
    if len(given) <= _MOST_EXACT:
        tried = [given, _exact(costs)]
    else:
        tried = [given, _nearest(costs)]
        tried += [_bettered(costs, order) for order in tried] if len(given) <= _MOST_BETTERED else []
    best = min(tried, key=lambda order: _length(costs, order))
    return Order(tuple(best), _length(costs, best), _length(costs, given))


def best_nesting(merges: Merges, axes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], int]:
    """Which loop over an axis is best the outermost, and which comes next: numbers of the axes.

    For programs that go through a grid in loops of their own. An axis is taken to change the same keys wherever the others stand.

    Args:
        axes: for each value of each axis the number of the merge of the cell in which all other axes have their first value.

    Returns:
        The order of the axes as they are given, unless another one moves less; and the bytes that it moves.
    """
    ids, moved = merges.tables()

    def change(axis: int, start: int, end: int) -> np.ndarray:
        return ids[axes[axis][start]] != ids[axes[axis][end]]

    def moves(nesting: Sequence[int]) -> int:
        total, rounds = int(moved[axes[0][0]].sum()), 1
        for depth, axis in enumerate(nesting):
            back = [change(inner, -1, 0) for inner in nesting[depth + 1 :]]  # the loops inside begin anew
            for place in range(1, len(axes[axis])):
                changed = reduce(np.logical_or, back, change(axis, place - 1, place))
                total += rounds * int(moved[axes[axis][place]][changed].sum())
            rounds *= len(axes[axis])
        return total

    moved_by = {nesting: moves(nesting) for nesting in itertools.permutations(range(len(axes)))}
    return min(moved_by.items(), key=lambda each: each[1])


def _length(costs: np.ndarray, order: Sequence[int]) -> int:
    return sum(int(costs[one, other]) for one, other in itertools.pairwise([-1, *order]))


def _exact(costs: np.ndarray) -> list[int]:
    """The best of all orders: for each set of merges and its last one the shortest way, out of those of the smaller sets."""
    count, table = costs.shape[1], costs.tolist()
    ways: dict[tuple[int, int], tuple[int, tuple[int, ...]]]
    ways = {(1 << last, last): (table[-1][last], (last,)) for last in range(count)}
    for done in range(1, 1 << count):
        for last in range(count):
            if (done, last) not in ways:
                continue
            length, order = ways[done, last]
            for following in range(count):
                if not done >> following & 1:
                    place = done | 1 << following, following
                    way = length + table[last][following], (*order, following)
                    ways[place] = min(ways.get(place, way), way)
    return list(min(way for (done, _), way in ways.items() if done == (1 << count) - 1)[1]) if count else []


def _nearest(costs: np.ndarray) -> list[int]:
    """From the first merge on always what takes least after the last one."""
    order, left = [0], np.ones(costs.shape[1], bool)
    left[0] = False
    while left.any():
        order.append(int(np.where(left, costs[order[-1]], np.iinfo(np.int64).max).argmin()))
        left[order[-1]] = False
    return order


def _bettered(costs: np.ndarray, order: Sequence[int]) -> list[int]:
    """An order after turning parts of it round, and moving single merges, as long as that helps."""
    found = list(order)
    for _ in range(_MOST_SWEEPS):
        before = _length(costs, found)
        for step in (_turned, _moved):
            for start in range(len(found)):
                found = step(costs, found, start)
        if _length(costs, found) == before:
            break
    return found


def _turned(costs: np.ndarray, order: list[int], start: int) -> list[int]:
    """The order with the part from `start` to the best end turned round, where that is shorter."""
    path = np.array(order)
    before, part = (path[start - 1] if start else -1), path[start:]
    after = np.append(path[start + 1 :], -1)
    leave = np.where(after < 0, 0, costs[part, after])
    forth = np.cumsum(np.append(0, costs[part[:-1], part[1:]]))
    back = np.cumsum(np.append(0, costs[part[1:], part[:-1]]))
    left_turned = np.where(after < 0, 0, costs[part[0], after])
    gain = costs[before, part[0]] + forth + leave - costs[before, part] - back - left_turned
    end = int(gain.argmax())
    return order[:start] + order[start : start + end + 1][::-1] + order[start + end + 1 :] if gain[end] > 0 else order


def _moved(costs: np.ndarray, order: list[int], start: int) -> list[int]:
    """The order with one merge moved to its best place, where that is shorter."""
    one, rest = order[start], order[:start] + order[start + 1 :]
    path = np.array([-1, *rest])
    after = np.append(path[1:], -1)
    added = costs[path, one] + np.where(after < 0, 0, costs[one, after] - costs[path, after])
    place = int(added.argmin())
    return [*rest[:place], one, *rest[place:]] if added[place] < added[start] else order


def in_words(order: Order, cells: int, pictures: int, seconds: float) -> list[str]:
    """What a grid takes, in sentences.

    Args:
        cells: of the grid.
        pictures: of all its cells.
        seconds: what all of it will take.
    """
    moved, given = (spell_bytes(count) for count in (order.moved_bytes, order.given_bytes))
    merges = f"{len(order.merges)} merge{'s' if len(order.merges) > 1 else ''}"
    less = f", {given} in the order of the cells" if given != moved else ""
    return [
        f"{cells} cell{'s' if cells > 1 else ''} of {merges}, {pictures} picture{'s' if pictures > 1 else ''}.",
        f"The merges read and write {moved}{less}.",
        f"All of it takes {spell_seconds(seconds)}.",
    ]


def spell_seconds(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 90:
        return f"about {seconds:.1f} s" if 0.05 < seconds < 3 else f"about {round(seconds)} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def spell_bytes(count: int) -> str:
    """Bytes in GB, with three figures."""
    digits = max(0, 2 - math.floor(math.log10(count / 1e9))) if count else 0
    return f"{count / 1e9:.{min(digits, 6)}f} GB"
