"""Fold a recipe for one kind of key, from steps, block weights and the sources that hold the key, to one weighted sum.

All numbers are exact rationals. How absent keys are settled stands in docs/recipes.md; it happens in each step, before folding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .expression import Binary, Call, ModelRef, Negative, Node, StepRef, spell, walk
from .linear_form import NOTHING, LinearForm
from .recipe import Recipe
from .recipe_check import Checker, is_number
from .registry import Absence, coefficients, get_method


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
class _Term:
    """`weight * operand` in a sum; `is_delta` says what the operand is."""

    weight: Fraction
    name: str
    value: Value
    is_delta: bool


class Folder:
    """Folds one recipe for kinds of keys.

    Args:
        source_of: model's name as written to the number of its source.
    """

    def __init__(self, recipe: Recipe, source_of: Mapping[str, int]):
        self.recipe = recipe
        self.source_of = source_of
        self.checker = Checker.of(recipe)
        self.lines = [line for line in recipe.used_lines() if not line.is_constant]
        self.calls = {id(call): number for number, call in enumerate(recipe.calls())}
        self._places = self._weights_of_lines()
        self._values: dict[object, Value] = {}

    def fold(self, weights: Mapping[tuple[int, str], Fraction], holders: frozenset[int]) -> Value:
        """The result in keys that `holders` hold.

        Args:
            weights: (number of the call in `recipe.calls()`, parameter) to its value in these keys.
            holders: numbers of the sources that have these keys.

        Raises:
            RecipeError: a method divides by zero with these weights.
        """
        run = _Fold(self, weights, holders)
        for line in self.lines:  # most of them are the same in most kinds of keys
            situation = line.name, holders, tuple(weights[place] for place in self._places[line.name])
            if situation not in self._values:
                self._values[situation] = run.value(line.expression)
            run.steps[line.name] = self._values[situation]
        return run.steps[self.recipe.result]

    def _weights_of_lines(self) -> dict[str, tuple[tuple[int, str], ...]]:
        """Name of each step to all the weights that have a part in it, its own and those of the steps that it uses."""
        found: dict[str, tuple[tuple[int, str], ...]] = {}
        for line in self.lines:
            places: dict[tuple[int, str], None] = {}
            for node in walk(line.expression):
                if isinstance(node, StepRef):
                    places |= dict.fromkeys(found[node.name])
                elif isinstance(node, Call):
                    places |= dict.fromkeys((self.calls[id(node)], name) for name in get_method(node.method).parameters)
            found[line.name] = tuple(places)
        return found


class _Fold:
    """One evaluation of all steps."""

    def __init__(self, folder: Folder, weights: Mapping[tuple[int, str], Fraction], holders: frozenset[int]):
        self.folder, self.weights, self.holders = folder, weights, holders
        self.steps: dict[str, Value] = {}

    def value(self, node: Node) -> Value:
        if isinstance(node, ModelRef):
            source = self.folder.source_of[node.name]
            held = source in self.holders
            form = LinearForm({source: Fraction(1)}) if held else NOTHING
            return Value(form, held, (spell(node), form) if held else None, frozenset((spell(node),)), source if held else None)
        if isinstance(node, StepRef):
            return self.steps[node.name]
        if isinstance(node, Call):
            return self.call(node)
        terms = self.terms(node, Fraction(1))
        return _settle(terms) if self.folder.checker.total(node) in (0, 1) else _add_freely(terms)

    def call(self, node: Call) -> Value:
        method = get_method(node.method)
        number = self.folder.calls[id(node)]
        values = {name: self.weights[number, name] for name in method.parameters}
        units = [LinearForm({index: Fraction(1)}) for index in range(len(node.operands))]
        weights = coefficients(method, units, values)
        terms = [self.term(weights[index], operand) for index, operand in enumerate(node.operands)]
        if method.absence is Absence.ZERO:
            return _add_freely(terms)
        if method.absence is Absence.SHARE and not any(term.is_delta for term in terms):
            return _share(terms)
        return _settle(terms)

    def terms(self, node: Node, weight: Fraction) -> list[_Term]:
        """A sum's terms; a group in parentheses that is a model or a delta is one term, any other is multiplied out."""
        if isinstance(node, Negative):
            return self.group(node.operand, -weight)
        if isinstance(node, Binary) and node.operator in "+-":
            sign = 1 if node.operator == "+" else -1
            return self.terms(node.left, weight) + self.group(node.right, sign * weight)
        if isinstance(node, Binary):
            number, model = (node.left, node.right) if is_number(node.left) else (node.right, node.left)
            factor = self.folder.checker.number(number)
            return self.group(model, weight / factor if node.operator == "/" else weight * factor)
        return [self.term(weight, node)]

    def group(self, node: Node, weight: Fraction) -> list[_Term]:
        is_sum = isinstance(node, Binary) and node.operator in "+-"
        if is_sum and self.folder.checker.total(node) in (0, 1):
            return [self.term(weight, node)]
        return self.terms(node, weight)

    def term(self, weight: Fraction, node: Node) -> _Term:
        return _Term(weight, spell(node), self.value(node), self.folder.checker.total(node) == 0)


def _settle(terms: Sequence[_Term]) -> Value:
    """Read a sum as base + deltas.

    Positive weights, from left to right, are the base until they add to 1; the rest pairs with the negative ones. Base operands
    that hold the key share the weight; a delta with a side missing is 0.
    """
    base, pairs = _base_and_pairs(terms)
    held = [(weight, term) for weight, term in base if term.value.held]
    stand_in = _first(terms)
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
    return Value(form, stand_in is not None, stand_in, _names(terms), _pick(terms))


def _share(terms: Sequence[_Term]) -> Value:
    """Operands that hold the key share the weight; where their weights add to 0 the first of them is taken whole."""
    held = [term for term in terms if term.value.held]
    total = sum((term.weight for term in held), Fraction(0))
    form = held[0].value.form if held and total == 0 else _weighted([(term.weight, term) for term in held])
    return Value(form, bool(held), _first(terms), _names(terms), _pick(terms))


def _add_freely(terms: Sequence[_Term]) -> Value:
    """A missing operand counts 0."""
    form = sum((term.weight * term.value.form for term in terms), NOTHING)
    return Value(form, any(term.value.held for term in terms), _first(terms), _names(terms), _pick(terms))


def _base_and_pairs(terms: Sequence[_Term]) -> tuple[list[tuple[Fraction, _Term]], list[tuple[Fraction, _Term, _Term]]]:
    models = [term for term in terms if not term.is_delta]
    plus = [(term.weight, term) for term in models if term.weight > 0]
    minus = [(-term.weight, term) for term in models if term.weight < 0]
    room = sum((term.weight for term in models), Fraction(0))
    base: list[tuple[Fraction, _Term]] = []
    while room > 0:
        weight = min(room, plus[0][0])
        base.append((weight, _take(plus, weight)))
        room -= weight
    pairs = []
    while plus:
        weight = min(plus[0][0], minus[0][0])
        pairs.append((weight, _take(plus, weight), _take(minus, weight)))
    return base, pairs


def _take(queue: list[tuple[Fraction, _Term]], weight: Fraction) -> _Term:
    """Take `weight` off the first of the queue, and return its term."""
    left, term = queue.pop(0)
    if left > weight:
        queue.insert(0, (left - weight, term))
    return term


def _weighted(terms: Sequence[tuple[Fraction, _Term]]) -> LinearForm:
    """The sum with weights stretched so that they add to 1."""
    total = sum((weight for weight, _ in terms), Fraction(0))
    return sum((weight / total * term.value.form for weight, term in terms), NOTHING)


def _first(terms: Sequence[_Term]) -> tuple[str, LinearForm] | None:
    """(name, form) of the first operand that holds the key, looked for inside deltas too."""
    for term in terms:
        if term.is_delta and term.value.stand_in is not None:
            return term.value.stand_in
        if not term.is_delta and term.value.held:
            return term.name, term.value.form
    return None


def _pick(terms: Sequence[_Term]) -> int | None:
    """The source of a copied key: the first operand's that counts, else the first that holds it."""
    counted = [term for term in terms if term.weight > 0 and not term.is_delta]
    return next((term.value.pick for term in (*counted, *terms) if term.value.pick is not None), None)


def _names(terms: Sequence[_Term]) -> frozenset[str]:
    return frozenset().union(*(term.value.names if term.is_delta else {term.name} for term in terms))
