"""What was found of models' likeness, in lines and as the facts of `similarity --json`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .dendrogram import Join, below_100, joined, kinship, same_weights
from .similarity import MEASURES, Similarity

_ACROSS = 12
"""Blocks side by side."""


@dataclass(frozen=True)
class Ranking:
    """Models against a base.

    Attributes:
        rows: name and what was found, the most alike first.
        notes: sentences for the user.
    """

    base: str
    measure: str
    rows: Sequence[tuple[str, Similarity]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """Each model against each.

    Attributes:
        found: numbers of two models, the smaller one first, to what was found.
        lanes: all there are, in their order.
        by: which total stands for them.
        likeness: that total, of those that have one.
    """

    names: Sequence[str]
    measure: str
    found: Mapping[tuple[int, int], Similarity]
    lanes: Sequence[str]
    by: str = "all"
    likeness: Mapping[tuple[int, int], float] = field(init=False)

    def __post_init__(self) -> None:
        known = {pair: total for pair, each in self.found.items() if (total := each.totals[self.by]) is not None}
        object.__setattr__(self, "likeness", known)

    def joins(self) -> list[Join]:
        return joined(len(self.names), self.likeness)

    def order(self) -> list[int]:
        """Numbers of the models as the dendrogram has them below each other."""
        groups = {number: [number] for number in range(len(self.names))}
        for join in self.joins():
            groups[join.left[0]] += groups.pop(join.right[0])
        return [number for group in groups.values() for number in group]

    def kinship(self) -> list[str]:
        """Sentences on who may come from whom, each with its evidence."""
        measure = MEASURES[self.measure]
        blocks = {pair: each.blocks for pair, each in self.found.items()}
        equal = {pair: each.equal for pair, each in self.found.items()}
        nearest = kinship(self.names, self.likeness, blocks, measure.near, self.lanes)
        return [*same_weights(self.names, equal, self.lanes), *nearest]


def ranked(rows: Sequence[tuple[str, Similarity]], by: str) -> list[tuple[str, Similarity]]:
    """The most alike first, or those that differ in the fewest directions; those without that total last."""

    def place(row: tuple[str, Similarity]) -> float:
        value = row[1].totals[by]
        return math.inf if value is None else -value if MEASURES[row[1].measure].unit else value

    return sorted(rows, key=place)


def ranking_facts(ranking: Ranking) -> dict[str, object]:
    """The facts of `similarity --json`, without those that only some options add."""
    return {
        "base": ranking.base,
        "measure": ranking.measure,
        "rows": [
            {"model": name, "blocks": dict(each.blocks), "totals": dict(each.totals)}
            | ({"parts": dict(each.parts)} if each.parts else {})
            for name, each in ranking.rows
        ],
    }


def matrix_facts(matrix: Matrix) -> dict[str, object]:
    """What `--matrix` adds."""
    numbers = range(len(matrix.names))
    return {
        "models": list(matrix.names),
        "by": matrix.by,
        "figures": [[None if a == b else matrix.found[min(a, b), max(a, b)].totals[matrix.by] for b in numbers] for a in numbers],
        "joins": [{"left": [*join.left], "right": [*join.right], "likeness": join.likeness} for join in matrix.joins()],
        "kinship": matrix.kinship(),
    }


def describe_ranking(ranking: Ranking) -> list[str]:
    """A table of blocks for each model, as model cards print them, then all models in their order."""
    measure = MEASURES[ranking.measure]
    lines = [measure.says]
    for name, found in ranking.rows:
        lines += ["", f"{name} against {ranking.base}, {measure.name}{measure.unit and ' in ' + measure.unit}"]
        lines += [line for group in _groups(found) for line in group]
        width = max(map(len, found.parts), default=0)
        lines += [f"  {part:<{width}}  {_figure(value)}" for part, value in found.parts.items()]
    if len(ranking.rows) > 1:
        width = max(len("model"), *(len(name) for name, _ in ranking.rows))
        every = _of_all(found for _, found in ranking.rows)
        lines += ["", f"{'model':<{width}}  {'input':>9}  {'output':>9}  {every:>9}"]
        for name, found in ranking.rows:
            figures = (f"  {_figure(found.totals[each]):>{max(9, len(every) * (each == 'all'))}}" for each in found.totals)
            lines.append(f"{name:<{width}}" + "".join(figures))
    return lines + [f"note: {note}" for note in ranking.notes]


def describe_matrix(matrix: Matrix) -> list[str]:
    """The figures, the joins from the most alike to the least, and what they say of ancestry."""
    width = max(len("total all 28 to 29"), *(len(name) + 4 for name in matrix.names)) + 1
    count = len(matrix.names)
    total = _of_all(matrix.found.values()) if matrix.by == "all" else matrix.by
    lines = ["", f"{f'total {total}':<{width}}" + "".join(f"{f'[{number}]':>10}" for number in range(1, count + 1))]
    for a, name in enumerate(matrix.names):
        cells = ("-" if a == b else _figure(matrix.found[min(a, b), max(a, b)].totals[matrix.by]) for b in range(count))
        lines.append(f"{f'[{a + 1}] {name}':<{width}}" + "".join(f"{cell:>10}" for cell in cells))
    lines += ["", "joined by average linkage:"]
    for join in matrix.joins():
        left, right = (_side(matrix, side) for side in (join.left, join.right))
        lines.append(f"{_figure(join.likeness):>10}  {left}  with  {right}")
    alone = set(range(count)) - {number for pair in matrix.likeness for number in pair}
    lines += [f"joined with none: {', '.join(_side(matrix, [number]) for number in sorted(alone))}"] if alone else []
    return [*lines, "", "a guess at ancestry:", *(f"  {sentence}" for sentence in matrix.kinship())]


def _of_all(found: Iterable[Similarity]) -> str:
    """The total of all blocks, and of how many it is."""
    counts = sorted({len(each.blocks) for each in found})
    return f"all {counts[0]} to {counts[-1]}" if len(counts) > 1 else f"all {counts[0]}"


def _side(matrix: Matrix, numbers: Sequence[int]) -> str:
    """One model by its name, several by their numbers."""
    if len(numbers) == 1:
        return f"[{numbers[0] + 1}] {matrix.names[numbers[0]]}"
    return " ".join(f"[{number + 1}]" for number in numbers)


def _groups(found: Similarity) -> list[list[str]]:
    """OUT blocks with their total, IN blocks and M00 with theirs, all others with that of all."""
    outs = [lane for lane in found.blocks if lane.startswith("OUT")]
    ins = [lane for lane in found.blocks if lane.startswith(("IN", "M0"))]
    rest = [lane for lane in found.blocks if lane not in outs and lane not in ins]
    return [_table(found, outs, "output"), _table(found, ins, "input"), _table(found, rest, "all")]


def _table(found: Similarity, lanes: Sequence[str], total: str) -> list[str]:
    """Headings and figures below each other."""
    if total == "all" and not lanes:
        return [f"  total all {len(found.blocks)}   {_figure(found.totals['all'])}"]
    lines = []
    for start in range(0, len(lanes), _ACROSS):
        part = lanes[start : start + _ACROSS]
        head = "".join(f"{lane:>9}" for lane in part)
        figures = "".join(f"{_figure(found.blocks[lane]):>9}" for lane in part)
        if start + _ACROSS >= len(lanes) and total:
            said = f"all {len(found.blocks)}" if total == "all" else total
            head, figures = f"{head}   total {said}", f"{figures}   {_figure(found.totals[total])}"
        lines += [head, figures]
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else below_100(value, 4)
