"""A recipe's text as it stands while somebody works on it: what can be read of it, where it stands, and every mistake."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from fractions import Fraction

from ..errors import RecipeError
from ..expression import Call, ModelRef, Node
from ..recipe import Line, Recipe
from ..recipe_check import Checker
from ..recipe_lines import STRING, clean_text, statements
from ..recipe_save import Options, read_save
from ..recipe_text import parse_recipe, read_line, read_statement, refuse_possessive
from ..recipe_tree import Spans

_MOST_MISTAKES = 20
_TARGET = re.compile(rf"\s*({STRING.pattern}|[^\s=]+)\s*=")
_PLACE = re.compile(rf"{STRING.pattern}|[^\s!-,/:-@\[-^`{{-~]+|.")
"""What is underlined at the place of a mistake: quotes, a word or one sign."""


@dataclass(frozen=True)
class Written:
    """One step or constant as it stands in a text.

    Attributes:
        line: what it says.
        start, end: of the statement, without white space and comments around it.
        name: (start, end) of the name; None where there is only an expression.
        body: (start, end) of the right side.
    """

    line: Line
    start: int
    end: int
    name: tuple[int, int] | None
    body: tuple[int, int]


@dataclass
class Draft:
    """What a text says, as far as it can be read.

    Attributes:
        text: in NFC.
        lines: steps and constants that can be read, in the order of the text.
        save: (start, end) of `save(...)`, and what it says.
        errors: in the order of the text.
        recipe: None where there are errors.
        checker: has taken all lines.
        spans: where every node of the lines stands.
        kept: nodes that `spans` knows by their id(), which must not come to mean another.
    """

    text: str
    lines: list[Written] = field(default_factory=list)
    save: tuple[int, int, Options] | None = None
    errors: list[RecipeError] = field(default_factory=list)
    recipe: Recipe | None = None
    checker: Checker = field(default_factory=lambda: Checker(""))
    spans: Spans = field(default_factory=dict)
    kept: list[Node] = field(default_factory=list)

    @property
    def steps(self) -> list[Written]:
        return [written for written in self.lines if not written.line.is_constant]

    def named(self, name: str | None) -> Written | None:
        """The line of that name."""
        return next((written for written in self.lines if written.line.name == name), None)

    def source(self, node: Node) -> str | None:
        """A node's text as it stands; None for one that was not read from it."""
        span = self.spans.get(id(node))
        return self.text[slice(*span)] if span else None

    def result(self) -> Written | None:
        """The step that is saved, as far as that can be told."""
        saved = self.named(self.save[2]["step"][0]) if self.save and "step" in self.save[2] else None
        if saved and not saved.line.is_constant:
            return saved
        return self.steps[-1] if self.steps else None


@functools.lru_cache(maxsize=32)
def read_draft(text: str) -> Draft:
    """Read a text, whatever is wrong with it. What it returns is shared: it must not be changed."""
    try:
        text = clean_text(text)
    except RecipeError as error:
        return Draft(text, errors=[error])
    draft = Draft(text, checker=Checker(text))
    for start, statement in _statements(draft):
        try:
            _take(draft, start, statement)
        except RecipeError as error:
            draft.errors.append(error)
            if target := _TARGET.match(statement):  # what uses it is not wrong for that
                draft.checker.sums.setdefault(target[1].strip('"'), Fraction(1))
    if not draft.errors and (draft.lines or draft.save):
        try:
            draft.recipe = parse_recipe(text)
        except RecipeError as error:
            draft.errors.append(error)
    draft.errors.sort(key=lambda error: error.position or 0)
    return draft


def place_of(error: RecipeError, text: str) -> tuple[int, int]:
    """(start, end) of what an error is about; (0, 0) where it is about no place."""
    if error.position is None or error.text is None:
        return 0, 0
    start = min(error.position, len(text))
    match = _PLACE.match(text, start)
    return (start, match.end()) if match else (max(0, start - 1), start)


def _statements(draft: Draft) -> list[tuple[int, str]]:
    """The statements of a text; a line with a bracket or quotes that do not close is left out, so that the others are read."""
    rest = draft.text
    for _ in range(_MOST_MISTAKES):
        try:
            return list(statements(rest))
        except RecipeError as error:
            at = error.position or 0
            draft.errors.append(error.at(draft.text, at))
            start = rest.rfind("\n", 0, at) + 1
            end = rest.find("\n", start)
            end = len(rest) if end < 0 else end
            rest = rest[:start] + " " * (end - start) + rest[end:]
    return []


def _take(draft: Draft, start: int, statement: str) -> None:
    text, checker = draft.text, draft.checker
    refuse_possessive(text, start, statement)
    target, node = read_statement(start, statement, checker, draft.spans)
    draft.kept.append(node)
    first = start + len(statement) - len(statement.lstrip())
    end = start + len(statement.rstrip())
    if isinstance(node, Call) and node.method == "save" and target is None:
        if draft.save is not None:
            raise RecipeError("save(...) stands once. Put all options into one.", text, node.position)
        draft.save = first, end, read_save(text, node)
        return
    name, body = None, first
    if target is not None:
        match = _TARGET.match(statement)
        assert match is not None
        name = (start + match.start(1), start + match.end(1))
        body = start + match.end()
        body += len(statement[match.end() :]) - len(statement[match.end() :].lstrip())
    line, _ = read_line(statement, target or ModelRef("result", first), node, checker)
    if id(line.expression) not in draft.spans:  # a sum that is read as a mean
        draft.spans[id(line.expression)] = (body, end)
    draft.lines.append(Written(line, first, end, name, (body, end)))
    checker.add(line)
