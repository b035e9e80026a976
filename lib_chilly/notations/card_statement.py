"""One place of a model card -> a formula, or nothing where it is prose; what is clearly meant as a formula is never skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import RecipeError
from .card_formula import Arithmetic
from .card_tokens import WEIGHTS, Names, Token, ends_formula, is_letter_x, is_name, is_product, settle
from .card_weights import split_terms


@dataclass(frozen=True)
class Statement:
    """A formula of the card, from `start` to `end` of the text.

    Attributes:
        name: what it defines; None where it stands alone.
        tokens: the right side in the card's terms; None for a line in our own notation, which stays as it is.
        remarks: (start, end) of what was passed over in it.
    """

    name: Token | None
    tokens: list[Token] | None
    start: int
    end: int
    remarks: tuple[tuple[int, int], ...] = ()


def find_statement(text: str, tokens: Sequence[Token], names: Names) -> Statement | None:
    """The formula that `tokens` begin with; None where they are prose.

    Args:
        text: the whole text, for showing errors.

    Raises:
        RecipeError: it is meant as a formula and cannot be read.
    """
    equal = equal_sign(tokens)
    return _nameless(text, tokens, names) if equal is None else _named(text, tokens, equal, names)


def equal_sign(tokens: Sequence[Token]) -> int | None:
    return next((index for index, token in enumerate(tokens) if token.kind == "="), None)


def defined_name(tokens: Sequence[Token]) -> Token | None:
    """The result's name: alone on one side of `=`, the left one where both sides are names."""
    equal = equal_sign(tokens)
    if equal is None:
        return None
    left, right = tokens[:equal], tokens[equal + 1 :]
    if len(left) == 1 and is_name(left[0]):
        return left[0]
    return right[0] if right and is_name(right[0]) and _stands_alone(right) else None


def _named(text: str, tokens: Sequence[Token], equal: int, names: Names) -> Statement | None:
    name = defined_name(tokens)
    left, right = tokens[:equal], tokens[equal + 1 :]
    if name is None:
        if any(token.kind == "+" for token in tokens) or _products(left, names) or _products(right, names):
            raise RecipeError(
                "one side of '=' is the result's name and nothing else; a name with spaces or signs stands in double quotes.",
                text,
                tokens[equal].position,
            )
        return None
    is_left = equal == 1 and name is tokens[0]
    raw = right if is_left else left
    if not _has_signs(raw, names) and not _is_value(raw):
        return None
    if name.text in WEIGHTS:
        raise RecipeError(f"{name.text} is one number, or a list of numbers in parentheses.", text, raw[0].position)
    formula = Arithmetic(text, raw, _end(tokens) if is_left else tokens[equal].position, names)
    if not is_left and formula.stop < len(raw):
        raise RecipeError(
            f"'{raw[formula.stop].text}' is not understood here; an operator (+ - x /) was expected.",
            text,
            raw[formula.stop].position,
        )
    tail = raw[formula.stop :] if is_left else right[1:]
    _refuse_another(text, tail, names, 2)
    last = raw[formula.stop - 1] if is_left else name
    return Statement(name, formula.tokens, tokens[0].position, _end([last]), tuple(formula.remarks))


def _nameless(text: str, tokens: Sequence[Token], names: Names) -> Statement | None:
    """A formula without `=` has a product or an alpha, or is nothing but a sum."""
    products = _products(tokens, names)
    is_clear = products > 1 and any(token.kind == "+" for token in tokens)
    try:
        formula = Arithmetic(text, tokens, _end(tokens), names)
    except RecipeError:
        if is_clear:
            raise
        return None
    terms = split_terms(formula.tokens, "+-")
    tail = tokens[formula.stop :]
    has_weights = products or any(token.kind == "weight" for token in formula.tokens)
    if len(terms) > 1 and (has_weights or (not tail and any(sign == "+" for sign, _ in terms[1:]))):
        _refuse_another(text, tail, names, 2)
        return Statement(None, formula.tokens, tokens[0].position, _end([tokens[formula.stop - 1]]), tuple(formula.remarks))
    if is_clear:
        raise RecipeError("this is no formula yet. Write 'NAME = A x 0.6 + B x 0.4'.", text, tokens[0].position)
    return None


def _refuse_another(text: str, tail: Sequence[Token], names: Names, products: int) -> None:
    """Behind a formula's comma stands prose, not a second formula, which would be lost."""
    equal = equal_sign(tail)
    if equal is not None or (products and _products(tail, names) >= products):
        place = tail[0] if equal is None else tail[equal]
        raise RecipeError("a second formula in one line. Give it a line of its own.", text, place.position)


def _stands_alone(tokens: Sequence[Token]) -> bool:
    return len(tokens) == 1 or ends_formula(tokens[1]) or tokens[1].kind in ("(", "=")


def _is_value(raw: Sequence[Token]) -> bool:
    """Whether an alias or a number follows; `CFG = 7, steps = 20` is advice on pictures, not a recipe."""
    if not raw or raw[0].kind not in ("word", "quoted") or not _stands_alone(raw):
        return False
    return is_name(raw[0]) or equal_sign(raw) is None


def _has_signs(tokens: Sequence[Token], names: Names) -> bool:
    return (
        any(token.kind in ("+", "-", "*", "/") for token in tokens)
        or any(is_letter_x(token) for token in tokens[1:-1])
        or any(part.kind == "weight" for token in tokens if token.kind == "word" for part in settle(token, names))
    )


def _products(tokens: Sequence[Token], names: Names) -> int:
    return sum(is_product(tokens, index, names) for index in range(len(tokens)))


def _end(tokens: Sequence[Token]) -> int:
    return tokens[-1].position + len(tokens[-1].text) + 2 * (tokens[-1].kind == "quoted")
