"""What a sum of operands comes to in keys that some of them lack; the rules stand in docs/recipes.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .linear_form import NOTHING, LinearForm


@dataclass(frozen=True)
class Value:
    """What an expression comes to in one kind of key.

    Attributes:
        form: over the sources.
        held: for a model, whether any of its operands holds the key; a delta is always there, 0 where a side is missing.
        stand_in: (name, value) of the first operand that holds the key: what a missing base is replaced by.
        names: of the operands that stand in it.
        pick: the source that keys which are copied come from.
    """

    form: LinearForm
    held: bool
    stand_in: tuple[str, LinearForm] | None
    names: frozenset[str]
    pick: int | None


@dataclass(frozen=True)
class Term:
    """`weight * operand` in a sum; `is_delta` says what the operand is."""

    weight: Fraction
    name: str
    value: Value
    is_delta: bool

    @property
    def is_there(self) -> bool:
        """Whether it has a value in these keys; a delta always has, 0 where a side is missing."""
        return self.is_delta or self.value.held


def settle(terms: Sequence[Term]) -> Value:
    """Read a sum as base + deltas.

    Positive weights, from left to right, are the base until they add to 1; the rest pairs with the negative ones. Base operands
    that hold the key share the weight; a delta with a side missing is 0.
    """
    base, pairs = _base_and_pairs(terms)
    held = [(weight, term) for weight, term in base if term.value.held]
    stand_in = first_held(terms)
    replaced = None
    form = _weighted(held)
    if base and not held and stand_in is not None:
        replaced, form = stand_in
    for weight, plus, minus in pairs:
        if plus.value.held and minus.value.held and replaced not in (plus.name, minus.name):
            form = form + weight * (plus.value.form - minus.value.form)
    for term in terms:
        if term.is_delta and replaced not in term.value.names:
            form = form + term.weight * term.value.form
    return Value(form, stand_in is not None, stand_in, names_of(terms), picked(terms))


def share(terms: Sequence[Term]) -> Value:
    """Operands that hold the key share the weight; where their weights add to 0 the first of them is taken whole."""
    held = [term for term in terms if term.value.held]
    total = sum((term.weight for term in held), Fraction(0))
    form = held[0].value.form if held and total == 0 else _weighted([(term.weight, term) for term in held])
    return Value(form, bool(held), first_held(terms), names_of(terms), picked(terms))


def add_freely(terms: Sequence[Term]) -> Value:
    """A missing operand counts 0."""
    form = sum((term.weight * term.value.form for term in terms), NOTHING)
    return Value(form, any(term.value.held for term in terms), first_held(terms), names_of(terms), picked(terms))


def _base_and_pairs(terms: Sequence[Term]) -> tuple[list[tuple[Fraction, Term]], list[tuple[Fraction, Term, Term]]]:
    models = [term for term in terms if not term.is_delta]
    plus = [(term.weight, term) for term in models if term.weight > 0]
    minus = [(-term.weight, term) for term in models if term.weight < 0]
    room = sum((term.weight for term in models), Fraction(0))
    base: list[tuple[Fraction, Term]] = []
    while room > 0:
        weight = min(room, plus[0][0])
        base.append((weight, _take(plus, weight)))
        room -= weight
    pairs = []
    while plus:
        weight = min(plus[0][0], minus[0][0])
        pairs.append((weight, _take(plus, weight), _take(minus, weight)))
    return base, pairs


def _take(queue: list[tuple[Fraction, Term]], weight: Fraction) -> Term:
    """Take `weight` off the first of the queue, and return its term."""
    left, term = queue.pop(0)
    if left > weight:
        queue.insert(0, (left - weight, term))
    return term


def _weighted(terms: Sequence[tuple[Fraction, Term]]) -> LinearForm:
    """The sum with weights stretched so that they add to 1."""
    total = sum((weight for weight, _ in terms), Fraction(0))
    return sum((weight / total * term.value.form for weight, term in terms), NOTHING)


def first_held(terms: Sequence[Term]) -> tuple[str, LinearForm] | None:
    """(name, form) of the first operand that holds the key, looked for inside deltas too."""
    for term in terms:
        if term.is_delta and term.value.stand_in is not None:
            return term.value.stand_in
        if not term.is_delta and term.value.held:
            return term.name, term.value.form
    return None


def picked(terms: Sequence[Term]) -> int | None:
    """The source of a copied key: the first operand's that counts, else the first that holds it."""
    counted = [term for term in terms if term.weight > 0 and not term.is_delta]
    return next((term.value.pick for term in (*counted, *terms) if term.value.pick is not None), None)


def names_of(terms: Sequence[Term]) -> frozenset[str]:
    return frozenset().union(*(term.value.names if term.is_delta else {term.name} for term in terms))
