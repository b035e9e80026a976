"""lark's tree of one statement -> nodes; names are settled by what stands above."""

from __future__ import annotations

import re
from collections.abc import Container
from fractions import Fraction
from typing import Any

from . import expression as nodes
from .decimals import spell_number
from .errors import Instead, RecipeError
from .expression import (
    LONGEST_NUMBER,
    Binary,
    Call,
    Constant,
    ModelRef,
    Node,
    Number,
    StepRef,
    is_bare_name,
    is_number,
    shortened,
)

DEEPEST = 100
"""Levels of an expression; all that reads expressions may recurse so deep."""


_OF_LORAS = ("lora", "lora_on")
"""Calls whose first operand is the name of a LoRA file."""

Spans = dict[int, tuple[int, int]]
"""id() of a node to where its text stands, without parentheses around it."""


class TreeReader:
    """Turns lark's tree of one statement into nodes; names are settled by what stands above.

    Attributes:
        spans: of every node that was read.
    """

    def __init__(self, text: str, start: int, constants: Container[str], steps: Container[str]):
        self.text, self.start = text, start
        self.spans: Spans = {}
        self.constants, self.steps = constants, steps
        self.depth = 0

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
            return self._unquoted(token, position), position
        if not is_bare_name(token):
            hint = sign_hint(token) or "Put it in double quotes."
            raise RecipeError(f"'{shortened(token)}' is no name. {hint}", self.text, position, fault="syntax")
        return str(token), position

    def node(self, tree: Any) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(
                f"this is nested too deeply: more than {DEEPEST} levels, where each operator in a row is one. "
                "Give parts of it names of their own, one step a line.",
                tree,
            )
        node = self._node(tree)
        self.depth -= 1
        self.spans[id(node)] = (self.start + tree.meta.start_pos, self.start + tree.meta.end_pos)
        return node

    def _node(self, tree: Any) -> Node:
        if tree.data == "reference":
            return self.reference(tree.children[0].children[0])
        if tree.data == "negative":
            return nodes.Negative(self.node(tree.children[0]), self._place(tree))
        if tree.data == "list":
            return nodes.ListValue(tuple(self.node(child) for child in tree.children), self._place(tree))
        if tree.data == "rules":
            entries = tuple((str(rule.children[0]), self.node(rule.children[1])) for rule in tree.children)
            return nodes.Rules(entries, self._place(tree))
        if tree.data == "call":
            return self.call(tree)
        operator = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}[tree.data]
        left, right = (self.node(child) for child in tree.children)
        return Binary(operator, left, right, left.position)

    def reference(self, token: Any) -> Node:
        if token.type == "WORD" and is_number(token):
            return self.number(token)
        name, position = self.name(token)
        if name in self.constants:
            return Constant(name, position)
        return StepRef(name, position) if name in self.steps else ModelRef(name, position)

    def number(self, token: Any) -> Node:
        position = self.start + token.start_pos
        exponent = token.lower().partition("e")[2] or "0"
        if len(token) <= LONGEST_NUMBER and abs(int(exponent)) <= LONGEST_NUMBER:
            value = Fraction(str(token))
            if len(spell_number(value)) <= LONGEST_NUMBER:
                return Number(value, position)
        rounded = Instead(str(token), f"{float(token):.15g}", False)
        message = f"the number '{shortened(token, 20)}' has more than {LONGEST_NUMBER} digits."
        raise RecipeError(message, self.text, position, instead=(rounded,))

    def call(self, tree: Any) -> Node:
        method, *arguments = tree.children
        position = self.start + method.start_pos
        if method == "preset":
            return self.preset(arguments, position)
        operands: list[Node] = []
        parameters = []
        for argument in arguments:
            if argument.data == "operand":
                is_file = method in _OF_LORAS and not operands
                operands.append(self.lora(argument.children[0]) if is_file else self.node(argument.children[0]))
            else:
                parameters.append((str(argument.children[0]), self.node(argument.children[1])))
        return Call(str(method), tuple(operands), tuple(parameters), position)

    def lora(self, tree: Any) -> Node:
        """The operand of lora(...): a file's name, whatever steps and constants are called."""
        if tree.data != "reference" or ((token := tree.children[0].children[0]).type == "WORD" and is_number(token)):
            raise self._error("lora(...) takes the name of a LoRA file, as in lora(film-grain, scale=0.8).", tree)
        found = nodes.LoraRef(*self.name(token))
        self.spans[id(found)] = (self.start + tree.meta.start_pos, self.start + tree.meta.end_pos)
        return found

    def preset(self, arguments: list[Any], position: int) -> Node:
        operand = arguments[0].children[0] if len(arguments) == 1 and arguments[0].data == "operand" else None
        if operand is None or operand.data != "reference":
            raise RecipeError('a preset is written preset("NAME").', self.text, position)
        return nodes.PresetValue(self.name(operand.children[0].children[0])[0], position)

    def _unquoted(self, token: Any, position: int) -> str:
        inside = token[1:-1]
        for match in re.finditer(r"\\(.)", inside):
            if match[1] not in '"\\':
                raise RecipeError(
                    f"'{match[0]}' means nothing in quotes. Folders are parted by '/'; a backslash itself is '\\\\'.",
                    self.text,
                    position + 1 + match.start(),
                )
        if not inside.strip():
            raise RecipeError("there is no name in these quotes.", self.text, position)
        return re.sub(r"\\(.)", r"\1", inside)

    def _place(self, tree: Any) -> int:
        return self.start + tree.meta.start_pos

    def _error(self, message: str, tree: Any) -> RecipeError:
        return RecipeError(message, self.text, self._place(tree))


def sign_hint(text: str) -> str:
    """What to type for a typographic sign in the text; empty where there is none."""
    return "Multiply with '*'." if "×" in text else "Subtract with '-'." if set("−–—") & set(text) else ""
