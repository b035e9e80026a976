"""What the curve tools do to a row of weights; exact, then rounded to hundredths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

Weights = Sequence[Fraction]


def smooth(weights: Weights) -> list[Fraction]:
    """Each nears its neighbours: 1-2-1, the ends with themselves."""
    padded = [weights[0], *weights, weights[-1]] if weights else []
    return [(padded[place] + 2 * padded[place + 1] + padded[place + 2]) / 4 for place in range(len(weights))]


def ramp(weights: Weights) -> list[Fraction]:
    """A straight line from the first to the last."""
    last = max(1, len(weights) - 1)
    return [weights[0] + (weights[-1] - weights[0]) * Fraction(place, last) for place in range(len(weights))]


def mirror(weights: Weights) -> list[Fraction]:
    """The order reversed."""
    return list(reversed(weights))


def invert(weights: Weights) -> list[Fraction]:
    """A and B changed over."""
    return [1 - weight for weight in weights]


def _in_hundredths(curve: Callable[[Weights], list[Fraction]]) -> Callable[[Weights], list[Fraction]]:
    return lambda weights: [Fraction(round(weight * 100), 100) for weight in curve(weights)]


CURVES: Mapping[str, Callable[[Weights], list[Fraction]]] = {
    curve.__name__: _in_hundredths(curve) for curve in (smooth, ramp, mirror, invert)
}
"""By the names that the page asks with."""
