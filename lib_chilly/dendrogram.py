"""Who joins whom: models grouped by likeness with average linkage, and what their figures say of their ancestry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .block_rules import listed, runs
from .header import quoted

Likeness = Mapping[tuple[int, int], float]
"""Two numbers of models, the smaller one first, to how alike they are; without those of whom nobody knows."""

_EQUAL = 99.0
"""Percent of equal elements from which on a lane has the same weights; a few may differ by rounding."""


@dataclass(frozen=True)
class Join:
    """Two groups become one.

    Attributes:
        left, right: their models' numbers, in the order in which the whole is drawn.
        likeness: the mean over all pairs between both that have one.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    likeness: float


def joined(count: int, likeness: Likeness) -> list[Join]:
    """The joins from the most alike to the least; of equally alike ones that of the smallest numbers first.

    Of groups between which no likeness is known there is none.
    """
    groups: list[tuple[int, ...]] = [(number,) for number in range(count)]
    found: list[Join] = []

    def between(left: tuple[int, ...], right: tuple[int, ...]) -> float:
        known = [value for a in left for b in right if (value := likeness.get((min(a, b), max(a, b)))) is not None]
        return sum(known) / len(known) if known else -math.inf

    while len(groups) > 1:
        pairs = [(left, right) for place, left in enumerate(groups) for right in groups[place + 1 :]]
        left, right = max(pairs, key=lambda pair: between(*pair))  # the first of several
        if between(left, right) == -math.inf:
            break
        found.append(Join(left, right, between(left, right)))
        groups = [left + right if group == left else group for group in groups if group != right]
    return found


def same_weights(names: Sequence[str], equal: Mapping[tuple[int, int], Mapping[str, float]], order: Sequence[str]) -> list[str]:
    """Which models have the same weights in which lanes, a sentence for each group of models.

    Args:
        equal: pair to lane to the percentage of equal elements; empty where it is not known.
        order: all lanes.
    """
    lanes_of: dict[tuple[int, ...], list[str]] = {}
    for lane in order:
        left = set(range(len(names)))
        while left:
            first = min(left)
            group = {first} | {other for other in left if equal.get((first, other), {}).get(lane, 0.0) >= _EQUAL}
            left -= group
            if len(group) > 1:
                lanes_of.setdefault(tuple(sorted(group)), []).append(lane)
    return [
        f"{listed(quoted(names[number]) for number in group)} have the same weights in {runs(lanes, order)}: "
        f"at least {_EQUAL:g} % of the elements are equal."
        for group, lanes in lanes_of.items()
    ]


def kinship(
    names: Sequence[str],
    likeness: Likeness,
    blocks: Mapping[tuple[int, int], Mapping[str, float]],
    near: float,
    order: Sequence[str],
) -> list[str]:
    """Who may come from whom, each sentence with its evidence.

    Args:
        blocks: pair to lane to figure.
        near: the percentage from which on a block is as good as the other's.
        order: all lanes.
    """
    count, found = len(names), []
    best = nearest(count, likeness)
    for number, (other, value) in best.items():
        figures = {lane: figure for lane, figure in blocks[min(number, other), max(number, other)].items() if _is_core(lane)}
        close = [lane for lane, figure in figures.items() if figure >= near]
        where = f"; {near:g} or more in {runs(close, order)}" if close else f"; no block of it reaches {near:g}"
        found.append(f"{quoted(names[number])} is nearest to {quoted(names[other])}: {below_100(value, 4)} %{where}.")
    followers: dict[int, int] = {}
    for other, _ in best.values():
        followers[other] = followers.get(other, 0) + 1
    head = max(followers, key=lambda number: followers[number], default=0)
    if followers.get(head, 0) >= max(2, count / 2):
        said = f"{quoted(names[head])} is the nearest of {followers[head]} of {count - 1} others"
        found.append(f"{said}: it may be what they were made from, or close to that.")
    return found


def _is_core(lane: str) -> bool:
    """Whether a lane is one of the network's numbered blocks; what is before and behind them is alike in most models."""
    return lane[-2:].isdigit()


def nearest(count: int, likeness: Likeness) -> dict[int, tuple[int, float]]:
    """Number of each model that is like any other to its nearest one and their likeness."""
    found = {}
    for number in range(count):
        of = {other: likeness.get((min(number, other), max(number, other))) for other in range(count) if other != number}
        known = {other: value for other, value in of.items() if value is not None}
        if known:
            best = max(known, key=lambda other: known[other])
            found[number] = best, known[best]
    return found


def below_100(value: float, decimals: int) -> str:
    """A percentage as it is shown: 100 only where it is that."""
    most = 100.0 - 10.0**-decimals
    return f"{min(value, most) if most < value < 100 else value:.{decimals}f}"
