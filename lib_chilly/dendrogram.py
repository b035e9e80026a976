"""Who joins whom: models grouped by likeness with average linkage, and what their figures say of their ancestry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .block_rules import runs
from .header import quoted

Likeness = Mapping[tuple[int, int], float]
"""Two numbers of models, the smaller one first, to how alike they are."""

_MANY_EQUAL = 90.0
"""Percent of equal elements from which on a block was hardly trained or merged apart."""


@dataclass(frozen=True)
class Join:
    """Two groups become one.

    Attributes:
        left, right: their models' numbers, in the order in which the whole is drawn.
        likeness: the mean over all pairs between both.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    likeness: float


def joined(count: int, likeness: Likeness) -> list[Join]:
    """The joins from the most alike to the least; of equally alike ones that of the smallest numbers first."""
    groups = [(number,) for number in range(count)]
    found: list[Join] = []

    def between(left: tuple[int, ...], right: tuple[int, ...]) -> float:
        return sum(likeness[min(a, b), max(a, b)] for a in left for b in right) / (len(left) * len(right))

    while len(groups) > 1:
        pairs = [(left, right) for place, left in enumerate(groups) for right in groups[place + 1 :]]
        left, right = max(pairs, key=lambda pair: between(*pair))  # the first of several
        found.append(Join(left, right, between(left, right)))
        groups = [left + right if group == left else group for group in groups if group != right]
    return found


def kinship(
    names: tuple[str, str], blocks: Mapping[str, float], equal: Mapping[str, float], near: float, unit: str = "%"
) -> list[str]:
    """What two models' figures say of their ancestry, each sentence with its evidence; nothing where they say nothing.

    Args:
        blocks: lane to figure.
        equal: lane to the percentage of equal elements; empty where it is not known.
        near: the figure from which on a block is as good as the other's.
    """
    a, b = map(quoted, names)
    order = list(dict.fromkeys((*blocks, *equal)))
    copied = [lane for lane, share in equal.items() if share >= _MANY_EQUAL]
    close = [lane for lane, value in blocks.items() if value >= near and lane not in copied]
    found = []
    if copied:
        least = min(equal[lane] for lane in copied)
        where = "everywhere" if len(copied) == len(equal) else f"in {runs(copied, order)}"
        found.append(f"{a} and {b} have the same weights {where}: at least {least:.2f} % of the elements are equal, bit for bit.")
    if close:
        least = min(blocks[lane] for lane in close)
        many = len(close) + len(copied) >= len(blocks)
        meant = "one was made from the other, or both from a third" if many else "these blocks may have one origin"
        found.append(f"{a} and {b} are near in {runs(close, order)}, {least:.4f}{unit and ' ' + unit} or more: {meant}.")
    return found


def nearest(count: int, likeness: Likeness) -> dict[int, tuple[int, float]]:
    """Number of each model to its nearest other and their likeness."""
    found = {}
    for number in range(count):
        others: Sequence[int] = [other for other in range(count) if other != number]
        best = max(others, key=lambda other: likeness[min(number, other), max(number, other)])
        found[number] = best, likeness[min(number, best), max(number, best)]
    return found
