"""Weighted sums of numbered things, exact: what tensors are folded as."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

Scalar = int | Fraction


class LinearForm:
    """A weighted sum of numbered things; adds, subtracts and scales like a tensor, exactly."""

    def __init__(self, terms: Mapping[int, Fraction]):
        self.terms = {index: weight for index, weight in terms.items() if weight != 0}

    def __add__(self, other: LinearForm | int) -> LinearForm:
        if isinstance(other, int):  # sum() starts with 0
            return self
        return LinearForm({index: self[index] + other[index] for index in {**self.terms, **other.terms}})

    __radd__ = __add__

    def __sub__(self, other: LinearForm) -> LinearForm:
        return self + -1 * other

    def __mul__(self, scalar: Scalar) -> LinearForm:
        return LinearForm({index: weight * scalar for index, weight in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, scalar: Scalar) -> LinearForm:
        return self * (1 / Fraction(scalar))

    def __getitem__(self, index: int) -> Fraction:
        return self.terms.get(index, Fraction(0))


NOTHING = LinearForm({})
