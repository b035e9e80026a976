"""Our own text, written piece by piece from another notation; it remembers where each piece stood in the user's text."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import RecipeError
from ..expression import Binary, Call, ListValue, Negative, Node, Rules, spell_name
from ..recipe import Recipe
from ..recipe_text import parse_recipe
from .card_text import CardText
from .card_tokens import Token


class WrittenRecipe:
    """Takes lines in the order of the user's text; a line stands on the line that it came from, for messages that name it."""

    def __init__(self, source: CardText):
        self.source = source
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._origins: list[int] = []
        self._size = self._line = 0

    def add(self, name: Token, tokens: Sequence[Token], end: int) -> None:
        """Write `name = tokens`; what is missing at its end is missing at `end` of the user's text."""
        self._go_to_line_of(min(token.position for token in (name, *tokens)))
        self._put(spell_name(name.text) + " = ", name.position)
        for token in tokens:
            self._put((spell_name(token.text) if token.kind == "name" else token.text) + " ", token.position)
        self._put("\n", end)
        self._line += 1

    def add_own(self, start: int, end: int) -> None:
        """Take a piece of the user's text as it is."""
        self._go_to_line_of(start)
        for position in range(start, end):
            self._put(self.source.plain[position].translate(_OWN_SIGNS), position)
        self._put("\n", end)
        self._line += self.source.plain.count("\n", start, end) + 1

    def parse(self) -> Recipe:
        """The recipe, with every position in the user's text.

        Raises:
            RecipeError: shown in the user's text.
        """
        try:
            recipe = parse_recipe("".join(self._pieces))
        except RecipeError as error:
            if error.position is None:
                raise
            raise error.at(self.source.original, self._place(error.position)) from None
        lines = tuple(
            replace(line, expression=_moved(line.expression, self._place), position=self._place(line.position))
            for line in recipe.lines
        )
        return replace(recipe, lines=lines, text=self.source.original)

    def _go_to_line_of(self, position: int) -> None:
        missing = self.source.line(position) - self._line
        if missing > 0:
            self._put("\n" * missing, position)
            self._line += missing

    def _put(self, text: str, origin: int) -> None:
        self._pieces.append(text)
        self._starts.append(self._size)
        self._origins.append(origin)
        self._size += len(text)

    def _place(self, offset: int) -> int:
        return self._origins[bisect.bisect_right(self._starts, offset) - 1]


_OWN_SIGNS = str.maketrans("−×`", "-* ")


def _moved(node: Node, place: Callable[[int], int]) -> Node:
    """The same expression with other positions."""
    position = place(node.position)
    if isinstance(node, Negative):
        return replace(node, operand=_moved(node.operand, place), position=position)
    if isinstance(node, Binary):
        return replace(node, left=_moved(node.left, place), right=_moved(node.right, place), position=position)
    if isinstance(node, ListValue):
        return replace(node, items=tuple(_moved(item, place) for item in node.items), position=position)
    if isinstance(node, Rules):
        return replace(node, entries=tuple((pattern, _moved(value, place)) for pattern, value in node.entries), position=position)
    if isinstance(node, Call):
        operands = tuple(_moved(operand, place) for operand in node.operands)
        parameters = tuple((name, _moved(value, place)) for name, value in node.parameters)
        return replace(node, operands=operands, parameters=parameters, position=position)
    return replace(node, position=position)
