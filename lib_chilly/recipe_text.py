"""Recipe text -> Recipe, with every mistake shown at its place. Parsed with lark; nothing is ever evaluated as code."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import lark

from . import expression as nodes
from .errors import RecipeError
from .expression import Binary, Call, Constant, ModelRef, Node, Number, StepRef, walk
from .recipe import SAVE_OPTIONS, Line, Recipe
from .recipe_check import Checker
from .recipe_check import is_number as is_numeric
from .recipe_tree import TreeReader

_BRACKETS = {")": "(", "]": "[", "}": "{"}
_STRING = re.compile(r'"(\\.|[^"\\\n])*"')
_POSSESSIVE = re.compile(r"([^\s+=]+)\s*\+\s*([^\s+=]+)['’]s\s+([\w ]+)")
_PARTS = {"input": "IN*", "output": "OUT*", "middle": "M00", "text": "BASE", "vae": "VAE"}


def parse_recipe(text: str) -> Recipe:
    """Read a recipe in our own notation.

    Raises:
        RecipeError: with line, column and caret, and what to write instead.
    """
    text = unicodedata.normalize("NFC", text)
    try:
        return _parse(text)
    except RecursionError:
        raise RecipeError("the recipe is nested too deeply. Give parts of it names of their own, one step a line.") from None


def _parse(text: str) -> Recipe:
    lines: list[Line] = []
    checker = Checker(text)
    save: dict[str, str] = {}
    notes: list[str] = []
    statements = list(_statements(text))
    for start, statement in statements:
        _refuse_possessive(text, start, statement)
        tree = _parse_statement(text, start, statement)
        reader = TreeReader(text, start, lines)
        target, node = reader.read(tree)
        if isinstance(node, Call) and node.method == "save" and target is None:
            save.update(_save_options(text, node, save))
            continue
        if target is None:
            _refuse_nameless(text, start, statements)
            target = ModelRef("result", start)
        line, note = _line(statement, target, node, checker)
        if any(line.name == other.name for other in lines):
            raise RecipeError(f"'{line.name}' is defined twice.", text, target.position)
        checker.add(line)
        notes += [note] if note else []
        lines.append(line)
    if not any(not line.is_constant for line in lines):
        raise RecipeError("the recipe has no step. Write one, such as 'MIX = weighted_sum(A, B, alpha=0.3)'.")
    recipe = Recipe(tuple(lines), (), text, tuple(notes)).with_options(**save)
    _check_order(recipe)
    _check_result(recipe, checker)
    return recipe


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(offset, statement): comments blanked out, lines inside brackets joined."""
    clean = list(text)
    for match in re.finditer(r'"(?:\\.|[^"\\\n])*"|#[^\n]*', text):
        if match[0].startswith("#"):
            clean[match.start() : match.end()] = " " * len(match[0])
    blanked = "".join(clean)
    quoted = {index for match in _STRING.finditer(blanked) for index in range(*match.span())}
    start, opened = 0, []
    for index, character in enumerate(blanked + "\n"):
        if index in quoted:
            continue
        if character in _BRACKETS.values():
            opened.append(index)
        elif character in _BRACKETS:
            if not opened or blanked[opened[-1]] != _BRACKETS[character]:
                raise RecipeError(f"'{character}' closes nothing that stands open here.", text, index)
            opened.pop()
        elif character == "\n" and not opened:
            if blanked[start:index].strip():
                yield start, blanked[start:index]
            start = index + 1
    if opened:
        raise RecipeError(f"'{blanked[opened[-1]]}' is never closed.", text, opened[-1])


@functools.cache
def _parser() -> lark.Lark:
    grammar = (Path(__file__).parent / "recipe.lark").read_text("utf-8")
    return lark.Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False)


def _parse_statement(text: str, start: int, statement: str) -> lark.Tree:
    try:
        return _parser().parse(statement)
    except lark.exceptions.UnexpectedToken as error:
        if error.token.type == "$END":
            end = start + len(statement.rstrip())
            raise RecipeError("the line ends too early: a name, a number or '(' should follow.", text, end) from None
        expected = "an operator (+ - * /)" if "PLUS" in error.accepts | error.expected else "a name, a number or '('"
        position = start + (error.token.start_pos or 0)
        raise RecipeError(f"'{error.token}' is not understood here; {expected} was expected.", text, position) from None
    except lark.exceptions.UnexpectedCharacters as error:
        offset = error.pos_in_stream or 0
        hint = " Multiply with '*'." if statement[offset] == "×" else ""
        raise RecipeError(f"'{statement[offset]}' is not understood here.{hint}", text, start + offset) from None


def _refuse_possessive(text: str, start: int, statement: str) -> None:
    """`A + NED's input_blocks` is how people say a block merge; answer with the call that does it."""
    match = _POSSESSIVE.search(statement)
    if match is None:
        return
    first, second, part = match.groups()
    lane = next((lane for word, lane in _PARTS.items() if word in part.lower()), "IN*")
    raise RecipeError(
        f"a part of a model cannot be added. Write weighted_sum({first}, {second}, alpha={{{lane}: 1}}) to take "
        f"{second}'s {part.strip()}.",
        text,
        start + match.start(2),
    )


def _refuse_nameless(text: str, start: int, statements: Sequence[tuple[int, str]]) -> None:
    """Only a recipe of one bare expression may leave out the name."""
    others = [other for offset, other in statements if offset != start and not re.match(r"\s*save\s*\(", other)]
    if others:
        position = start + len(text[start:]) - len(text[start:].lstrip())
        raise RecipeError("this expression has no name. Write 'NAME = ...'.", text, position)


def _line(statement: str, target: ModelRef, node: Node, above: Checker) -> tuple[Line, str | None]:
    """The line that a statement stands for, and a note where `+` was read as a mean."""
    operands = _plain_sum(node, _STRING.sub("", statement), above)
    if operands is None:
        return Line(target.name, node, is_numeric(node), target.position), None
    mean = Call("mean", tuple(operands), (), node.position)
    return Line(
        target.name, mean, False, target.position
    ), f"{target.name}: a sum of {len(operands)} models is read as their mean."


def _plain_sum(node: Node, statement: str, above: Checker) -> list[Node] | None:
    """The operands of a whole right side of plain names of models joined by `+`; None where it is anything else."""
    if "(" in statement or not isinstance(node, Binary):
        return None
    operands: list[Node] = []
    while isinstance(node, Binary) and node.operator == "+":
        operands.insert(0, node.right)
        node = node.left
    operands.insert(0, node)
    plain = all(isinstance(part, (ModelRef, StepRef)) and above.total(part) == 1 for part in operands)
    return operands if plain else None


def _save_options(text: str, node: Call, before: dict[str, str]) -> dict[str, str]:
    if node.operands or before:
        raise RecipeError("save(...) stands once and takes name=value pairs, such as save(dtype=fp16).", text, node.position)
    options = {}
    for name, value in node.parameters:
        if name not in SAVE_OPTIONS:
            raise RecipeError(f"save has no option '{name}'. Known: {', '.join(SAVE_OPTIONS)}.", text, node.position)
        if not isinstance(value, (ModelRef, StepRef, Constant, Number)):
            raise RecipeError(f"save option '{name}' takes one word or a text in double quotes.", text, node.position)
        if name in options:
            raise RecipeError(f"save option '{name}' stands twice.", text, node.position)
        options[name] = value.name if not isinstance(value, Number) else nodes.spell_number(value.value)
    return options


def _check_order(recipe: Recipe) -> None:
    """A step sees only what stands above it."""
    defined = {line.name: line for line in recipe.lines}
    for index, line in enumerate(recipe.lines):
        below = {later.name for later in recipe.lines[index + 1 :]}
        for node in walk(line.expression):
            if isinstance(node, ModelRef) and node.name in below:
                number = recipe.text.count("\n", 0, defined[node.name].position) + 1
                raise RecipeError(
                    f"'{node.name}' is defined on line {number}, below its use. Move that line up.", recipe.text, node.position
                )


def _check_result(recipe: Recipe, checker: Checker) -> None:
    line = recipe.steps[recipe.result]
    if checker.sums[line.name] == 0:
        raise RecipeError(
            f"the result '{line.name}' is a delta (its coefficients add to 0), not a model. Add it to one: MODEL + {line.name}.",
            recipe.text,
            line.position,
        )
