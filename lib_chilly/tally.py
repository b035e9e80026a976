"""What is seen while tensors are summed: change, overflow, what was replaced, and what stops the pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

RESULT = -1
"""Stands for the result where sources have numbers."""


class Matrix(NamedTuple):
    """A tensor that amplifies; in a folder's files another may have its key.

    Attributes:
        rows, elements: how many it has.
    """

    lane: str
    key: str
    rows: int
    elements: int


@dataclass
class Tally:
    """What was seen on the way.

    Attributes:
        change: lane to [sum of squares of result minus first source, sum of squares of the first source].
        overflow: key to elements that are finite but too large for the output's dtype.
        replaced: key to elements that were taken from the model that `on_nan` names.
        faulty_positions: keys of position_ids that are not 0, 1, 2, ...
        weighed: number of a source, or RESULT, to [sum of squares, how many elements] of a part of each of its matrices.
        no_room: keys that the GPU had no memory for.
        not_finite: number of a source to lane to how many of its elements were NaN or Inf.
    """

    change: dict[str, list[float]] = field(default_factory=dict)
    overflow: dict[str, int] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    faulty_positions: set[str] = field(default_factory=set)
    no_room: set[str] = field(default_factory=set)
    weighed: dict[int, dict[Matrix, list[float]]] = field(default_factory=dict)
    not_finite: dict[int, dict[str, int]] = field(default_factory=dict)

    def add_change(self, lane: str, change: float, size: float) -> None:
        sums = self.change.setdefault(lane, [0.0, 0.0])
        sums[0] += change
        sums[1] += size

    def add_weighed(self, number: int, matrix: Matrix, squares: float, count: float) -> None:
        sums = self.weighed.setdefault(number, {}).setdefault(matrix, [0.0, 0.0])
        sums[0] += squares
        sums[1] += count

    def squares(self, number: int) -> dict[Matrix, float]:
        """Matrices to their sums of squares, as a part of each tells them."""
        return {matrix: sums[0] / sums[1] * matrix.elements for matrix, sums in self.weighed.get(number, {}).items()}

    def add_not_finite(self, number: int, lane: str, count: int) -> None:
        lanes = self.not_finite.setdefault(number, {})
        lanes[lane] = lanes.get(lane, 0) + count

    def merge(self, other: Tally) -> None:
        for lane, (change, size) in other.change.items():
            self.add_change(lane, change, size)
        for mine, theirs in ((self.overflow, other.overflow), (self.replaced, other.replaced)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.faulty_positions |= other.faulty_positions
        self.no_room |= other.no_room
        for number, matrices in other.weighed.items():
            for matrix, (squares, elements) in matrices.items():
                self.add_weighed(number, matrix, squares, elements)
        for number, lanes in other.not_finite.items():
            for lane, count in lanes.items():
                self.add_not_finite(number, lane, count)


class NotFinite(Exception):
    """A source holds NaN or Inf in a slab, and no model was named to replace it."""

    def __init__(self, source: int, key: str):
        self.source, self.key = source, key
        super().__init__(f"source {source}, key {key}")
