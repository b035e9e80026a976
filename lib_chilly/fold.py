"""Fold a recipe for one kind of key, from steps, block weights and the sources that hold the key, to one weighted sum.

All numbers are exact rationals. How absent keys are settled stands in docs/recipes.md; it happens in each step, before folding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from .absence import Term, Value, add_freely, first_held, names_of, picked, settle, share
from .expression import Binary, Call, FileName, LoraRef, ModelRef, Negative, Node, StepRef, spell, walk
from .linear_form import NOTHING, LinearForm
from .method_nodes import NodeBook
from .recipe import Recipe
from .recipe_check import Checker, is_number
from .registry import MergeMethod, coefficients, get_method
from .signature import Absence, Place


class Folder:
    """Folds one recipe for kinds of keys.

    Args:
        source_of: a file's name as written to the number of its source.
        latents: kind of latents that the models make.

    Attributes:
        nodes: the calls that do not fold, as far as keys were folded.
    """

    def __init__(self, recipe: Recipe, source_of: Mapping[FileName, int], latents: str = ""):
        self.recipe, self.source_of, self.latents = recipe, source_of, latents
        self.checker = Checker.of(recipe)
        self.lines = [line for line in recipe.used_lines() if not line.is_constant]
        self.calls = {id(call): number for number, call in enumerate(recipe.calls())}
        self._places = self._weights_of_lines()
        self._own_keys = frozenset[str]().union(*(get_method(call.method).keys for call in recipe.calls()))
        self._values: dict[object, Value] = {}
        self.nodes = NodeBook(recipe, source_of)

    def fold(self, weights: Mapping[tuple[int, str], Fraction], holders: frozenset[int], key: str = "") -> Value:
        """The result in keys that `holders` hold.

        Args:
            weights: (number of the call in `recipe.calls()`, parameter) to its value in these keys.
            holders: numbers of the sources that have these keys.
            key: one of them; only methods with parameters that count in some keys alone tell it from the others.

        Raises:
            RecipeError: a method divides by zero with these weights.
        """
        own_key = key if key in self._own_keys else ""
        run = _Fold(self, weights, holders, own_key)
        for line in self.lines:  # most of them are the same in most kinds of keys
            situation = line.name, holders, own_key, tuple(weights[place] for place in self._places[line.name])
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

    def __init__(self, folder: Folder, weights: Mapping[tuple[int, str], Fraction], holders: frozenset[int], key: str):
        self.folder, self.weights, self.holders, self.key = folder, weights, holders, key
        self.steps: dict[str, Value] = {}

    def value(self, node: Node) -> Value:
        if isinstance(node, LoraRef):
            source = self.folder.source_of[node]
            form = LinearForm({source: Fraction(1)}) if source in self.holders else NOTHING
            return Value(form, form is not NOTHING, None, frozenset((spell(node),)), None)
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
        return settle(terms) if self.folder.checker.total(node) in (0, 1) else add_freely(terms)

    def call(self, node: Call) -> Value:
        method = get_method(node.method)
        number = self.folder.calls[id(node)]
        values = {name: self.weights[number, name] for name in method.parameters}
        if not method.is_sum:
            return self.bend(node, method, values)
        units = [LinearForm({index: Fraction(1)}) for index in range(len(node.operands))]
        weights = coefficients(method, units, values)
        terms = [self.term(weights[index], operand) for index, operand in enumerate(node.operands)]
        if method.absence is Absence.ZERO:
            return add_freely(terms)
        if method.absence is Absence.SHARE and not any(term.is_delta for term in terms):
            return share(terms)
        return settle(terms)

    def bend(self, call: Call, method: MergeMethod, values: Mapping[str, Fraction]) -> Value:
        """A call that does not fold: a node, or one of its operands.

        Of a row of any number those that hold the key are taken, each with its own weight; where another one is missing, or the
        whole row, the result is the first operand that holds it.
        """
        terms = [self.term(Fraction(1), operand) for operand in method.bind(call.operands, call.parameters)]
        if method.takes_files and (terms[0].value.form is NOTHING or not terms[1].is_there):
            return Value(NOTHING, True, None, names_of(terms), None)
        roles = dict(zip(method.operand_names(len(terms)), terms, strict=True))
        end = next((roles[name] for (parameter, at), name in method.ends.items() if values[parameter] == Fraction(str(at))), None)
        if method.keys and not any(values.values()):
            end = terms[0]
        if end is not None and end.is_there:
            return replace(end.value, names=names_of(terms))
        in_row = len(terms) - len(method.named) if method.takes_any_number else 0
        row, needed = terms[:in_row], terms[in_row:]
        present = [term for term in row if term.is_there]
        first = first_held(terms)
        if first is None:
            return Value(NOTHING, False, None, names_of(terms), None)
        is_matched = method.takes_orders and terms[1].is_there  # B's units change places in all keys that have them, or in none
        if not is_matched and (not all(term.is_there for term in needed) or (row and not present)):
            return Value(first[1], True, first, names_of(terms), picked(terms))
        shares = [values[name] for name, term in zip(method.weights, row, strict=False) if term.is_there]
        shares += [Fraction(1)] * len(method.weights)
        values = {**values, **dict(zip(method.weights, shares, strict=False))}
        where = Place(self.key, latents=self.folder.latents) if method.keys else None
        number = self.folder.nodes.number(call, [term.value.form for term in (*present, *needed)], values, where)
        return Value(LinearForm({number: Fraction(1)}), True, first, names_of(terms), picked(terms))

    def terms(self, node: Node, weight: Fraction) -> list[Term]:
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

    def group(self, node: Node, weight: Fraction) -> list[Term]:
        is_sum = isinstance(node, Binary) and node.operator in "+-"
        if is_sum and self.folder.checker.total(node) in (0, 1):
            return [self.term(weight, node)]
        return self.terms(node, weight)

    def term(self, weight: Fraction, node: Node) -> Term:
        return Term(weight, spell(node), self.value(node), self.folder.checker.total(node) == 0)
