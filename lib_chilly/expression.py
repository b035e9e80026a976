"""The parts of a recipe's expressions, and their one canonical spelling; knows no files, no tensors and no methods.

Nodes are immutable. `position`, an offset into the text that was read, is for error messages alone: it takes no part in equality.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from .decimals import is_decimal, spell_number

NAME_CHARACTERS = r"[^\s!-,/:-@\[-^`{-~]"
"""What a bare name may be made of: everything but white space and ASCII punctuation other than `_ . -`."""

EXTRACT = "extract"
"""The call that makes a LoRA of a delta; no merge method."""

_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
LONGEST_NUMBER = 120
"""Characters of a number, as typed and as `spell_number` writes it."""


@dataclass(frozen=True)
class Number:
    """A number as typed: `value` is exact, not negative, and has a finite decimal text."""

    value: Fraction
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Constant:
    """The use of a named number that stands above."""

    name: str
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class StepRef:
    """The use of a step that stands above."""

    name: str
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class ModelRef:
    """The use of a checkpoint, by its name as written."""

    name: str
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class LoraRef:
    """The use of a LoRA file, by its name as written inside `lora(...)`."""

    name: str
    position: int = field(default=0, compare=False)


FileName = str | LoraRef
"""What tells the files of a recipe apart: a model's name as written, or the use of a LoRA."""


@dataclass(frozen=True)
class Negative:
    operand: Node
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Binary:
    """`left operator right`, with one of + - * /."""

    operator: str
    left: Node
    right: Node
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class ListValue:
    """`[1, 0.5, ...]`, a pasted list of block weights."""

    items: tuple[Node, ...]
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class PresetValue:
    """`preset("GRAD_V")`."""

    name: str
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Rules:
    """`{IN*: 0.5, *: preset("GRAD_V")}`; the entry `*` is the default."""

    entries: tuple[tuple[str, Node], ...]
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Call:
    """`method(models..., parameter=value, ...)`."""

    method: str
    operands: tuple[Node, ...]
    parameters: tuple[tuple[str, Node], ...]
    position: int = field(default=0, compare=False)


Node = Number | Constant | StepRef | ModelRef | LoraRef | Negative | Binary | ListValue | PresetValue | Rules | Call


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, left to right."""
    if isinstance(node, Negative):
        return (node.operand,)
    if isinstance(node, Binary):
        return (node.left, node.right)
    if isinstance(node, ListValue):
        return node.items
    if isinstance(node, Rules):
        return tuple(value for _, value in node.entries)
    if isinstance(node, Call):
        return node.operands + tuple(value for _, value in node.parameters)
    return ()


def with_children(node: Node, below: Sequence[Node]) -> Node:
    """The same node above other nodes, as many as `children(node)`."""
    if isinstance(node, Negative):
        return replace(node, operand=below[0])
    if isinstance(node, Binary):
        return replace(node, left=below[0], right=below[1])
    if isinstance(node, ListValue):
        return replace(node, items=tuple(below))
    if isinstance(node, Rules):
        return replace(node, entries=_renewed(node.entries, below))
    if isinstance(node, Call):
        count = len(node.operands)
        return replace(node, operands=tuple(below[:count]), parameters=_renewed(node.parameters, below[count:]))
    return node


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order of the text."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo += reversed(children(node))


def is_number(text: str) -> bool:
    """Whether a word is a number and so cannot be a name."""
    return _NUMBER.fullmatch(text) is not None


def is_bare_name(text: str) -> bool:
    """Whether a name may stand without quotes: letters of any script, digits and `_ . -`, no `-` at its ends, not a number.

    A mark that combines with what stands before it cannot come first.
    """
    return (
        re.fullmatch(NAME_CHARACTERS + "+", text) is not None
        and not text.startswith("-")
        and not text.endswith("-")
        and not is_number(text)
        and unicodedata.category(text[0])[0] != "M"
        and all(character in "_.-" or unicodedata.category(character)[0] in "LMN" for character in text)
    )


def spell_name(name: str) -> str:
    """A name as it stands in canonical text, in quotes where it needs them."""
    return name if is_bare_name(name) else _quoted(name)


def number_node(value: Fraction | float) -> Node:
    """The expression of a number; a float is taken as its shortest decimal text."""
    exact = value if isinstance(value, Fraction) else Fraction(repr(value))
    size = (
        Number(abs(exact))
        if is_decimal(exact)
        else Binary("/", Number(Fraction(abs(exact.numerator))), Number(Fraction(exact.denominator)))
    )
    return Negative(size) if exact < 0 else size


_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2}


def spell(node: Node) -> str:
    """Canonical text of an expression: single spaces, minimal parentheses, shortest numbers."""
    if isinstance(node, Number):
        return spell_number(node.value)
    if isinstance(node, (Constant, StepRef, ModelRef, LoraRef)):
        return spell_name(node.name)
    if isinstance(node, Negative):
        return "-" + _spell_below(node.operand, 3)
    if isinstance(node, Binary):
        binding = _BINDING[node.operator]
        return f"{_spell_below(node.left, binding)} {node.operator} {_spell_below(node.right, binding + 1)}"
    if isinstance(node, ListValue):
        return f"[{', '.join(spell(item) for item in node.items)}]"
    if isinstance(node, PresetValue):
        return f"preset({_quoted(node.name)})"
    if isinstance(node, Rules):
        return "{" + ", ".join(f"{pattern}: {spell(value)}" for pattern, value in node.entries) + "}"
    arguments = [spell(operand) for operand in node.operands] + [f"{name}={spell(value)}" for name, value in node.parameters]
    return f"{node.method}({', '.join(arguments)})"


def shortened(text: str, length: int = 60) -> str:
    """The text as a message can show it."""
    return text if len(text) <= length else f"{text[:length]}..."


def _spell_below(node: Node, binding: int) -> str:
    """Spell an operand, in parentheses where it binds more loosely than what stands around it."""
    own = _BINDING[node.operator] if isinstance(node, Binary) else 3
    return f"({spell(node)})" if own < binding else spell(node)


def _renewed(pairs: Sequence[tuple[str, Node]], values: Sequence[Node]) -> tuple[tuple[str, Node], ...]:
    return tuple((name, value) for (name, _), value in zip(pairs, values, strict=True))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
