"""A model card's formula in alpha and beta -> the merge method that it is, else a sum with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import RecipeError
from .card_given import Given
from .card_tokens import WEIGHTS, Token

_WEIGHTED = {("1-alpha", "alpha"): ("alpha",), ("1-beta", "beta"): ("beta",)}
_TRIPLE = ("1-alpha-beta", "alpha", "beta")
_COEFFICIENTS = frozenset(("1-alpha", "1-beta", *_TRIPLE))


class WeightFolder:
    """Writes a formula in alpha and beta without them: as a merge method where it is one, else with their numbers."""

    def __init__(self, text: str, values: Mapping[str, Given]):
        self.text, self.values = text, values

    def fold(self, tokens: list[Token]) -> list[Token]:
        """The formula in our own notation.

        Raises:
            RecipeError: a list of numbers stands where no method takes one.
        """
        if not any(token.kind == "weight" for token in tokens):
            return tokens
        return self._weighted_sum(tokens) or self._add_difference(tokens) or self._with_numbers(tokens)

    def _weighted_sum(self, tokens: list[Token]) -> list[Token] | None:
        operands: dict[str, list[Token]] = {}
        terms = split_terms(tokens, "+-")
        for sign, term in terms:
            coefficient, operand = _coefficient(term)
            if sign == "-" or coefficient is None:
                return None
            operands[coefficient] = operand
        for form, names in _WEIGHTED.items():
            if len(terms) == 2 and set(operands) == set(form):
                return self._call("weighted_sum", [operands[each] for each in form], names)
        if len(terms) == 3 and set(operands) == set(_TRIPLE) and any(self.values[name].is_list for name in WEIGHTS):
            return self._call("triple_sum", [operands[each] for each in _TRIPLE], WEIGHTS)
        return None

    def _add_difference(self, tokens: list[Token]) -> list[Token] | None:
        """`A + (B - C) x alpha` with a list; with one number it stays a sum."""
        terms = split_terms(tokens, "+-")
        if len(terms) != 2 or terms[1][0] != "+" or any(token.kind == "weight" for token in terms[0][1]):
            return None
        coefficient, operand = _coefficient(terms[1][1])
        if coefficient not in WEIGHTS or not self.values[coefficient].is_list:
            return None
        difference = split_terms(operand, "+-")
        if len(difference) != 2 or difference[1][0] != "-":
            return None
        return self._call("add_difference", [terms[0][1], difference[0][1], difference[1][1]], (coefficient,))

    def _call(self, method: str, operands: Sequence[list[Token]], names: Sequence[str]) -> list[Token]:
        start = operands[0][0].position
        call = [Token("name", method, start), Token("(", "(", start)]
        for operand in operands:
            call += [*self.fold(operand), Token(",", ",", operand[-1].position)]
        for parameter, name in zip(WEIGHTS[: len(names)], names, strict=True):
            given = self.values[name]
            call += [Token("number", parameter, given.position), Token("=", "=", given.position), *given.tokens]
            call.append(Token(",", ",", given.end))
        return [*call[:-1], Token(")", ")", call[-1].position)]

    def _with_numbers(self, tokens: list[Token]) -> list[Token]:
        written, index = [], 0
        while index < len(tokens):
            token = tokens[index]
            if token.kind == "(":
                close = _closing(tokens, index)
                written += [token, *self.fold(tokens[index + 1 : close]), tokens[close]]
                index = close
            elif token.kind == "weight":
                written += [Token("number", number.text, token.position) for number in self._one_number(token)]
            else:
                written.append(token)
            index += 1
        return written

    def _one_number(self, token: Token) -> tuple[Token, ...]:
        given = self.values[token.text]
        if given.is_list:
            raise RecipeError(
                f"{token.text} is {given.described()}; it can only stand in 'X x (1 - {token.text}) + Y x {token.text}' "
                f"or 'X + (Y - Z) x {token.text}'.",
                self.text,
                token.position,
            )
        return given.numbers


def _coefficient(term: list[Token]) -> tuple[str | None, list[Token]]:
    """(`1-alpha` or the like, what it multiplies) of a product of two; (None, ...) for any other term."""
    factors = [factor for _, factor in split_terms(term, "*/")]
    if len(factors) == 2 and not any(sign == "/" for sign, _ in split_terms(term, "*/")):
        for factor, other in (factors, factors[::-1]):
            written = "".join(token.text for token in _bare(factor))
            if written in _COEFFICIENTS and other:
                return written, _bare(other)
    return None, term


def split_terms(tokens: list[Token], signs: str) -> list[tuple[str, list[Token]]]:
    """(sign before it, part) of an expression, split at those signs outside of parentheses; a sign of a number splits nothing."""
    parts: list[tuple[str, list[Token]]] = [(signs[0], [])]
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.kind, 0)
        part = parts[-1][1]
        if token.kind in signs and not depth and part and part[-1].kind not in "+-*/":
            parts.append((token.kind, []))
        else:
            part.append(token)
    return parts


def _bare(tokens: list[Token]) -> list[Token]:
    """Without the parentheses around all of it."""
    while tokens and tokens[0].kind == "(" and _closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _closing(tokens: Sequence[Token], index: int) -> int:
    depth = 0
    for place in range(index, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[place].kind, 0)
        if not depth:
            return place
    return len(tokens) - 1
