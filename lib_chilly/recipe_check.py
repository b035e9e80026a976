"""Is every expression a model or a delta? Exact coefficient sums: 1 is a model, 0 a delta, anything else is refused."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

from .blocks import BlockWeights, Preset
from .decimals import shown_number
from .errors import Instead, RecipeError, meant, nearest
from .expression import (
    EXTRACT,
    Binary,
    Call,
    Constant,
    ListValue,
    LoraRef,
    ModelRef,
    Negative,
    Node,
    Number,
    PresetValue,
    Rules,
    StepRef,
    shortened,
    spell,
    walk,
)
from .expression import is_number as is_number_text
from .extraction import check_extraction
from .recipe import Line, Recipe, extraction_in
from .registry import MergeMethod, get_method
from .signature import Kind, Param

_LARGEST, _FINEST = 10**100, 10**400
"""Of the numbers that a recipe comes to: their size, and their denominators."""


def is_number(node: Node) -> bool:
    """Whether an expression holds numbers alone."""
    return all(isinstance(part, (Number, Constant, Negative, Binary)) for part in walk(node))


class Checker:
    """Knows the constants' values and the steps' sums of the lines it was given, in the order of the text."""

    def __init__(self, text: str):
        self.text = text
        self.constants: dict[str, Fraction] = {}
        self.sums, self.loras = dict[str, Fraction](), set[str]()

    @classmethod
    def of(cls, recipe: Recipe) -> Checker:
        """A checker that has taken all lines of a recipe."""
        checker = cls(recipe.text)
        for line in recipe.lines:
            checker.add(line)
        return checker

    def add(self, line: Line) -> None:
        """Take one more line.

        Raises:
            RecipeError: its sum is neither 1 nor 0, or its operands do not go together; with the place and the fix.
        """
        if line.is_constant:
            self.constants[line.name] = self.number(line.expression)
            return
        if call := extraction_in(line):
            self.sums[line.name] = check_extraction(call, self)
            self.loras.add(line.name)
            return
        total = self.sums[line.name] = self.total(line.expression)
        if total not in (0, 1):
            message = (
                f"the coefficients of '{line.name}' add to {shown_number(total)}: a model needs 1, a delta 0. "
                f"Change the numbers, or write free_sum({_short(line.expression)}) if you mean it.{_minus_hint(line.expression)}"
            )
            raise RecipeError(message, self.text, line.expression.position, fault="sum")

    def number(self, node: Node) -> Fraction:
        """The exact value of an expression of numbers and constants; RecipeError for anything else."""
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Constant):
            return self.constants[node.name]
        if isinstance(node, Negative):
            return -self.number(node.operand)
        if not isinstance(node, Binary):
            raise self._error(f"'{_short(node)}' is no number.", node, node)
        left, right = self.number(node.left), self.number(node.right)
        if node.operator == "/":
            return self._bounded(left / self._divisor(node.right), node)
        value = left + right if node.operator == "+" else left - right if node.operator == "-" else left * right
        return self._bounded(value, node)

    def total(self, node: Node) -> Fraction:
        """The exact sum of the models' coefficients: 1 is a model, 0 a delta; RecipeError where operands do not go together."""
        if isinstance(node, (ModelRef, LoraRef)):
            return Fraction(isinstance(node, ModelRef))
        if isinstance(node, StepRef):
            if node.name in self.loras:
                raise self._error(f"'{node.name}' is a LoRA, which ends a recipe: no step can use it.", node)
            return self.sums[node.name]
        if isinstance(node, Negative):
            return -self.total(node.operand)
        if isinstance(node, Binary):
            return self._binary_total(node)
        if isinstance(node, Call):
            return self._call_total(node)
        raise self._error(f"'{_short(node)}' stands where a model was expected.", node)

    def weights(self, node: Node) -> BlockWeights:
        """What a parameter's value says, as block weights with exact numbers."""
        if not isinstance(node, Rules):
            return BlockWeights(self._default(node))
        default, rules = None, []
        for pattern, value in node.entries:
            if pattern == "*":
                default = self._default(value)
            elif isinstance(value, (ListValue, PresetValue)):
                raise self._error(f"'{pattern}' takes a number; only '*' takes a list or a preset.", value)
            else:
                rules.append((pattern, self.number(value)))
        return BlockWeights(default, tuple(rules))

    def parameters(self, node: Call) -> Mapping[str, BlockWeights]:
        """Every parameter of a call, defaults included."""
        given = dict(node.parameters)
        return {
            name: self.weights(given[name]) if name in given else BlockWeights(Fraction(str(default)))
            for name, (_, default) in get_method(node.method).parameters.items()
        }

    def _error(self, message: str, node: Node, names: Node | None = None) -> RecipeError:
        """An error at `node`; with what the names in `names` may have meant, which stand where a number could."""
        hint, instead = self._meant_number(names) if names else ("", ())
        return RecipeError(message + hint, self.text, node.position, instead=instead)

    def _meant_number(self, node: Node) -> tuple[str, tuple[Instead, ...]]:
        """`1-ratio` is one name; or a constant's name is misspelt."""
        models = [part.name for part in walk(node) if isinstance(part, ModelRef)]
        if {"R", "U", "X"} & {*models, *(part.method for part in walk(node) if isinstance(part, Call))}:
            return (
                " As a random weight it needs a seed: --seed N of plan or merge. A queue takes numbers only: "
                "draw them first, './chilly plan RECIPE --seed N' shows them.",
                (),
            )
        for name in models:
            for left, right in ((name[: dash.start()], name[dash.end() :]) for dash in re.finditer("-", name)):
                if all(side in self.constants or is_number_text(side) for side in (left, right)):
                    instead = Instead(name, f"{left} - {right}", False)
                    return f" '{name}' is one name: a minus has spaces around it, '{instead.right}'.", (instead,)
        near = (Instead(name, each) for name in models for each in difflib.get_close_matches(name, self.constants, 1))
        return next(((f" Did you mean '{each.right}' by '{each.wrong}'?", (each,)) for each in near), ("", ()))

    def _divisor(self, node: Node) -> Fraction:
        divisor = self.number(node)
        if divisor == 0:
            raise self._error("division by zero.", node)
        return divisor

    def _default(self, node: Node) -> Fraction | tuple[Fraction, ...] | Preset:
        if isinstance(node, ListValue):
            return tuple(self.number(item) for item in node.items)
        return Preset(node.name) if isinstance(node, PresetValue) else self.number(node)

    def _bounded(self, value: Fraction, node: Node) -> Fraction:
        """A recipe of a few lines can square a number until it fills the memory; no merge needs such numbers."""
        if abs(value) > _LARGEST or value.denominator > _FINEST:
            raise self._error("this comes to a number that is too large or too fine. Use coefficients near 1.", node)
        return value

    def _binary_total(self, node: Binary) -> Fraction:
        left, right = node.left, node.right
        if node.operator in "+-":
            for side in (left, right):
                if is_number(side):
                    raise self._error(f"'{_short(side)}' is a number and cannot be added to a model.", side, node)
            total = self.total(left) + (self.total(right) if node.operator == "+" else -self.total(right))
        elif node.operator == "/":
            if not is_number(right):
                raise self._error(f"'{_short(right)}' is a model; only a number may divide.", right, right)
            total = self.total(left) / self._divisor(right)
        else:
            if not is_number(left) and not is_number(right):
                raise self._error("two models cannot be multiplied; one side of '*' is a number.", right, node)
            number, model = (left, right) if is_number(left) else (right, left)
            total = self.number(number) * self.total(model)
        return self._bounded(total, node)

    def _call_total(self, node: Call) -> Fraction:
        if node.method == EXTRACT:
            raise self._error("extract(...) makes a file: it is a whole line, 'NAME = extract(...)'.", node)
        with self._placed(node):
            method = get_method(node.method)
        self._check_names(node, method)
        with self._placed(node):
            operands = method.bind(node.operands, node.parameters)
        sums = [self.total(operand) for operand in operands]
        for index, (operand, total) in enumerate(zip(operands, sums, strict=True)):
            kind = method.kind_of(index, len(operands))
            wanted = {Kind.MODEL: (1,), Kind.ALIKE: (0, 1)}.get(kind)
            if (wanted and total not in wanted) or (kind is Kind.ALIKE and total != sums[0]):
                is_what = {Fraction(1): "a model", Fraction(0): "a delta"}.get(total)
                is_what = is_what or f"neither: its coefficients add to {shown_number(total)}"
                raise self._error(f"{node.method} takes {kind.value}; '{_short(operand)}' is {is_what}.", operand)
        for name, value in node.parameters:
            if name in method.parameters:
                self._check_value(node.method, name, value, method.parameters[name][0])
        return sums[0] if method.keeps_sum and method.kinds[0] in (Kind.ALIKE, Kind.LORA) else Fraction(1)

    @contextmanager
    def _placed(self, node: Node) -> Iterator[None]:
        """Let an error be shown at `node`."""
        try:
            yield
        except RecipeError as error:
            raise error.at(self.text, node.position) from None

    def _check_names(self, node: Call, method: MergeMethod) -> None:
        known, first = (*method.named, *method.parameters), dict(reversed(node.parameters))
        for name, value in node.parameters:
            if name not in known:
                message = f"{node.method} has no parameter '{name}': {method.signature()}.{nearest(name, known)}"
                raise RecipeError(message, self.text, value.position, instead=meant(name, known))
            if first[name] is not value:
                raise self._error(f"{node.method} is given '{name}' twice.", value)

    def _check_value(self, method: str, name: str, value: Node, param: Param) -> None:
        weights = self.weights(value)
        if not param.per_block and (weights.rules or not isinstance(weights.default, Fraction)):
            raise self._error(f"'{name}' of {method} is one number for all blocks.", value)
        if param.is_whole and not param.takes(weights.default):
            raise self._error(f"'{name}' of {method} is a whole number from {param.low:g} to {param.high:.0f}.", value)


def _short(node: Node) -> str:
    return shortened(spell(node))


def _minus_hint(node: Node) -> str:
    """`B-C` is one name; where the sum is wrong, a subtraction may have been meant."""
    for part in walk(node):
        if isinstance(part, ModelRef) and part.name.count("-") == 1:
            return f" '{part.name}' is one name here: a minus between operands has spaces around it."
    return ""
