"""Fixes of coefficients that add to neither 1 nor 0: another last one, all of them divided, or free_sum."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from ..decimals import is_decimal, spell_number
from ..errors import RecipeError
from ..expression import NAME_CHARACTERS, Binary, Call, ModelRef, Node, Number, StepRef, spell_name, walk
from ..recipe_check import Checker
from .draft import read_draft

_MOST_DIGITS = 12
_WORD = re.compile(rf"{NAME_CHARACTERS}+")

Proposal = tuple[str, str]


def sum_fixes(text: str, position: int) -> Iterator[Proposal]:
    """Texts in which the sum at a position is one that is meant."""
    draft = read_draft(text)
    found = next((written for written in draft.lines if written.start <= position <= written.end), None)
    if found is None:
        return
    node, (first, last) = found.line.expression, found.body
    total = draft.checker.total(node)
    yield from _minus(text, node)
    yield from _last_scaled(text, node, total, draft.checker)
    before, right, after = text[:first], text[first:last], text[last:]
    if total > 0 and is_decimal(total) and len(spell_number(total)) <= _MOST_DIGITS:
        divided = f"({right})" if isinstance(node, Binary) and node.operator in "+-" else right
        yield f"Divide by {spell_number(total)}", f"{before}{divided} / {spell_number(total)}{after}"
    yield "Mean it: free_sum(...)", f"{before}free_sum({right}){after}"


def _minus(text: str, node: Node) -> Iterator[Proposal]:
    """`B-C` is one name; a subtraction may have been meant."""
    for part in walk(node):
        if isinstance(part, ModelRef) and part.name.count("-") == 1 and text.startswith(part.name, part.position):
            left, right = part.name.split("-")
            end = part.position + len(part.name)
            yield f"{left} - {right}", f"{text[: part.position]}{spell_name(left)} - {spell_name(right)}{text[end:]}"


def _last_scaled(text: str, node: Node, total: Fraction, checker: Checker) -> Iterator[Proposal]:
    """The last coefficient that is written as a number, or left out, made such that the sum is 1."""
    for sign, term in reversed(_terms(node, 1)):
        number, model = _parted(term)
        try:
            if model is None or checker.total(model) != 1:
                continue
        except RecipeError:
            continue
        value = (number.value if number else Fraction(1)) + sign * (1 - total)
        spelled = spell_number(value) if is_decimal(value) else ""
        if value <= 0 or not spelled or len(spelled) > _MOST_DIGITS:
            return
        if number is None:
            yield f"Make it {spelled} * {_called(model)}", f"{text[: model.position]}{spelled} * {text[model.position :]}"
        elif match := _WORD.match(text, number.position):
            yield f"Make it {spelled} * {_called(model)}", text[: match.start()] + spelled + text[match.end() :]
        return


def _terms(node: Node, sign: int) -> list[tuple[int, Node]]:
    if isinstance(node, Binary) and node.operator in "+-":
        right = sign if node.operator == "+" else -sign
        return [*_terms(node.left, sign), *_terms(node.right, right)]
    return [(sign, node)]


def _parted(term: Node) -> tuple[Number | None, Node | None]:
    """(coefficient, model) of `0.3 * M`, `M * 0.3` or `M`; no model where it is anything else."""
    if isinstance(term, (ModelRef, StepRef, Call)):
        return None, term
    if isinstance(term, Binary) and term.operator == "*":
        if isinstance(term.left, Number):
            return term.left, term.right
        if isinstance(term.right, Number):
            return term.right, term.left
    return None, None


def _called(node: Node) -> str:
    return node.name if isinstance(node, (ModelRef, StepRef)) else "..."
