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

LEAF_ELEMENTS = 1 << 16
"""Elements that are summed at once; another number gives other last digits."""
_STEPS, _SETTLED = 300, 1e-10
"""Of the power iteration: how many at most, and how little a step may change for it to end."""


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
class Summed(Measure):
    """A measure that follows from sums.

    Attributes:
        own: what is summed over one model's elements; not finite where they are not.
        pair: what is summed over those of two.
        value: the sums (of the pair, of the first, of the second) -> the figure; never asked where both own sums are 0.
        of_deltas: "needed" where it compares what models have learned since an ancestor, "taken" where it does if there is one.
        is_whole: whether it looks at whole matrices, each of which counts alike.
    """

    own: Callable[[torch.Tensor], float]
    pair: Callable[[torch.Tensor, torch.Tensor], float]
    value: Callable[[float, float, float], float]
    of_deltas: str = ""
    is_whole: bool = False


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.dot(a, b).item()


def _cosine(both: float, a: float, b: float) -> float:
    return 100.0 * max(-1.0, min(1.0, both / math.sqrt(a * b))) if a and b else 0.0


def _nearness(apart: float, a: float, b: float) -> float:
    return 100.0 * (1 - math.sqrt(apart) / (math.sqrt(a) + math.sqrt(b)))


def _share(both: float, a: float, _: float) -> float:
    return 100.0 * both / a


def _mean(both: float, a: float, _: float) -> float:
    return both / a


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


def _one(a: torch.Tensor) -> float:
    return 1.0 if is_finite(a) else math.nan


def _cka(a: torch.Tensor, b: torch.Tensor) -> float:
    """Linear CKA of two matrices, whose rows are what is compared; by the smaller of the two products there are."""
    a, b = a.flatten(1), b.flatten(1)
    if torch.equal(a, b):
        return 100.0
    if a.shape[0] < a.shape[1]:
        both, of_a, of_b = ((a @ a.T) * (b @ b.T)).sum(), (a @ a.T).norm(), (b @ b.T).norm()
    else:
        both, of_a, of_b = (b.T @ a).norm() ** 2, (a.T @ a).norm(), (b.T @ b).norm()
    sizes = (of_a * of_b).item()
    return 100.0 * min(1.0, both.item() / sizes) if sizes else 0.0


def _stable_rank(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the difference: its squared Frobenius norm over its squared largest singular value; 0 where there is none."""
    delta = (b - a).flatten(1)
    size = float(delta.norm()) ** 2
    if not size:
        return 0.0
    vector = torch.randn(delta.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    largest = 0.0
    for _ in range(_STEPS):
        vector = delta.T @ (delta @ (vector / vector.norm()))
        before, largest = largest, float(vector.norm())
        if largest - before <= _SETTLED * largest:
            break
    return size / largest if largest else 0.0


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
                "The share of elements that have the same sign; with an ancestor, of those by which both differ from it.",
                99.0,
                own=_count,
                pair=_same_signs,
                value=_share,
                of_deltas="taken",
            ),
            Summed(
                "equal",
                "The share of elements that are equal, bit for bit.",
                90.0,
                own=_count,
                pair=_equals,
                value=_share,
            ),
            Summed(
                "cka",
                "Linear CKA of the matrices' rows: blind to a rotation of what a layer is given, and to scale.",
                99.99,
                own=_one,
                pair=_cka,
                value=_mean,
                is_whole=True,
            ),
            Summed(
                "stable_rank",
                "How many directions the difference has: its squared length over its squared largest singular value. "
                "No likeness: near 1 it is as a LoRA of rank 1, 0 where there is no difference.",
                0.0,
                "",
                own=_one,
                pair=_stable_rank,
                value=_mean,
                is_whole=True,
            ),
        )
    }
)
