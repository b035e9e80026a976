"""Measures of two models that are sums over their elements: what is summed, and what the sums say.

A tensor is cut into leaves, always at the same places. Values, products and sums are float64, in which products of stored values
are exact; the sums of leaves are added one after the other. So no digit depends on threads, or on how much one takes at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from .compared import is_finite

LEAF_ELEMENTS = 1 << 17
"""Elements that are summed at once; another number gives other last digits."""


@dataclass(frozen=True)
class Measure:
    """One way to say how alike two models are.

    Attributes:
        name: as it is asked for.
        says: what it is, in a sentence.
        near: from which value on a block is as good as the other model's.
        unit: "%", or "" of a number that is no likeness.
    """

    name: str
    says: str
    near: float
    unit: str = "%"


@dataclass(frozen=True, kw_only=True)
class Weighed(Measure):
    """A measure of all weights.

    Attributes:
        value: the sums (of the pair, of the first, of the second) -> the figure; never asked where both own sums are 0.
    """

    value: Callable[[float, float, float], float]


@dataclass(frozen=True, kw_only=True)
class Summed(Weighed):
    """A measure that follows from sums over elements.

    Attributes:
        own: what is summed over one model's elements; not finite where they are not.
        pair: what is summed over those of two.
        of_deltas: "needed" where it compares what models have learned since an ancestor, "taken" where it does if there is one.
    """

    own: Callable[[torch.Tensor], float]
    pair: Callable[[torch.Tensor, torch.Tensor], float]
    of_deltas: str = ""


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.dot(a, b).item()


def _cosine(both: float, a: float, b: float) -> float:
    return 100.0 * max(-1.0, min(1.0, both / math.sqrt(a * b))) if a and b else 0.0


def _nearness(apart: float, a: float, b: float) -> float:
    return 100.0 * (1 - math.sqrt(apart) / (math.sqrt(a) + math.sqrt(b)))


def _share(both: float, a: float, _: float) -> float:
    return 100.0 * both / a


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    apart = a - b
    return _dot(apart, apart)


def _same_signs(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.count_nonzero(torch.sign(a) == torch.sign(b)))


def _equals(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.count_nonzero(a == b))


def _squares(a: torch.Tensor) -> float:
    return _dot(a, a)


def _count(a: torch.Tensor) -> float:
    return float(a.numel()) if is_finite(a) else math.nan


SUMMED: Mapping[str, Summed] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            Summed(
                "cosine",
                "The cosine between the weights.",
                99.99,
                own=_squares,
                pair=_dot,
                value=_cosine,
            ),
            Summed(
                "l2",
                "100 % less the length of the difference over the sum of both lengths.",
                99.0,
                own=_squares,
                pair=_distance,
                value=_nearness,
            ),
            Summed(
                "delta",
                "The cosine between what both have learned since an ancestor.",
                90.0,
                own=_squares,
                pair=_dot,
                value=_cosine,
                of_deltas="needed",
            ),
            Summed(
                "sign",
                "The share of elements of the same sign; with an ancestor, of their differences from it. 0 is a sign of its own.",
                99.0,
                own=_count,
                pair=_same_signs,
                value=_share,
                of_deltas="taken",
            ),
            Summed(
                "equal",
                "The share of elements that are equal numbers.",
                90.0,
                own=_count,
                pair=_equals,
                value=_share,
            ),
        )
    }
)
