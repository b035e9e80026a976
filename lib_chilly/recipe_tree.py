"""lark's tree of one statement -> nodes; names are settled by what stands above."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from . import expression as nodes
from .errors import RecipeError
from .expression import Binary, Call, Constant, ModelRef, Node, Number, StepRef, is_bare_name, is_number
from .recipe import Line

_LONGEST_NUMBER, _LARGEST_EXPONENT = 60, 99


class TreeReader:
    """Turns lark's tree of one statement into nodes; names are settled by what stands above."""

    def __init__(self, text: str, start: int, above: Sequence[Line]):
        self.text, self.start = text, start
        self.constants = {line.name for line in above if line.is_constant}
        self.steps = {line.name for line in above if not line.is_constant}

    def read(self, tree: Any) -> tuple[nodes.ModelRef | None, Node]:
        """(what stands left of `=`, the expression)."""
        body = tree.children[0]
        if body.data == "assignment":
            name, position = self.name(body.children[0].children[0])
            return ModelRef(name, position), self.node(body.children[1])
        return None, self.node(body)

    def name(self, token: Any) -> tuple[str, int]:
        position = self.start + token.start_pos
        if token.type == "STRING":
            return re.sub(r"\\(.)", r"\1", token[1:-1]), position
        if not is_bare_name(token):
            raise RecipeError(f"'{token}' is no name: put it in double quotes.", self.text, position)
        return str(token), position

    def node(self, tree: Any) -> Node:
        if tree.data == "reference":
            return self.reference(tree.children[0].children[0])
        if tree.data == "negative":
            operand = self.node(tree.children[0])
            return nodes.Negative(operand, operand.position)
        if tree.data == "list":
            return nodes.ListValue(tuple(self.node(child) for child in tree.children), self.start)
        if tree.data == "rules":
            return self.rules(tree)
        if tree.data == "call":
            return self.call(tree)
        operator = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}[tree.data]
        left, right = (self.node(child) for child in tree.children)
        return Binary(operator, left, right, left.position)

    def reference(self, token: Any) -> Node:
        if token.type == "WORD" and is_number(token):
            position = self.start + token.start_pos
            if len(token) > _LONGEST_NUMBER or abs(int(token.lower().partition("e")[2] or 0)) > _LARGEST_EXPONENT:
                raise RecipeError(f"the number '{token[:20]}...' has too many digits.", self.text, position)
            return Number(Fraction(str(token)), position)
        name, position = self.name(token)
        if name in self.constants:
            return Constant(name, position)
        return StepRef(name, position) if name in self.steps else ModelRef(name, position)

    def rules(self, tree: Any) -> Node:
        entries = tuple((str(rule.children[0]), self.node(rule.children[1])) for rule in tree.children)
        first = tree.children[0].children[0].start_pos if tree.children else 0
        return nodes.Rules(entries, self.start + first)

    def call(self, tree: Any) -> Node:
        method, *arguments = tree.children
        position = self.start + method.start_pos
        if method == "preset":
            return self.preset(arguments, position)
        operands, parameters = [], []
        for argument in arguments:
            if argument.data == "operand":
                operands.append(self.node(argument.children[0]))
            else:
                parameters.append((str(argument.children[0]), self.node(argument.children[1])))
        return Call(str(method), tuple(operands), tuple(parameters), position)

    def preset(self, arguments: list[Any], position: int) -> Node:
        operand = arguments[0].children[0] if len(arguments) == 1 and arguments[0].data == "operand" else None
        if operand is None or operand.data != "reference":
            raise RecipeError('a preset is written preset("NAME").', self.text, position)
        return nodes.PresetValue(self.name(operand.children[0].children[0])[0], position)
