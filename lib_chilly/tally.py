"""What is seen while tensors are summed: change, overflow, what was replaced, and what stops the pass."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """What was seen on the way.

    Attributes:
        change: lane to [sum of squares of result minus first source, sum of squares of the first source].
        overflow: key to elements that are finite but too large for the output's dtype.
        replaced: key to elements that were taken from the model that `on_nan` names.
        faulty_positions: keys of position_ids that are not 0, 1, 2, ...
    """

    change: dict[str, list[float]] = field(default_factory=dict)
    overflow: dict[str, int] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    faulty_positions: set[str] = field(default_factory=set)

    def add_change(self, lane: str, change: float, size: float) -> None:
        sums = self.change.setdefault(lane, [0.0, 0.0])
        sums[0] += change
        sums[1] += size

    def merge(self, other: Tally) -> None:
        for lane, (change, size) in other.change.items():
            self.add_change(lane, change, size)
        for mine, theirs in ((self.overflow, other.overflow), (self.replaced, other.replaced)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.faulty_positions |= other.faulty_positions


class NotFinite(Exception):
    """A source holds NaN or Inf in a slab, and no model was named to replace it."""

    def __init__(self, source: int, key: str):
        self.source, self.key = source, key
        super().__init__(f"source {source}, key {key}")
