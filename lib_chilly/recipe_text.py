"""Recipe text -> Recipe, with every mistake shown at its place. Parsed with lark; nothing is ever evaluated as code."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import lark

from .errors import RecipeError
from .expression import NAME_CHARACTERS, Binary, Call, ModelRef, Node, StepRef, shortened, walk
from .recipe import Line, Recipe
from .recipe_check import Checker
from .recipe_check import is_number as is_numeric
from .recipe_lines import STRING, clean_text, statements
from .recipe_save import Options, check_saved_step, read_save
from .recipe_tree import Spans, TreeReader, sign_hint

_WORD = f"{NAME_CHARACTERS}+"
_POSSESSIVE = re.compile(rf"(?<!{NAME_CHARACTERS})({_WORD})\s*\+\s*({_WORD})['’]s\s+([\w ]+)")
_PARTS = {"input": "IN*", "output": "OUT*", "middle": "M00", "text": "BASE", "vae": "VAE"}
_LOOSE_MINUS = re.compile(rf"(?<!{NAME_CHARACTERS})({_WORD})(?<=-)\s*\Z")
_EXPECTED = {
    "PLUS": "an operator (+ - * /)",
    "COLON": "':' and a number",
    "PATTERN": "a lane, a range, a key class or '*', all without quotes,",
    "LSQB": "a number, a list [...] or rules {...}",
}

Draw = Callable[[str, Node, Checker], Node]
"""(name of a line, its right side, the lines above) to the same right side without random weights."""


def parse_recipe(text: str, draw: Draw | None = None) -> Recipe:
    """Read a recipe in our own notation.

    Args:
        draw: puts numbers in the places of random weights; without it these are refused.

    Raises:
        RecipeError: with line, column and caret, and what to write instead.
    """
    text = clean_text(text)
    lines: list[Line] = []
    checker = Checker(text)
    save: Options | None = None
    notes: list[str] = []
    found = list(statements(text))
    for start, statement in found:
        refuse_possessive(text, start, statement)
        target, node = read_statement(start, statement, checker)
        if isinstance(node, Call) and node.method == "save" and target is None:
            if save is not None:
                raise RecipeError("save(...) stands once. Put all options into one.", text, node.position)
            save = read_save(text, node)
            continue
        if target is None:
            _refuse_nameless(text, start, found)
            target = ModelRef("result", start)
        node = draw(target.name, node, checker) if draw else node
        line, note = read_line(statement, target, node, checker)
        checker.add(line)
        notes += [note] if note else []
        lines.append(line)
    if not any(not line.is_constant for line in lines):
        raise RecipeError("the recipe has no step. Write one, such as 'MIX = weighted_sum(A, B, alpha=0.3)'.")
    options = {name: value for name, (value, _) in (save or {}).items()}
    recipe = Recipe(tuple(lines), (), text, tuple(notes)).with_options(**options)
    check_saved_step(recipe, save or {})
    _check_order(recipe)
    _check_result(recipe, checker)
    return recipe


def read_statement(start: int, statement: str, above: Checker, spans: Spans | None = None) -> tuple[ModelRef | None, Node]:
    """(what stands left of `=`, the expression) of one statement that begins at `start`; RecipeError where it makes no sense.

    Args:
        spans: takes the places of the nodes, which are to be kept as long as it.
    """
    reader = TreeReader(above.text, start, above.constants, above.sums)
    found = reader.read(_parse_statement(above.text, start, statement))
    if spans is not None:
        spans.update(reader.spans)
    return found


@functools.cache
def _parser() -> lark.Lark:
    grammar = (Path(__file__).parent / "recipe.lark").read_text("utf-8")
    return lark.Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False, propagate_positions=True)


def _parse_statement(text: str, start: int, statement: str) -> lark.Tree:
    try:
        return _parser().parse(statement)
    except lark.exceptions.UnexpectedToken as error:
        at_end = error.token.type == "$END"
        offset = len(statement.rstrip()) if at_end else error.token.start_pos or 0
        raise RecipeError(_misread(statement, offset, at_end, error.expected), text, start + offset, fault="syntax") from None


def _misread(statement: str, offset: int, at_end: bool, expected: set[str]) -> str:
    """What is wrong where the grammar does not go on."""
    if minus := _LOOSE_MINUS.search(statement, 0, offset):
        return f"a name does not end with '-': put '{shortened(minus[1])}' in double quotes, or a space before the minus."
    if at_end:
        return "the line ends too early: a name, a number or '(' should follow."
    match = re.compile(f"{STRING.pattern}|{_WORD}|.").match(statement, offset)
    found = match[0] if match else ""
    if hint := sign_hint(found):
        return f"'{shortened(found)}' is not understood here. {hint}"
    if found in "[{" and "LSQB" not in expected:
        return f"'{found}' is not understood here: lists and rules are values of parameters, as in alpha=[...]."
    words = next((words for terminal, words in _EXPECTED.items() if terminal in expected), "a name, a number or '('")
    return f"'{shortened(found)}' is not understood here; {words} was expected."


def refuse_possessive(text: str, start: int, statement: str) -> None:
    """`A + NED's input_blocks` is how people say a block merge; answer with the call that does it."""
    masked = STRING.sub(lambda string: "_" * len(string[0]), statement)
    match = _POSSESSIVE.search(masked)
    if match is None:
        return
    first, second, part = (statement[slice(*match.span(group))] for group in (1, 2, 3))
    lane = next((lane for word, lane in _PARTS.items() if word in part.lower()), "IN*")
    raise RecipeError(
        f"a part of a model cannot be added. Write weighted_sum({first}, {second}, alpha={{{lane}: 1}}) to take "
        f"{second}'s {part.strip()}.",
        text,
        start + match.start(2),
    )


def _refuse_nameless(text: str, start: int, found: Sequence[tuple[int, str]]) -> None:
    """Only a recipe of one bare expression may leave out the name."""
    others = [other for offset, other in found if offset != start and not re.match(r"\s*save\s*\(", other)]
    if others:
        position = start + len(text[start:]) - len(text[start:].lstrip())
        raise RecipeError("this expression has no name. Write 'NAME = ...'.", text, position, fault="nameless")


def read_line(statement: str, target: ModelRef, node: Node, above: Checker) -> tuple[Line, str | None]:
    """The line that a statement stands for, and a note where `+` was read as a mean."""
    if target.name in above.constants or target.name in above.sums:
        raise RecipeError(f"'{target.name}' is defined twice.", above.text, target.position, fault="twice")
    operands = _plain_sum(node, STRING.sub("", statement), above)
    if operands is None:
        return Line(target.name, node, is_numeric(node), target.position), None
    mean = Call("mean", tuple(operands), (), node.position)
    note = f"{target.name}: a sum of {len(operands)} models is read as their mean."
    return Line(target.name, mean, False, target.position), note


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


def _check_order(recipe: Recipe) -> None:
    """A step sees only what stands above it."""
    place = {line.name: index for index, line in enumerate(recipe.lines)}
    for index, line in enumerate(recipe.lines):
        for node in walk(line.expression):
            if isinstance(node, ModelRef) and place.get(node.name, index) > index:
                number = recipe.text.count("\n", 0, recipe.lines[place[node.name]].position) + 1
                message = f"'{node.name}' is defined on line {number}, below its use. Move that line up."
                raise RecipeError(message, recipe.text, node.position, fault="later")


def _check_result(recipe: Recipe, checker: Checker) -> None:
    line = recipe.steps[recipe.result]
    if checker.sums[line.name] == 0 and line.name not in checker.loras:
        raise RecipeError(
            f"the result '{line.name}' is a delta (its coefficients add to 0), not a model. Add it to one: MODEL + {line.name}.",
            recipe.text,
            line.position,
        )
