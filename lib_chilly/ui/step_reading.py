"""A step's right side as the merge method that it is, however it is written: as a call, or as a sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..errors import RecipeError
from ..expression import Binary, Call, Negative, Node, number_node
from ..recipe_check import Checker, is_number
from ..registry import MergeMethod, all_methods

EXPRESSION = "expression"


@dataclass(frozen=True)
class Reading:
    """What a step does.

    Attributes:
        method: a registered one's name, or EXPRESSION.
        operands: of the method, those that are written with their names last; of an expression none.
        parameters: those that are given, to their values.
        is_sum: whether it is written as a sum; a call says more than a sum can.
    """

    method: str
    operands: tuple[Node, ...] = ()
    parameters: Mapping[str, Node] | None = None
    is_sum: bool = False

    @property
    def registered(self) -> MergeMethod | None:
        return all_methods().get(self.method)

    @property
    def given(self) -> Mapping[str, Node]:
        return self.parameters or {}

    @property
    def named(self) -> int:
        """How many operands are written with their names."""
        return len(self.registered.named) if self.registered else 0

    def call(self, **changed: Node) -> Call:
        """The method's call, with other values of some parameters."""
        return call_of(self.method, self.operands, {**self.given, **changed})

    def value(self, parameter: str) -> Node:
        """A parameter's value, the method's default where none is given."""
        assert self.registered is not None
        return self.given.get(parameter) or number_node(Fraction(str(self.registered.parameters[parameter][1])))


@dataclass(frozen=True)
class _Term:
    """`weight * operand`; `factor` is how the weight is written, where that is one thing."""

    weight: Fraction
    factor: Node | None
    operand: Node

    @property
    def weight_node(self) -> Node:
        return self.factor or number_node(self.weight)


def call_of(method: str, operands: Sequence[Node], parameters: Mapping[str, Node]) -> Call:
    """A registered method's call, of all its operands."""
    names = all_methods()[method].named
    plain = len(operands) - len(names)
    return Call(method, tuple(operands[:plain]), (*zip(names, operands[plain:], strict=True), *parameters.items()))


def read_step(node: Node, checker: Checker) -> Reading:
    """Which method a right side is.

    Args:
        checker: has taken the lines above.
    """
    if isinstance(node, Call):
        return _read_call(node)
    try:
        terms = _terms(node, checker)
        return _weighted_sum(terms, checker) or _add_difference(terms, checker) or Reading(EXPRESSION)
    except (RecipeError, KeyError):
        return Reading(EXPRESSION)


def _read_call(node: Call) -> Reading:
    method = all_methods().get(node.method)
    try:
        operands = method.bind(node.operands, node.parameters) if method else ()
    except RecipeError:
        operands = ()
    if method is None or not operands:
        return Reading(EXPRESSION)
    return Reading(node.method, operands, {name: value for name, value in node.parameters if name not in method.named})


def as_sum(reading: Reading, alpha: Node, number: Fraction) -> Node:
    """The sum of a reading with another single alpha.

    Args:
        number: what `alpha` comes to.
    """
    first, *others = reading.operands
    if reading.method == "weighted_sum":
        rest = number_node(1 - number)
        if isinstance(rest, Binary):  # no finite decimal
            rest = Binary("-", number_node(Fraction(1)), alpha)
        return Binary("+", Binary("*", rest, first), Binary("*", alpha, others[0]))
    difference = Binary("-", others[0], others[1])
    return Binary("+", first, Binary("*", alpha, difference))


def _weighted_sum(terms: list[_Term], checker: Checker) -> Reading | None:
    if len(terms) != 2 or terms[0].weight + terms[1].weight != 1:
        return None
    totals = {checker.total(term.operand) for term in terms}
    if len(totals) > 1 or not totals <= {0, 1}:
        return None
    return Reading("weighted_sum", (terms[0].operand, terms[1].operand), {"alpha": terms[1].weight_node}, True)


def _add_difference(terms: list[_Term], checker: Checker) -> Reading | None:
    """`A + w * (B - C)`, `A + w * B - w * C`."""
    if len(terms) < 2 or terms[0].weight != 1:
        return None
    others, weight, factor = terms[1:], terms[1].weight, terms[1].factor
    if len(others) == 1:
        inner = _terms(others[0].operand, checker)
        if [term.weight for term in inner] != [1, -1]:
            return None
        plus, minus = inner[0].operand, inner[1].operand
    elif len(others) == 2 and others[1].weight == -weight:
        swapped = weight < 0
        plus, minus = (term.operand for term in (reversed(others) if swapped else others))
        weight, factor = (others[1].weight, others[1].factor) if swapped else (weight, factor)
    else:
        return None
    if any(checker.total(operand) != 1 for operand in (terms[0].operand, plus, minus)):
        return None
    alpha = factor or number_node(weight)
    return Reading("add_difference", (terms[0].operand, plus, minus), {"alpha": alpha}, True)


def _terms(node: Node, checker: Checker) -> list[_Term]:
    """A sum's terms from left to right; what stands in parentheses is one of them."""
    if isinstance(node, Binary) and node.operator in "+-" and not is_number(node):
        return [*_terms(node.left, checker), _term(node.right, Fraction(1 if node.operator == "+" else -1), checker)]
    return [_term(node, Fraction(1), checker)]


def _term(node: Node, sign: Fraction, checker: Checker) -> _Term:
    if isinstance(node, Negative):
        return _term(node.operand, -sign, checker)
    if isinstance(node, Binary) and node.operator in "*/":
        number, operand = (node.left, node.right) if is_number(node.left) else (node.right, node.left)
        value = checker.number(number)
        weight = sign * (1 / value if node.operator == "/" else value)
        inner = _term(operand, Fraction(1), checker)
        if inner.weight == 1:
            return _Term(weight, number if node.operator == "*" and sign == 1 else None, inner.operand)
        return _Term(weight * inner.weight, None, inner.operand)
    return _Term(sign, None, node)
