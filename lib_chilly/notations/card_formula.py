"""One formula of a model card -> tokens of our own notation, left to right; knows no lines, no labels and no recipe."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import RecipeError
from ..expression import is_bare_name, is_number
from .card_tokens import WEIGHTS, Names, Token, ends_formula, is_letter_x, is_name, is_numeric, settle, starts_operand

_DEEPEST = 50


class Arithmetic:
    """Reads an expression as the card writes it: `x` multiplies, and so does `X (1 - alpha)`; what follows a comma is prose.

    Attributes:
        tokens: the expression, settled; every product has its sign.
        stop: index of the first token of the prose behind the expression.
        remarks: (start, end) of what stands in parentheses behind a name and is passed over, such as `(fp16)`.
    """

    def __init__(self, text: str, raw: Sequence[Token], end: int, names: Names):
        """Read `raw`, which ends at offset `end` of `text`.

        Raises:
            RecipeError: at the first token that makes no sense.
        """
        self.text, self.raw, self.end, self.names = text, raw, end, names
        self.tokens: list[Token] = []
        self.stop = 0
        self.remarks: list[tuple[int, int]] = []
        self._wants_operand = True
        self._is_numeric = False
        """Whether what was read last is alpha, beta or parentheses around numbers: it multiplies a name beside it."""
        self._opened: list[int] = []
        self._closing = _pairs(raw)
        self._names_before = [0]
        self._signs_before = [0]
        for token in raw:
            is_model = token.kind == "quoted" or (
                token.kind == "word" and not is_letter_x(token) and not is_numeric(token, names)
            )
            self._names_before.append(self._names_before[-1] + is_model)
            self._signs_before.append(self._signs_before[-1] + (token.kind in "+-*/="))
        self._read()

    def _read(self) -> None:
        index: int | None = 0
        while index is not None and index < len(self.raw):
            self.stop = index
            index = self._operand(index) if self._wants_operand else self._operator(index)
        if index is not None:
            self.stop = index
        if self._wants_operand:
            raise RecipeError("the formula ends too early: a name, a number or '(' should follow.", self.text, self.end)
        if self._opened:
            raise RecipeError("'(' is never closed.", self.text, self.raw[self._opened[-1]].position)

    def _operand(self, index: int) -> int:
        token = self.raw[index]
        if token.kind == "(":
            self._open(index)
        elif token.kind == "-":
            self._put("-", token)
        elif token.kind == "quoted":
            self._take([Token("name", token.text, token.position)])
        elif token.kind != "word":
            raise self._not_understood(token, "a name, a number or '('")
        elif token.text[-1] in "xX" and is_number(token.text[:-1]) and starts_operand(self.raw, index + 1):
            self._put("number", Token("number", token.text[:-1], token.position))
            self._put("*", Token("*", "*", token.position + len(token.text) - 1))
        else:
            self._take(settle(token, self.names))
            if self.tokens[-1].kind == "name" and not is_bare_name(token.text):
                raise RecipeError(f"'{token.text}' is no name: put it in double quotes.", self.text, token.position)
        return index + 1

    def _operator(self, index: int) -> int | None:
        """The index to go on from; None where the formula ends."""
        token = self.raw[index]
        if token.kind in ("+", "-", "*", "/"):
            self._put(token.kind, token)
        elif token.kind == ")" and self._opened:
            self._put(")", token)
            self._is_numeric = self._holds_numbers(self._opened.pop(), index)
            self._wants_operand = False
        elif token.kind == "word" and token.text[0] in "xX" and self._is_times(index):
            self._put("*", token)
            if len(token.text) > 1:
                self._take([Token("number", token.text[1:], token.position + 1)])
        elif token.kind == "(":
            return self._juxtaposed(index)
        elif self._multiplies_unsigned(token):
            self._put("*", Token("*", "*", token.position))
            return index
        elif ends_formula(token) and not self._opened:
            self._refuse_comma(index)
            return None
        else:
            raise self._not_understood(token, "an operator (+ - x /)")
        return index + 1

    def _juxtaposed(self, index: int) -> int | None:
        """Parentheses behind an operand: a product where one of the two is of numbers, a remark where they hold words alone."""
        token, close = self.raw[index], self._closing.get(index)
        last = len(self.raw) if close is None else close
        if (close is not None and self._holds_numbers(index, close)) or self._is_numeric:
            self._put("*", Token("*", "*", token.position))
            return index
        if self._signs_before[last] > self._signs_before[index] or not self.text[token.position - 1].isspace():
            raise self._not_understood(token, "an operator (+ - x /)")
        if close is None:
            return None
        self.remarks.append((token.position, self.raw[close].position + 1))
        return close + 1

    def _is_times(self, index: int) -> bool:
        text = self.raw[index].text
        return starts_operand(self.raw, index + 1) if len(text) == 1 else is_number(text[1:])

    def _multiplies_unsigned(self, token: Token) -> bool:
        """`Y alpha`, `alpha Y` and `(1 - alpha) Y`."""
        if token.kind == "word" and token.text in WEIGHTS:
            return not self._is_numeric
        return self._is_numeric and is_name(token) and not ends_formula(token)

    def _holds_numbers(self, opening: int, closing: int) -> bool:
        return closing > opening + 1 and self._names_before[opening] == self._names_before[closing]

    def _open(self, index: int) -> None:
        if len(self._opened) == _DEEPEST:
            raise RecipeError(
                "the formula is nested too deeply. Give parts of it names of their own.", self.text, self.raw[index].position
            )
        self._opened.append(index)
        self._put("(", self.raw[index])

    def _take(self, settled: list[Token]) -> None:
        self.tokens += settled
        self._wants_operand = False
        self._is_numeric = settled[-1].kind == "weight"

    def _put(self, kind: str, token: Token) -> None:
        self.tokens.append(Token(kind, token.text if kind == "number" else kind, token.position))
        self._wants_operand = True
        self._is_numeric = False

    def _refuse_comma(self, index: int) -> None:
        """`0,5` is no number, and not the end of a formula either."""
        around = self.raw[index - 1 : index + 2]
        if (
            len(around) == 3
            and around[1].kind == ","
            and all(side.kind == "word" and is_number(side.text) for side in around[::2])
        ):
            first, comma, second = around
            if first.position + len(first.text) == comma.position == second.position - 1:
                raise RecipeError("a number has a point, not a comma: write 0.5 for 0,5.", self.text, comma.position)

    def _not_understood(self, token: Token, expected: str) -> RecipeError:
        return RecipeError(f"'{token.text}' is not understood here; {expected} was expected.", self.text, token.position)


def _pairs(tokens: Sequence[Token]) -> dict[int, int]:
    """Index of each opening parenthesis -> index of the one that closes it."""
    pairs, opened = {}, []
    for index, token in enumerate(tokens):
        if token.kind == "(":
            opened.append(index)
        elif token.kind == ")" and opened:
            pairs[opened.pop()] = index
    return pairs
