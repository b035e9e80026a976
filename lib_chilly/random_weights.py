"""Letters among block weights, each drawn once: R, U and X become decimals as if typed, so that a recipe stays exact.

SuperMerger's letters: R is uniform in 0..1, U in -0.5..1.5, X in limits that are given.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from .errors import RecipeError
from .expression import Call, ModelRef, Node, Rules, children, number_node, with_children
from .recipe_check import Checker
from .registry import all_methods

LETTERS = {"R": (Fraction(0), Fraction(1)), "U": (Fraction(-1, 2), Fraction(3, 2))}
"""Letter to its limits; X has those that are given with it, or for all."""

_STEPS = 100
"""A number has as few decimals, 3 at least, as part its limits into so many steps."""
_NARROWEST = Fraction(1, 10**9)


class Draw:
    """Draws the letters of one variant of a recipe; given to a reader of recipes as its `draw`.

    A number depends on seed, variant, and its place (step, call, parameter, number in the list or pattern of the rule) alone, so
    that a change elsewhere in the recipe does not change it.

    Args:
        seed, variant: any whole numbers.
        limits: of an X without limits of its own.

    Attributes:
        count: letters drawn so far.
    """

    def __init__(self, seed: int, variant: int = 1, limits: tuple[Fraction, Fraction] | None = None):
        self.seed, self.variant, self.limits = seed, variant, limits
        self.count = 0

    def __call__(self, step: str, node: Node, above: Checker) -> Node:
        """The same right side of `step` with numbers in the places of letters.

        Raises:
            RecipeError: an X without limits, or limits that are none.
        """
        return self._drawn(step, node, above, itertools.count())

    def _drawn(self, step: str, node: Node, above: Checker, numbers: Iterator[int]) -> Node:
        if not isinstance(node, Call):
            return with_children(node, [self._drawn(step, child, above, numbers) for child in children(node)])
        place = f"{step}/{next(numbers)}"
        method = all_methods().get(node.method)
        parameters = tuple(
            (name, self._drawn(step, value, above, numbers))
            if method and name in method.named
            else (name, self._value((place, name), value, above))
            for name, value in node.parameters
        )
        operands = tuple(self._drawn(step, operand, above, numbers) for operand in node.operands)
        return replace(node, operands=operands, parameters=parameters)

    def _value(self, place: Sequence[str], node: Node, above: Checker) -> Node:
        if _is_letter(node):
            return replace(number_node(self._number(place, *self._limits_of(node, above))), position=node.position)
        if isinstance(node, Rules):
            names: Sequence[object] = [pattern for pattern, _ in node.entries]
        else:
            names = range(len(children(node)))
        below = [self._value((*place, str(name)), child, above) for name, child in zip(names, children(node), strict=True)]
        return with_children(node, below)

    def _limits_of(self, node: Node, above: Checker) -> tuple[Fraction, Fraction]:
        if isinstance(node, ModelRef) and node.name in LETTERS:
            return LETTERS[node.name]
        if isinstance(node, Call):
            if len(node.operands) != 2 or node.parameters:
                raise RecipeError("X takes its two limits, as in X(0.2, 0.6).", above.text, node.position)
            low, high = (above.number(operand) for operand in node.operands)
        elif self.limits is None:
            raise RecipeError("X has no limits: write X(0.2, 0.6), or pass --limits 0.2,0.6.", above.text, node.position)
        else:
            low, high = self.limits
        if low > high or 0 < high - low < _NARROWEST:
            raise RecipeError("X takes the lower limit, then the higher one, at least 1e-9 apart.", above.text, node.position)
        return low, high

    def _number(self, place: Sequence[str], low: Fraction, high: Fraction) -> Fraction:
        self.count += 1
        digest = hashlib.sha256("\0".join((str(self.seed), str(self.variant), *place)).encode()).digest()
        exact = low + (high - low) * Fraction(int.from_bytes(digest[:8], "big"), 2**64)
        scale = 1000
        while 0 < (high - low) * scale < _STEPS:
            scale *= 10
        return min(max(Fraction(round(exact * scale), scale), low), high)


def _is_letter(node: Node) -> bool:
    if isinstance(node, Call):
        return node.method == "X"
    return isinstance(node, ModelRef) and (node.name in LETTERS or node.name == "X")
