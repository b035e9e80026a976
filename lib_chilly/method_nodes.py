"""Calls that do not fold: numbered like sources, so that a weighted sum may be over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .expression import Call, FileName, ModelRef, spell, walk
from .linear_form import LinearForm
from .recipe import Recipe
from .signature import Place

NODES = 1 << 20
"""What nodes are numbered from; there are never so many sources."""


Sum = tuple[tuple[int, Fraction], ...]
"""(number of a source or a node, its coefficient), in the order of the sum; no zeros."""


@dataclass(frozen=True)
class MethodNode:
    """A call in one kind of key: its operands are weighted sums, and it is a term of others.

    Attributes:
        values: parameter to its value in these keys.
        text: the call as it stands in the canonical text.
        place: how many sources first stand before it in the text, and how many calls: its place in a sum. No two calls have one.
        where: the one key that it is made for; None where it is the same in all.
    """

    method: str
    operands: tuple[Sum, ...]
    values: tuple[tuple[str, Fraction], ...]
    text: str
    place: tuple[int, int]
    where: Place | None = None


class NodeBook:
    """All nodes of a recipe; what a node is made of has a smaller number than it.

    Args:
        source_of: a file's name as written to the number of its source.
    """

    def __init__(self, recipe: Recipe, source_of: Mapping[FileName, int]):
        self._nodes: dict[int, MethodNode] = {}
        self._numbers: dict[MethodNode, int] = {}
        self._places: dict[int, tuple[int, int]] = {}
        seen: set[int] = set()
        for line in recipe.used_lines():
            for part in walk(line.expression):
                if isinstance(part, Call):
                    self._places[id(part)] = len(seen), len(self._places)
                elif isinstance(part, ModelRef):
                    seen.add(source_of[part.name])

    def number(
        self, call: Call, operands: Sequence[LinearForm], values: Mapping[str, Fraction], where: Place | None = None
    ) -> int:
        """The number of a call over these operands; equal ones have one number."""
        sums = tuple(self.in_order(operand) for operand in operands)
        node = MethodNode(call.method, sums, tuple(values.items()), spell(call), self._places[id(call)], where)
        number = self._numbers.setdefault(node, NODES + len(self._numbers))
        self._nodes[number] = node
        return number

    def in_order(self, form: LinearForm) -> Sum:
        """A sum's terms in its order: by where each first stands in the text."""

        def place(number: int) -> tuple[int, bool, int]:
            if number < NODES:
                return number, True, 0
            before, call = self._nodes[number].place  # never the number: it depends on which keys were folded first
            return before, False, call

        return tuple((number, form.terms[number]) for number in sorted(form.terms, key=place))

    def sources_of(self, form: LinearForm) -> set[int]:
        """Numbers of the sources that a sum and its nodes are made of."""
        sums = [form.terms, *(dict(operand) for node in self.below(form).values() for operand in node.operands)]
        return {number for terms in sums for number in terms if number < NODES}

    def below(self, form: LinearForm) -> dict[int, MethodNode]:
        """Every node that a sum is made of, each behind those that it is made of itself."""
        found: set[int] = set()
        todo = [number for number in form.terms if number >= NODES]
        while todo:
            number = todo.pop()
            if number not in found:
                found.add(number)
                todo += [below for operand in self._nodes[number].operands for below, _ in operand if below >= NODES]
        return {number: self._nodes[number] for number in sorted(found)}
